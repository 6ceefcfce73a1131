//! Every rule about form, in both forms.

use super::*;
use crate::model::{Kind, Phase, Resource};

/// The fields of a resource in both forms.
fn both(kind: &str, fields: &str) -> [String; 2] {
    let indented = fields.lines().map(|line| format!("  {line}\n"));
    let indented = indented.collect::<Vec<_>>().concat();
    let spec = if indented.trim().is_empty() {
        String::new()
    } else {
        format!("spec:\n{indented}")
    };
    let mesh = if kind == "Mesh" { "" } else { "mesh: demo\n" };
    [
        format!("type: {kind}\nname: demo\n{mesh}{fields}\n"),
        format!(
            "apiVersion: kuma.io/v1alpha1\nkind: {kind}\n{mesh}metadata:\n  name: demo\n{spec}"
        ),
    ]
}

#[track_caller]
pub(super) fn assert_violations(kind: &str, fields: &str, expected: &[&str]) {
    for yaml in both(kind, fields) {
        let mut found = violations(&yaml);
        found.sort();
        let mut expected: Vec<String> = expected.iter().map(|&text| text.to_owned()).collect();
        expected.sort();
        assert_eq!(found, expected, "{yaml}");
        let manifest = manifest(&[("a.yaml", &yaml)]);
        assert!(!manifest.holds_back_commit(), "{yaml}");
        let held_back = manifest.desired().held_back.iter().map(ToString::to_string);
        let expected = if expected.is_empty() {
            None
        } else {
            Some("demo".to_owned())
        };
        assert!(held_back.eq(expected), "{yaml}");
    }
}

#[test]
fn a_mesh_has_exactly_one_ca() {
    let expected = ["mtls.ca: exactly one of \"builtin\" and \"provided\" must be set"];
    for ca in [
        "{}",
        "",
        "{builtin: {}, provided: {}}",
        "{builtin: , provided: }",
    ] {
        assert_violations("Mesh", &format!("mtls:\n  ca: {ca}"), &expected);
    }
    for fields in [
        "",
        "mtls: {}",
        "mtls: {enabled: true}",
        "mtls: {ca: {builtin: {}}}",
        "mtls: {enabled: true, ca: {provided: {}}}",
        "mtls: {ca: {provided: {name: root-2026}}}",
        "mtls: {ca: {builtin: {ordinal: 2}}}",
    ] {
        assert_violations("Mesh", fields, &[]);
    }
}

#[test]
fn the_roots_that_windlass_makes_are_counted_from_one() {
    for ordinal in ["0", "-1", "65536", "99999999999"] {
        assert_violations(
            "Mesh",
            &format!("mtls: {{ca: {{builtin: {{ordinal: {ordinal}}}}}}}"),
            &["mtls.ca.builtin.ordinal: must be in range of [1, 65535]"],
        );
    }
    assert_violations(
        "Mesh",
        "mtls: {ca: {builtin: {ordinal: two}}}",
        &["mtls.ca.builtin.ordinal: must be an integer, found a text"],
    );
    assert_violations(
        "Mesh",
        "mtls: {ca: {builtin: {name: root}}}",
        &["mtls.ca.builtin.name: the field \"name\" is unknown"],
    );
    for yaml in both("Mesh", "mtls: {ca: {builtin: {ordinal: 2}}}") {
        let manifest = manifest(&[("a.yaml", &yaml)]);
        let mesh = manifest.desired().meshes["demo"].mesh().unwrap();
        let written = Resource::Mesh(mesh.clone()).to_universal();
        let expected = serde_json::json!({"builtin": {"ordinal": 2}});
        assert_eq!(written["mtls"]["ca"], expected, "{yaml}");
    }
    let [yaml, _] = both("Mesh", "mtls: {ca: {builtin: {ordinal: 0}}}");
    let manifest = manifest(&[("a.yaml", &yaml)]);
    let found = &manifest.diagnostics()[0];
    assert_eq!((found.line, found.column), (3, 32));
}

#[test]
fn a_transition_lists_the_words_that_are_allowed() {
    assert_violations(
        "Mesh",
        "mtls:\n  transition: {strategy: roling, ackTimeout: 5, offline: wait, hold: later}",
        &[
            "mtls.transition.strategy: must be one of rolling, disableFirst, forbid",
            "mtls.transition.ackTimeout: must be a text, found an integer",
            "mtls.transition.offline: must be one of block, ignore",
            "mtls.transition.hold: must be one of stage, propagate, activate, retire, done, \
             identify, permit, encrypt, require, decrypt, disarm, forget",
        ],
    );
    assert_violations(
        "Mesh",
        "mtls: {transition: {ackTimeout: 5 minutes}}",
        &[
            "mtls.transition.ackTimeout: must be a duration such as `500ms`, `30s`, `5m`, `24h` or `1h30m`",
        ],
    );
    for phase in Phase::ALL {
        assert_violations(
            "Mesh",
            &format!(
                "mtls: {{transition: {{strategy: disableFirst, ackTimeout: 5m, offline: ignore, hold: {phase}}}}}"
            ),
            &[],
        );
    }
}

