//! Who may connect: the RBAC network filter.

use std::collections::{BTreeSet, HashMap};

use envoy_types::pb::envoy::config::rbac::v3::permission::Rule;
use envoy_types::pb::envoy::config::rbac::v3::principal::{Authenticated, Identifier};
use envoy_types::pb::envoy::config::rbac::v3::rbac::Action;
use envoy_types::pb::envoy::config::rbac::v3::{Permission, Policy, Principal, Rbac as Rules};
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;

use super::tls;
use crate::model::{MeshName, ServiceMatch, ServiceName};

/// The one policy's name, which Envoy's own words about a connection contain.
const POLICY: &str = "traffic-permissions";

/// The filter in front of a service: it lets the sources in and nobody else.
///
/// Rules without a policy deny everything, unlike a filter without rules. What
/// it decides is counted in `inbound.<service>.rbac.{allowed,denied}`. Who it
/// would deny does not get through the handshake; this is the second lock
/// (docs/decisions/0007).
pub(in crate::xds) fn filter(
    mesh: &MeshName,
    service: &ServiceName,
    sources: &BTreeSet<&ServiceMatch>,
) -> Any {
    pack_any(Rbac {
        rules: Some(Rules {
            action: Action::Allow.into(),
            policies: policies(mesh, sources),
            ..Rules::default()
        }),
        stat_prefix: format!("inbound.{service}."),
        ..Rbac::default()
    })
}

/// At most one policy: a map has no order.
fn policies(mesh: &MeshName, sources: &BTreeSet<&ServiceMatch>) -> HashMap<String, Policy> {
    let names = tls::principals(mesh, sources);
    if names.is_empty() {
        return HashMap::new();
    }
    let principals = names.into_iter().map(|name| Principal {
        identifier: Some(Identifier::Authenticated(Authenticated {
            principal_name: Some(name),
        })),
    });
    let policy = Policy {
        permissions: vec![Permission {
            rule: Some(Rule::Any(true)),
        }],
        principals: principals.collect(),
        ..Policy::default()
    };
    HashMap::from([(POLICY.to_owned(), policy)])
}
