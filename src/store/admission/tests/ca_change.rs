//! What is a change of CA, and what only looks like one.

use super::*;

const P256: &str = include_str!("../../../../tests/data/ca/p256.crt");
const P384: &str = include_str!("../../../../tests/data/ca/p384.crt");

/// A ProvidedCa, and what activates its authority.
fn root(name: &str, cert: &str) -> (Operation, [Operation; 3]) {
    let ca = ProvidedCa {
        mesh: "demo".parse().unwrap(),
        name: name.parse().unwrap(),
        cert: cert.to_owned(),
        key: String::new(),
    };
    let authority = crate::ca::provided(&ca).unwrap();
    let id = authority.id;
    let activate = [
        Operation::AddAuthority(authority, SealedKey(vec![1])),
        Operation::MoveAuthority(id, PREPARED),
        Operation::MoveAuthority(id, ACTIVE),
    ];
    (put(Resource::ProvidedCa(ca)), activate)
}

/// A mesh with mTLS and one ProvidedCa, `root`.
fn rooted(ca: CaSpec) -> MeshState {
    let (resource, activate) = root("root", P256);
    after([mesh(true, ca), resource].into_iter().chain(activate))
}

#[test]
fn a_ca_that_is_only_written_otherwise_is_no_other_ca() {
    let (any, named) = (provided(None), provided(Some("root")));
    assert_eq!(
        refusal(&rooted(any.clone()), [mesh(true, named.clone())]),
        None
    );
    assert_eq!(refusal(&rooted(named), [mesh(true, any.clone())]), None);
    // The same certificate under another name, and with words around it.
    let (other, _) = root("other", &format!("The root of demo.\n{P256}\n"));
    let other = [other, mesh(true, provided(Some("other")))];
    assert_eq!(refusal(&rooted(any), other), None);
}

#[test]
fn the_ca_does_not_change_while_mtls_is_enabled() {
    let forbidden = Some(Refusal::CaChangeForbidden);
    let rooted = rooted(provided(Some("root")));
    let retire = Operation::MoveAuthority(rooted.active_authority().unwrap().id, retiring());
    let (other, activate_other) = root("other", P384);
    let other_named = || mesh(true, provided(Some("other")));
    let (replaced, activate_replaced) = root("root", P384);
    let swap = |first: &[Operation], activate: &[Operation]| -> Vec<Operation> {
        [first, std::slice::from_ref(&retire), activate].concat()
    };
    let cases = [
        ("another kind", vec![mesh(true, builtin())]),
        ("disabled in the same write", vec![mesh(false, builtin())]),
        (
            "made anew",
            vec![delete(Kind::Mesh, "demo"), mesh(true, builtin())],
        ),
        ("another name", vec![other.clone(), other_named()]),
        (
            "another name, activated",
            swap(&[other.clone(), other_named()], &activate_other),
        ),
        (
            "only activated",
            swap(std::slice::from_ref(&other), &activate_other),
        ),
        ("another certificate", vec![replaced.clone()]),
        (
            "builtin, activated",
            swap(&[mesh(true, builtin())], &activate("builtin-1")),
        ),
    ];
    for (case, operations) in cases {
        assert_eq!(refusal(&rooted, operations), forbidden, "{case}");
    }
    // While it is disabled all of it may be done, and mTLS enabled in the same write.
    let disable = [mesh(false, provided(Some("root")))];
    let disabled = try_on(&rooted, &Evidence::new(), disable).unwrap();
    let cases = [
        (
            "another name",
            swap(&[other, other_named()], &activate_other),
        ),
        (
            "builtin",
            swap(&[mesh(true, builtin())], &activate("builtin-1")),
        ),
        (
            "another certificate",
            swap(&[replaced, mesh(true, provided(None))], &activate_replaced),
        ),
    ];
    for (case, operations) in cases {
        assert_eq!(refusal(&disabled, operations), None, "{case}");
    }
}