#[test]
fn a_permission_has_sources_and_destinations() {
    let expected = [
        "sources: must have at least one element",
        "destinations: must have at least one element",
    ];
    for fields in [
        "",
        "sources: []\ndestinations: []",
        "sources:\ndestinations:",
    ] {
        assert_violations("TrafficPermission", fields, &expected);
    }
}

#[test]
fn a_selector_is_exactly_one_service_tag() {
    let cases: [(&str, &[&str]); 9] = [
        ("{match: {service: web}}", &[]),
        ("{match: {service: '*'}}", &[]),
        (
            "{match: {}}",
            &[
                "sources[0].match: must consist of exactly one tag \"service\"",
                "sources[0].match: mandatory tag \"service\" is missing",
            ],
        ),
        (
            "{}",
            &[
                "sources[0].match: must consist of exactly one tag \"service\"",
                "sources[0].match: mandatory tag \"service\" is missing",
            ],
        ),
        (
            "{match: {env: x}}",
            &[
                "sources[0].match: must consist of exactly one tag \"service\"",
                "sources[0].match: mandatory tag \"service\" is missing",
                "sources[0].match[\"env\"]: tag \"env\" is not allowed",
            ],
        ),
        (
            "{match: {service: web, env: ''}}",
            &[
                "sources[0].match: must consist of exactly one tag \"service\"",
                "sources[0].match[\"env\"]: tag \"env\" is not allowed",
                "sources[0].match[\"env\"]: tag value must be non-empty",
            ],
        ),
        (
            "{match: {service: ''}}",
            &["sources[0].match[\"service\"]: tag value must be non-empty"],
        ),
        (
            "{match: {service: }}",
            &["sources[0].match[\"service\"]: tag value must be non-empty"],
        ),
        (
            "{match: {service: web*}}",
            &[
                "sources[0].match[\"service\"]: tag value must consist of letters, digits, '-', '_', '.', since it is the path of a SPIFFE ID",
            ],
        ),
    ];
    for (selector, expected) in cases {
        let good = "[{match: {service: web}}]";
        assert_violations(
            "TrafficPermission",
            &format!("sources: [{selector}]\ndestinations: {good}"),
            expected,
        );
        let expected: Vec<String> = expected
            .iter()
            .map(|text| text.replace("sources[0]", "destinations[1]"))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_violations(
            "TrafficPermission",
            &format!("sources: {good}\ndestinations: [{{match: {{service: a}}}}, {selector}]"),
            &expected,
        );
    }
}

#[test]
fn a_dataplane_has_either_inbounds_or_a_gateway() {
    let neither = "networking: has to contain at least one inbound interface or gateway";
    let address = "networking.address: address has to be valid IP address";
    assert_violations("Dataplane", "", &[neither, address]);
    assert_violations("Dataplane", "networking: {address: 10.0.0.1}", &[neither]);
    assert_violations(
        "Dataplane",
        "networking: {address: 10.0.0.1, inbound: []}",
        &[neither],
    );
    assert_violations(
        "Dataplane",
        "networking: {address: '::1', inbound: [{port: 1, tags: {service: a}}], gateway: {tags: {service: b}}}",
        &["networking: inbound cannot be defined both with gateway"],
    );
    assert_violations(
        "Dataplane",
        "networking: {address: 10.0.0.1, gateway: {tags: {service: edge}}, outbound: [{port: 33033, service: redis}]}",
        &[],
    );
}

#[test]
fn addresses_are_ip_addresses() {
    for address in ["localhost", "10.0.0.256", "''", "5", "", "10.0.0.1/8", "[]"] {
        assert_violations(
            "Dataplane",
            &format!(
                "networking: {{address: {address}, inbound: [{{port: 1, tags: {{service: a}}}}]}}"
            ),
            &["networking.address: address has to be valid IP address"],
        );
    }
    assert_violations(
        "Dataplane",
        "networking: {address: 10.0.0.1, inbound: [{port: 1, tags: {service: a}}], outbound: [{address: x, port: 1, service: b}]}",
        &["networking.outbound[0].address: address has to be valid IP address"],
    );
}

