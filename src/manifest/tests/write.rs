//! What is written is read as the same.

use std::net::IpAddr;
use std::num::NonZeroU16;

use proptest::option;
use proptest::prelude::*;

use super::super::{provided_ca_yaml, to_yaml};
use super::*;
use crate::model::{
    CaSpec, Dataplane, Gateway, HumanDuration, Inbound, Mesh, MeshName, Mtls, Networking, Offline,
    Outbound, Phase, Resource, ResourceName, Role, Selector, ServiceMatch, ServiceName,
    Strategy as Way, Tags, TrafficPermission, TransitionSettings,
};

fn mesh_name() -> impl Strategy<Value = MeshName> {
    "[a-z0-9]([a-z0-9_-]{0,8}[a-z0-9])?|true|null|0x1f|1e3|on"
        .prop_map(|name| name.parse().unwrap())
}

fn name() -> impl Strategy<Value = ResourceName> {
    "[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?|false|1\\.5|12|2024-01-01|0o7"
        .prop_map(|name| name.parse().unwrap())
}

fn service() -> impl Strategy<Value = ServiceName> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,8}|NULL|-1|\\.5|---".prop_map(|name| name.parse().unwrap())
}

fn tags() -> impl Strategy<Value = Tags> {
    let more = prop::collection::btree_map(
        "[^\\p{C}\\p{Z}]{1,6}|a b|é: x|#",
        "[^\\p{C}]{1,8}|\\*|~|line\\nline",
        0..3,
    );
    (more, service()).prop_map(|(mut tags, service)| {
        tags.insert("service".to_owned(), service.to_string());
        tags
    })
}

fn port() -> impl Strategy<Value = NonZeroU16> {
    (1..=u16::MAX).prop_map(|port| NonZeroU16::new(port).unwrap())
}

fn mesh() -> impl Strategy<Value = Resource> {
    let ca = prop_oneof![
        option::of(1..=65_535_u32).prop_map(|ordinal| CaSpec::Builtin { ordinal }),
        option::of(name()).prop_map(|name| CaSpec::Provided { name }),
    ];
    let transition = (
        option::of(prop::sample::select(vec![
            Way::Rolling,
            Way::DisableFirst,
            Way::Forbid,
        ])),
        option::of(
            (1..10_000_000_u64).prop_map(|ms| HumanDuration(std::time::Duration::from_millis(ms))),
        ),
        option::of(prop::sample::select(vec![Offline::Block, Offline::Ignore])),
        option::of(prop::sample::select(Phase::ALL.to_vec())),
    )
        .prop_map(
            |(strategy, ack_timeout, offline, hold)| TransitionSettings {
                strategy,
                ack_timeout,
                offline,
                hold,
            },
        );
    (mesh_name(), any::<bool>(), ca, option::of(transition)).prop_map(
        |(name, enabled, ca, transition)| {
            Resource::Mesh(Mesh {
                name,
                mtls: Mtls {
                    enabled,
                    ca,
                    transition,
                },
            })
        },
    )
}

fn permission() -> impl Strategy<Value = Resource> {
    let selector = || {
        prop_oneof![
            Just(ServiceMatch::Any),
            service().prop_map(ServiceMatch::Exactly)
        ]
        .prop_map(|service| Selector { service })
    };
    let selectors = || prop::collection::vec(selector(), 1..3);
    (
        mesh_name(),
        name(),
        option::of(name()),
        selectors(),
        selectors(),
    )
        .prop_map(|(mesh, name, namespace, sources, destinations)| {
            Resource::TrafficPermission(TrafficPermission {
                mesh,
                name,
                namespace,
                sources,
                destinations,
            })
        })
}

fn dataplane() -> impl Strategy<Value = Resource> {
    let inbound =
        (port(), option::of(port()), tags()).prop_map(|(port, service_port, tags)| Inbound {
            port,
            service_port,
            tags,
        });
    let role = prop_oneof![
        prop::collection::vec(inbound, 1..3).prop_map(Role::Inbound),
        tags().prop_map(|tags| Role::Gateway(Gateway { tags })),
    ];
    let outbound =
        (option::of(any::<IpAddr>()), port(), service()).prop_map(|(address, port, service)| {
            Outbound {
                address,
                port,
                service,
            }
        });
    let outbound = prop::collection::vec(outbound, 0..3);
    (
        mesh_name(),
        name(),
        option::of(name()),
        any::<IpAddr>(),
        role,
        outbound,
    )
        .prop_map(|(mesh, name, namespace, address, role, outbound)| {
            Resource::Dataplane(Dataplane {
                mesh,
                name,
                namespace,
                networking: Networking {
                    address,
                    role,
                    outbound,
                },
            })
        })
}

fn read_back(yaml: &str) -> Vec<Resource> {
    let file = file("a.yaml", yaml);
    assert_eq!(file.diagnostics, [], "{yaml}");
    let resources = file.resources.iter();
    resources
        .map(|resource| resource.desired.as_ref().unwrap().resource.clone())
        .collect()
}

proptest! {
    #[test]
    fn resources_round_trip(resources in prop::collection::vec(prop_oneof![mesh(), permission(), dataplane()], 0..4)) {
        let yaml = to_yaml(&resources);
        prop_assert_eq!(read_back(&yaml), resources, "{}", yaml);
    }
}

#[test]
fn a_provided_ca_is_written_in_blocks() {
    let cert = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let key = "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n";
    let yaml = provided_ca_yaml(
        &"demo".parse().unwrap(),
        &"root-2026".parse().unwrap(),
        cert,
        key,
    );
    assert_eq!(
        yaml,
        "type: ProvidedCa\nmesh: demo\nname: root-2026\ncert: |\n  -----BEGIN CERTIFICATE-----\n  MIIB\n  -----END CERTIFICATE-----\nkey: |\n  -----BEGIN AGE ENCRYPTED FILE-----\n  YWdl\n  -----END AGE ENCRYPTED FILE-----\n"
    );
    let [Resource::ProvidedCa(ca)] = &read_back(&yaml)[..] else {
        panic!("{yaml}");
    };
    assert_eq!((&*ca.cert, &*ca.key), (cert, key));
}
