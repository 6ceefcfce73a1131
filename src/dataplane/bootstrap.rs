//! The bootstrap of a proxy: who it is, and where it gets everything else from.
//!
//! Nothing in it is secret: the token stays in its file, which Envoy reads anew
//! for every stream.

use serde_json::{Value, json};

/// A stream waits for the connection, which gRPC tries again as often as
/// [`MAX_RETRY_SECONDS`] says. Envoy's own pause between two streams that
/// failed grows to 30 seconds, and cannot be set for this client.
const WAIT_FOR_CONNECTION: &str = r#"{"methodConfig":[{"name":[{}],"waitForReady":true}]}"#;
/// How many connections a proxy takes at once. Envoy warns where there is no limit.
const MAX_CONNECTIONS: u32 = 50_000;
/// The longest pause before Envoy calls a control plane again that was away.
const MAX_RETRY_SECONDS: u32 = 3;
/// When gRPC asks an idle connection whether it is still there, in seconds.
const KEEPALIVE_SECONDS: u32 = 30;
/// How long gRPC waits for the answer, in seconds.
const KEEPALIVE_TIMEOUT_SECONDS: u32 = 10;

const CREDENTIALS: &str = "envoy.grpc_credentials.file_based_metadata";
const CREDENTIALS_TYPE: &str =
    "type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig";
const CONNECTION_LIMIT: &str = "envoy.resource_monitors.global_downstream_max_connections";
const CONNECTION_LIMIT_TYPE: &str = "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig";

/// Where the node's metadata says how long replaced filter chains keep their
/// connections, in seconds: nothing else tells the control plane.
pub const DRAIN_METADATA: &str = "windlass.drainTimeSeconds";

/// What differs from proxy to proxy.
#[derive(Debug, Clone, Copy)]
pub struct BootstrapParams<'a> {
    /// The mesh.
    pub mesh: &'a str,
    /// The dataplane's name inside the mesh.
    pub name: &'a str,
    /// Where Envoy's admin server listens; without it there is none.
    pub admin: Option<AdminAddress<'a>>,
    /// The file that holds the dataplane's token and nothing else.
    pub token_path: &'a str,
    /// The control plane's gRPC server, `host:port`.
    pub xds: &'a str,
    /// The CA that proves that server, in PEM.
    pub ca_pem: &'a str,
    /// Envoy's `--drain-time-s`, where it is known.
    pub drain_seconds: Option<u64>,
}

/// Where Envoy's admin server listens. Who can call it can stop Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminAddress<'a> {
    /// That port of 127.0.0.1.
    Port(u16),
    /// A Unix socket at that path, which only its owner can use.
    Pipe(&'a str),
}

/// How Envoy talks to the control plane (`ApiConfigSource.ApiType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Incremental: only what changed is sent.
    #[default]
    Delta,
    /// State of the world: all resources of a type at once.
    StateOfTheWorld,
}

/// The bootstrap of a proxy that talks Delta
/// (`envoy.config.bootstrap.v3.Bootstrap`, in the JSON form of protobuf).
#[must_use]
pub fn bootstrap(params: &BootstrapParams<'_>) -> Value {
    bootstrap_over(Protocol::default(), params)
}

/// The bootstrap of a proxy that talks that protocol.
#[must_use]
pub fn bootstrap_over(protocol: Protocol, params: &BootstrapParams<'_>) -> Value {
    let api_type = match protocol {
        Protocol::Delta => "DELTA_GRPC",
        Protocol::StateOfTheWorld => "GRPC",
    };
    let over_ads = json!({"ads": {}, "resource_api_version": "V3"});
    let mut document = json!({
        "node": {
            "id": format!("{}.{}", params.mesh, params.name),
            "cluster": params.mesh,
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [control_plane(params)],
            },
            "cds_config": over_ads,
            "lds_config": over_ads,
        },
        "overload_manager": {
            "resource_monitors": [{
                "name": CONNECTION_LIMIT,
                "typed_config": {
                    "@type": CONNECTION_LIMIT_TYPE,
                    "max_active_downstream_connections": MAX_CONNECTIONS,
                },
            }],
        },
    });
    if let Some(seconds) = params.drain_seconds {
        document["node"]["metadata"] = json!({DRAIN_METADATA: seconds});
    }
    if let Some(admin) = params.admin {
        document["admin"] = json!({"address": address(admin)});
    }
    document
}