#[test]
fn ports_are_in_range() {
    for port in ["0", "65536", "-1", "99999999999999999999"] {
        assert_violations(
            "Dataplane",
            &format!(
                "networking: {{address: 10.0.0.1, inbound: [{{port: 1, tags: {{service: a}}}}, {{port: {port}, servicePort: {port}, tags: {{service: a}}}}], outbound: [{{port: {port}, service: b}}]}}"
            ),
            &[
                "networking.inbound[1].port: port has to be in range of [1, 65535]",
                "networking.inbound[1].servicePort: servicePort has to be in range of [1, 65535]",
                "networking.outbound[0].port: port has to be in range of [1, 65535]",
            ],
        );
    }
    assert_violations(
        "Dataplane",
        "networking: {address: 10.0.0.1, inbound: [{tags: {service: a}}, {port: '80', tags: {service: a}}]}",
        &[
            "networking.inbound[0].port: port has to be in range of [1, 65535]",
            "networking.inbound[1].port: must be an integer, found a text",
        ],
    );
}

#[test]
fn tags_name_a_service_and_have_values() {
    assert_violations(
        "Dataplane",
        "networking: {address: 10.0.0.1, inbound: [{port: 1}, {port: 2, tags: {version: ''}}, {port: 3, tags: {service: a/b, version: 1}}]}",
        &[
            "networking.inbound[0].tags: mandatory tag \"service\" is missing",
            "networking.inbound[1].tags: mandatory tag \"service\" is missing",
            "networking.inbound[1].tags[\"version\"]: tag value must be non-empty",
            "networking.inbound[2].tags[\"service\"]: tag value must consist of letters, digits, '-', '_', '.', since it is the path of a SPIFFE ID",
            "networking.inbound[2].tags[\"version\"]: must be a text, found an integer",
        ],
    );
    assert_violations(
        "Dataplane",
        "networking: {address: 10.0.0.1, gateway: {}, outbound: [{port: 1}, {port: 2, service: ''}]}",
        &[
            "networking.gateway.tags: mandatory tag \"service\" is missing",
            "networking.outbound[0].service: cannot be empty",
            "networking.outbound[1].service: cannot be empty",
        ],
    );
}

#[test]
fn values_of_the_wrong_type_say_what_they_are() {
    assert_violations(
        "Mesh",
        "mtls: 5",
        &["mtls: must be a map, found an integer"],
    );
    assert_violations(
        "Mesh",
        "mtls: {enabled: yes}",
        &["mtls.enabled: must be a boolean, found a text"],
    );
    assert_violations(
        "Mesh",
        "mtls: {ca: {builtin: true}}",
        &["mtls.ca.builtin: must be a map, found a boolean"],
    );
    assert_violations(
        "TrafficPermission",
        "sources: {}\ndestinations: [web]",
        &[
            "sources: must be a list, found a map",
            "destinations[0]: must be a map, found a text",
        ],
    );
}

#[test]
fn unknown_fields_are_errors_everywhere() {
    assert_violations(
        "Mesh",
        "mtls: {enabld: true, ca: {builtin: {a: 1}, own: {}}}\nlogging: {}",
        &[
            "mtls.enabld: the field \"enabld\" is unknown",
            "mtls.ca.builtin.a: the field \"a\" is unknown",
            "mtls.ca.own: the field \"own\" is unknown",
            "logging: the field \"logging\" is unknown",
        ],
    );
    let manifest = manifest(&[("a.yaml", "type: Mesh\nname: demo\nmtls: {Enabled: true}\n")]);
    assert_eq!(
        manifest.diagnostics()[0].hint.as_deref(),
        Some("did you mean `enabled`?")
    );
}

#[test]
fn both_forms_mean_the_same() {
    let fields = "networking:\n  address: 10.0.0.1\n  inbound: [{port: 80, servicePort: 8080, tags: {service: web, version: \"1\"}}]\n";
    let [universal, kubernetes] = both("Dataplane", fields).map(|yaml| {
        let manifest = manifest(&[("a.yaml", &yaml)]);
        let desired = manifest.desired().meshes.values().next().unwrap().clone();
        let resource = desired.resources.values().next().unwrap().clone();
        (resource.resource.clone(), resource.digest)
    });
    assert_eq!(universal, kubernetes);
}

#[test]
fn metadata_may_have_namespace_labels_and_annotations() {
    let yaml = "apiVersion: kuma.io/v1alpha1\nkind: TrafficPermission\nmesh: demo\nmetadata:\n  name: a\n  namespace: team\n  labels: {a: b}\n  annotations: {c: d}\nspec:\n  sources: [{match: {service: a}}]\n  destinations: [{match: {service: b}}]\n";
    let manifest = manifest(&[("a.yaml", yaml)]);
    assert_eq!(manifest.diagnostics(), []);
    let mesh = manifest.desired().meshes.values().next().unwrap().clone();
    let Resource::TrafficPermission(permission) = &mesh.resources.values().next().unwrap().resource
    else {
        panic!("{mesh:?}");
    };
    assert_eq!(permission.namespace.as_ref().unwrap().as_str(), "team");
    let bad = yaml
        .replace("{a: b}", "{a: 1}")
        .replace("name: a", "nam: a");
    assert_eq!(
        violations(&bad),
        [
            "name: must be set",
            "metadata.nam: the field \"nam\" is unknown",
            "metadata.labels[\"a\"]: must be a text, found an integer",
        ]
    );
}

