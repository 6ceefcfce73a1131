//! A real Envoy on what the pure part of xDS makes, without the rest of the
//! control plane: nothing is refused or deprecated, and policy is what it does.

mod ads;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass::ca::{self, LeafKey, LeafRequest, Signer};
use windlass::clock;
use windlass::model::{
    AuthorityState, Kind, MeshName, MeshState, Origin, ResourceKey, StoredResource,
};
use windlass::xds::resource::Resource;
use windlass::xds::snapshot::{MeshView, Snapshot};

use crate::support::{Envoy, wait};
use ads::Ads;

const DENIED: &str = "inbound.web.rbac.denied";
const HANDSHAKES: &str = "cluster.web.ssl.handshake";

/// One proxy that reaches its own service through itself.
struct Site {
    mesh: MeshState,
    view: MeshView,
    identity: Arc<Resource>,
    outbound: u16,
}

impl Site {
    fn new() -> Self {
        let name: MeshName = "demo".parse().unwrap();
        let (mut authority, key) = ca::create_builtin(&name, 1, clock::now()).unwrap();
        authority.state = AuthorityState::Active;
        let signer = Signer::new(&authority, &key).unwrap();
        let mut mesh = MeshState::absent(name);
        mesh.authorities.insert(authority.id, authority);
        let [inbound, outbound] = [free_port(), free_port()];
        let networking = json!({
            "address": "127.0.0.1",
            "inbound": [{"port": inbound, "servicePort": echo(), "tags": {"service": "web"}}],
            "outbound": [{"port": outbound, "service": "web"}],
        });
        put(
            &mut mesh,
            &json!({"type": "Dataplane", "mesh": "demo", "name": "dp", "networking": networking}),
        );
        put(&mut mesh, &mesh_resource(true));
        let mut view = MeshView::of(&Arc::new(mesh.clone()));
        let spec = view.proxy(&"dp".parse().unwrap()).unwrap().leaf.unwrap();
        let request = LeafRequest {
            identity: spec.identity,
            lifetime: Duration::from_hours(1),
            key: LeafKey::EcP256,
        };
        let leaf = ca::issue(&request, &signer, clock::now()).unwrap();
        Self {
            mesh,
            view,
            identity: Arc::new(Resource::identity_cert(Arc::new(leaf))),
            outbound,
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        self.view.advance(&Arc::new(self.mesh.clone()));
        let view = self.view.proxy(&"dp".parse().unwrap()).unwrap();
        let identity = view.leaf.is_some().then(|| self.identity.clone());
        view.with_identity(identity)
    }

    fn allow(&mut self) {
        let web = json!([{"match": {"service": "web"}}]);
        put(
            &mut self.mesh,
            &json!({
                "type": "TrafficPermission", "mesh": "demo", "name": "web", "sources": web, "destinations": web,
            }),
        );
    }

    fn withdraw(&mut self) {
        self.mesh.resources.remove(&ResourceKey {
            mesh: "demo".parse().unwrap(),
            kind: Kind::TrafficPermission,
            name: "web".parse().unwrap(),
        });
    }

    /// A connection of the workload, on which one echo came back.
    fn connect(&self) -> Result<TcpStream, String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.outbound));
        let words = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(address).map_err(words)?;
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .map_err(words)?;
        stream.write_all(b"hi").map_err(words)?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).map_err(words)?;
        Ok(stream)
    }
}

fn mesh_resource(enabled: bool) -> Value {
    json!({"type": "Mesh", "name": "demo", "mtls": {"enabled": enabled, "ca": {"builtin": {}}}})
}

fn put(mesh: &mut MeshState, resource: &Value) {
    let resource = serde_json::from_value(resource.clone()).unwrap();
    let stored = StoredResource::new(resource, Origin::Api {});
    mesh.resources
        .insert(stored.resource.key(), Arc::new(stored));
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The port of a service that says what it is told.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut back = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut &stream, &mut back);
            });
        }
    });
    port
}

#[test]
fn envoy_enforces_permissions_ends_what_is_withdrawn_and_goes_plaintext_and_back() {
    let mut site = Site::new();
    let ads = Ads::start(site.snapshot());
    let mut envoy = Envoy::of_ads(ads.port, "demo.dp");
    let counter = |name: &str| envoy.counter(name).unwrap_or(0);
    wait::until("a denial", || match (site.connect(), counter(DENIED)) {
        (Ok(_), _) => panic!("nothing is allowed"),
        (Err(error), 0) => Err(error),
        (Err(_), _) => Ok(()),
    });

    site.allow();
    ads.publish(site.snapshot());
    let mut open = wait::until("an echo over mTLS", || site.connect());
    assert!(counter(HANDSHAKES) > 0);

    site.withdraw();
    ads.publish(site.snapshot());
    let denials = counter(DENIED);
    wait::until("a new denial", || match site.connect() {
        Err(_) if counter(DENIED) > denials => Ok(()),
        answer => Err(format!("{answer:?}")),
    });
    open.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    match open.read(&mut [0; 8]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }

    site.allow();
    for enabled in [false, true] {
        put(&mut site.mesh, &mesh_resource(enabled));
        ads.publish(site.snapshot());
        wait::until("an echo", || {
            let before = counter(HANDSHAKES);
            site.connect()?;
            let encrypted = counter(HANDSHAKES) > before;
            (encrypted == enabled)
                .then_some(())
                .ok_or_else(|| format!("encrypted: {encrypted}"))
        });
    }

    let listeners = ["modified", "in_place_updated", "added"]
        .map(|name| counter(&format!("listener_manager.listener_{name}")));
    assert_eq!(listeners, [4, 4, 2], "no socket was ever closed");
    envoy.assert_running();
    assert_eq!(ads.refused(), [""; 0]);
    let log = envoy.log().to_lowercase();
    for word in ["deprecated", "timed out"] {
        assert!(!log.contains(word), "{log}");
    }
}
