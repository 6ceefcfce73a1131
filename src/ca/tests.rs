//! Keys and roots as OpenSSL writes them, and the leaves that come of them.

use zeroize::Zeroizing;

use super::*;

mod builtin;
mod keys;
mod leaves;
mod reading;

/// A file of `tests/data/ca`.
macro_rules! data {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/ca/", $name))
    };
}
use data;

fn private_key(pem: &str) -> PrivateKey {
    PrivateKey::new(Zeroizing::new(pem.to_owned()))
}

fn root(certificate: &str) -> Authority {
    provided(&ProvidedCa {
        mesh: "demo".parse().unwrap(),
        name: "root".parse().unwrap(),
        cert: certificate.to_owned(),
        key: String::new(),
    })
    .unwrap()
}

fn request(key: LeafKey) -> LeafRequest {
    LeafRequest {
        identity: SpiffeId {
            mesh: "demo".parse().unwrap(),
            service: "web".parse().unwrap(),
        },
        lifetime: Duration::from_hours(24),
        key,
    }
}

/// A moment in the middle of the authority's life.
fn within(authority: &Authority) -> Timestamp {
    authority.not_before + Duration::from_hours(24 * 365)
}