/// `envoy.config.core.v3.GrpcService`. Envoy's own gRPC client cannot read a token from a file.
fn control_plane(params: &BootstrapParams<'_>) -> Value {
    json!({
        "google_grpc": {
            "target_uri": params.xds,
            "stat_prefix": "windlass",
            "channel_credentials": {
                "ssl_credentials": {"root_certs": {"inline_string": params.ca_pem}},
            },
            "credentials_factory_name": CREDENTIALS,
            "call_credentials": [{
                "from_plugin": {
                    "name": CREDENTIALS,
                    "typed_config": {
                        "@type": CREDENTIALS_TYPE,
                        "secret_data": {"filename": params.token_path},
                        "header_key": "authorization",
                        "header_prefix": "Bearer ",
                    },
                },
            }],
            "channel_args": {"args": {
                "grpc.service_config": {"string_value": WAIT_FOR_CONNECTION},
                "grpc.initial_reconnect_backoff_ms": {"int_value": 500},
                "grpc.min_reconnect_backoff_ms": {"int_value": 1000},
                "grpc.max_reconnect_backoff_ms": {"int_value": MAX_RETRY_SECONDS * 1000},
                "grpc.keepalive_time_ms": {"int_value": KEEPALIVE_SECONDS * 1000},
                "grpc.keepalive_timeout_ms": {"int_value": KEEPALIVE_TIMEOUT_SECONDS * 1000},
            }},
        },
    })
}

fn address(admin: AdminAddress<'_>) -> Value {
    match admin {
        AdminAddress::Port(port) => json!({
            "socket_address": {"address": "127.0.0.1", "port_value": port},
        }),
        AdminAddress::Pipe(path) => json!({"pipe": {"path": path, "mode": 0o600}}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: BootstrapParams<'_> = BootstrapParams {
        mesh: "default",
        name: "dp-echo-1",
        admin: None,
        token_path: "/run/dp-echo-1.token",
        xds: "cp.example:5678",
        ca_pem: "PEM",
        drain_seconds: None,
    };

    fn ads(bootstrap: &Value) -> &Value {
        &bootstrap["dynamic_resources"]["ads_config"]
    }

    #[test]
    fn a_proxy_is_named_by_its_mesh_and_itself() {
        let node = &bootstrap(&PARAMS)["node"];
        assert_eq!(
            *node,
            json!({"id": "default.dp-echo-1", "cluster": "default"})
        );
    }

    #[test]
    fn the_control_plane_is_called_at_its_address_with_its_ca_and_the_token_file() {
        let bootstrap = bootstrap(&PARAMS);
        let grpc = &ads(&bootstrap)["grpc_services"][0]["google_grpc"];
        assert_eq!(grpc["target_uri"], "cp.example:5678");
        let roots = &grpc["channel_credentials"]["ssl_credentials"]["root_certs"];
        assert_eq!(*roots, json!({"inline_string": "PEM"}));
        let token = &grpc["call_credentials"][0]["from_plugin"]["typed_config"]["secret_data"];
        assert_eq!(*token, json!({"filename": "/run/dp-echo-1.token"}));
    }

    #[test]
    fn both_protocols_are_spoken_and_delta_is_the_one_unless_asked() {
        assert_eq!(ads(&bootstrap(&PARAMS))["api_type"], "DELTA_GRPC");
        let world = bootstrap_over(Protocol::StateOfTheWorld, &PARAMS);
        assert_eq!(ads(&world)["api_type"], "GRPC");
    }

    #[test]
    fn there_is_no_admin_server_unless_asked_and_then_for_this_machine_only() {
        let on = |admin| BootstrapParams {
            admin: Some(admin),
            ..PARAMS
        };
        assert_eq!(bootstrap(&PARAMS)["admin"], Value::Null);
        let port = bootstrap(&on(AdminAddress::Port(9901)));
        assert_eq!(
            port["admin"]["address"]["socket_address"],
            json!({"address": "127.0.0.1", "port_value": 9901})
        );
        let pipe = bootstrap(&on(AdminAddress::Pipe("/run/x/admin.sock")));
        assert_eq!(
            pipe["admin"]["address"]["pipe"],
            json!({"path": "/run/x/admin.sock", "mode": 0o600})
        );
    }

    #[test]
    fn the_node_says_how_long_it_drains_where_that_is_known() {
        let params = BootstrapParams {
            drain_seconds: Some(10),
            ..PARAMS
        };
        let metadata = &bootstrap(&params)["node"]["metadata"];
        assert_eq!(*metadata, json!({"windlass.drainTimeSeconds": 10}));
    }

    #[test]
    fn nothing_is_static() {
        assert_eq!(bootstrap(&PARAMS)["static_resources"], Value::Null);
    }
}
