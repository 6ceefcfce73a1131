//! Leaves per second on one core, against the two operations that cannot be
//! left out: making a P-256 key and signing once with another.
//!
//! Both are measured in turns in one run, so that what else the machine does
//! falls on both.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use windlass::ca::{self, LeafKey, LeafRequest, Signer};
use windlass::model::{SpiffeId, Timestamp};

type Failure = Box<dyn std::error::Error>;

/// About the size of a leaf's TBSCertificate, in bytes.
const MESSAGE: [u8; 400] = [7; 400];
const ROUNDS: u32 = 200;
const PER_ROUND: u32 = 250;
const AIM: f64 = 0.80;

#[allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
fn main() -> Result<(), Failure> {
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    let (authority, key) = ca::create_builtin(&"demo".parse()?, 1, now)?;
    let signer = Signer::new(&authority, &key)?;
    let request = LeafRequest {
        identity: SpiffeId {
            mesh: "demo".parse()?,
            service: "backend".parse()?,
        },
        lifetime: Duration::from_hours(24),
        key: LeafKey::EcP256,
    };
    let root = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
    let random = SystemRandom::new();

    let mut bare = Duration::ZERO;
    let mut leaves = Duration::ZERO;
    for _ in 0..ROUNDS {
        bare += time(|| {
            black_box(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?);
            black_box(root.sign(&random, black_box(&MESSAGE))?);
            Ok(())
        })?;
        leaves += time(|| {
            black_box(ca::issue(black_box(&request), &signer, now)?);
            Ok(())
        })?;
    }

    let per_second = |spent: Duration| f64::from(ROUNDS * PER_ROUND) / spent.as_secs_f64();
    let (bare, leaves) = (per_second(bare), per_second(leaves));
    println!("bare P-256 key generation and signature: {bare:.0}/s");
    println!("leaves issued: {leaves:.0}/s");
    println!("ratio: {:.2} (aim {AIM:.2} or more)", leaves / bare);
    Ok(())
}

fn time(mut once: impl FnMut() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let start = Instant::now();
    for _ in 0..PER_ROUND {
        once()?;
    }
    Ok(start.elapsed())
}
