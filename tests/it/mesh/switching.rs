//! mTLS off and on again.

use super::network::{Network, mesh_document};
use crate::support::{echo, wait};

#[test]
pub(crate) fn mtls_goes_off_and_on_again_by_commits() {
    let mut network = Network::of(&["demo"]);
    network.start_proxies("demo");
    network.wait_until_reached("demo", "backend");
    network.wait_until_denied("demo", "redis");
    let inbound = network.inbound("redis");
    assert_eq!(echo::refuses_plaintext(&inbound), Ok(()));

    let off = mesh_document("demo", false);
    network.commit(&[("demo/mesh.yaml", Some(&off))], "mTLS off");
    network.wait_until_reached("demo", "redis");
    network.wait_until_reached("demo", "backend");
    let plain = wait::until("a plaintext answer", || echo::ask(&inbound, "hello"));
    assert_eq!(plain, "redis of demo: hello");

    let on = mesh_document("demo", true);
    network.commit(&[("demo/mesh.yaml", Some(&on))], "mTLS on");
    network.wait_until_denied("demo", "redis");
    network.wait_until_reached("demo", "backend");
    wait::until("plaintext to be refused", || {
        echo::refuses_plaintext(&inbound)
    });
}