#[test]
fn a_resource_says_once_what_it_is() {
    let cases = [
        ("name: a\n", "type: must be set"),
        (
            "apiVersion: kuma.io/v1alpha1\nmetadata: {name: a}\n",
            "kind: must be set",
        ),
        (
            "kind: Mesh\nmetadata: {name: a}\n",
            "apiVersion: must be set",
        ),
        (
            "apiVersion: v1\nkind: Mesh\nmetadata: {name: a}\n",
            "apiVersion: must be kuma.io/v1alpha1",
        ),
        (
            "type: Mesh\nkind: Mesh\nname: a\n",
            "type: a resource has either `type` or `apiVersion` and `kind`, not both",
        ),
        (
            "type: Mash\nname: a\n",
            "type: \"Mash\" is unknown, must be one of Mesh, ProvidedCa, TrafficPermission, Dataplane",
        ),
        (
            "apiVersion: v1\nkind: List\nitems: []\n",
            "kind: \"List\" is unknown, must be one of Mesh, ProvidedCa, TrafficPermission, Dataplane",
        ),
        ("type: 5\n", "type: must be a text, found an integer"),
        (
            "- type: Mesh\n",
            ".: a document must be a map, found a list",
        ),
        ("type: Mesh\n", "name: must be set"),
        (
            "type: Mesh\nname: A\n",
            "name: must consist of lower case letters, digits, '-', '_'",
        ),
    ];
    for (yaml, expected) in cases {
        let found = violations(yaml);
        assert!(
            found.iter().any(|found| found == expected),
            "{yaml}: {found:?}"
        );
        let only_version = expected.starts_with("apiVersion");
        assert!(
            only_version || manifest(&[("a.yaml", yaml)]).holds_back_commit(),
            "{yaml}"
        );
    }
}

#[test]
fn a_resource_whose_mesh_is_known_holds_back_that_mesh_only() {
    for yaml in [
        "type: TrafficPermision\nmesh: demo\nname: a\n",
        "type: TrafficPermission\nkind: TrafficPermission\nmesh: demo\n",
        "type: Dataplane\nmesh: demo\nname: A B\nnetworking: {}\n",
        "type: Dataplane\nmesh: demo\nnetworking: {}\n",
        "apiVersion: kuma.io/v1alpha1\nkind: Dataplane\nmesh: demo\nmetadata: {name: a}\nspec: []\n",
    ] {
        let manifest = manifest(&[("a.yaml", yaml)]);
        assert!(
            !manifest.holds_back_commit(),
            "{yaml}: {:?}",
            manifest.diagnostics()
        );
        assert!(manifest.desired().held_back.contains("demo"), "{yaml}");
    }
    for yaml in [
        "type: Dataplane\nname: a\n",
        "type: Dataplane\nmesh: A\nname: a\n",
        "type: Dataplane\nmesh: demo\nmesh: other\nname: a\n",
    ] {
        assert!(manifest(&[("a.yaml", yaml)]).holds_back_commit(), "{yaml}");
    }
}

#[test]
fn diagnostics_point_at_the_field() {
    let yaml = "apiVersion: kuma.io/v1alpha1\nkind: Dataplane\nmesh: demo\nmetadata: {name: ä, namespace: x}\nspec:\n  networking:\n    address: nö\n    inbound:\n      - port: 0\n        tags:\n          version: ''\n";
    assert_eq!(
        places(yaml),
        [
            "4:18 WL0106 name",
            "7:14 WL0303 networking.address",
            "9:15 WL0304 networking.inbound[0].port",
            "10:9 WL0305 networking.inbound[0].tags",
            "11:20 WL0306 networking.inbound[0].tags[\"version\"]",
        ]
    );
}

#[test]
fn every_kind_can_be_read() {
    let yaml = "type: Mesh\nname: demo\n---\ntype: ProvidedCa\nmesh: demo\nname: demo\ncert: a\nkey: |\n  -----BEGIN AGE ENCRYPTED FILE-----\n  -----END AGE ENCRYPTED FILE-----\n---\ntype: TrafficPermission\nmesh: demo\nname: demo\nsources: [{match: {service: a}}]\ndestinations: [{match: {service: b}}]\n---\ntype: Dataplane\nmesh: demo\nname: demo\nnetworking: {address: 127.0.0.1, gateway: {tags: {service: a}}}\n";
    let manifest = manifest(&[("a.yaml", yaml)]);
    assert_eq!(manifest.diagnostics(), []);
    let kinds = manifest.desired().meshes["demo"]
        .resources
        .keys()
        .map(|key| key.kind);
    assert!(kinds.eq(Kind::ALL));
}
