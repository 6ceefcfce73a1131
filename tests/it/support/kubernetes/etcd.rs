//! What is done to etcd behind the back of its API server, over its JSON gateway.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::http;

/// Below this the API server keeps all it has.
const FIRST: &str = "/registry/";
/// The first key that is not below it.
const END: &str = "/registry0";
/// What API servers keep for themselves, and miss where it is gone.
const OWN: [&str; 2] = ["/registry/masterleases/", "/registry/ranges/"];
/// These act on the others, so they go first.
const EARLY: &str = "/registry/admissionregistration.k8s.io/";

/// An etcd that listens on that address.
pub(super) struct Etcd(pub(super) String);

impl Etcd {
    fn call(&self, path: &str, body: &Value) -> Value {
        http::post(&self.0, path, body)
            .and_then(http::Answer::ok)
            .unwrap_or_else(|error| panic!("etcd at {}: {error}", self.0))
            .json()
    }

    /// Whether it answers.
    pub(super) fn is_healthy(&self) -> bool {
        http::get(&self.0, "/health").is_ok_and(|answer| answer.body.contains("true"))
    }

    fn range(&self, limit: u32) -> Value {
        let range = json!({
            "key": STANDARD.encode(FIRST), "range_end": STANDARD.encode(END),
            "keys_only": true, "limit": limit,
        });
        self.call("/v3/kv/range", &range)
    }

    /// All keys of the API server, in order.
    pub(super) fn keys(&self) -> Vec<String> {
        let range = self.range(0);
        let keys = range["kvs"].as_array().into_iter().flatten();
        keys.map(|entry| {
            let key = entry["key"].as_str().expect("a key");
            let key = STANDARD.decode(key).expect("base64");
            String::from_utf8(key).expect("a key that is text")
        })
        .collect()
    }

    /// Deletes all keys that are not in the baseline. Returns what it deleted.
    pub(super) fn delete_all_but(&self, baseline: &[String]) -> Vec<String> {
        let mut foreign = self.keys();
        foreign.retain(|key| {
            baseline.binary_search(key).is_err() && !OWN.iter().any(|own| key.starts_with(own))
        });
        foreign.sort_by_key(|key| !key.starts_with(EARLY));
        for some in foreign.chunks(100) {
            let deletions: Vec<Value> = some
                .iter()
                .map(|key| json!({"requestDeleteRange": {"key": STANDARD.encode(key)}}))
                .collect();
            self.call("/v3/kv/txn", &json!({"success": deletions}));
        }
        foreign
    }

    /// Puts an object in the place of whatever there was.
    pub(super) fn put(&self, key: &str, object: &Value) {
        let (key, object) = (STANDARD.encode(key), STANDARD.encode(object.to_string()));
        self.call("/v3/kv/put", &json!({"key": key, "value": object}));
    }

    /// Forgets all versions before the present one.
    pub(super) fn compact(&self) {
        let revision = self.range(1)["header"]["revision"].clone();
        self.call(
            "/v3/kv/compaction",
            &json!({"revision": revision, "physical": true}),
        );
    }
}
