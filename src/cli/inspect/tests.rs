use std::time::Duration;

use super::*;
use crate::model::{AuthorityId, Digest, Nack};

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn insight(name: &str) -> Insight {
    serde_json::from_value(serde_json::json!({
        "name": name, "versions": {}, "outOfSync": [],
    }))
    .unwrap()
}

fn ago(seconds: u64) -> Timestamp {
    now() - Duration::from_secs(seconds)
}

fn ahead(hours: u64) -> Timestamp {
    now() + Duration::from_hours(hours)
}

#[test]
fn the_table_shows_what_to_look_at() {
    let mesh: MeshName = "demo".parse().unwrap();
    let good = Insight {
        connected_since: Some(ago(7300)),
        last_seen: Some(ago(3)),
        replica: Some("cp-0".into()),
        leaf_authority: Some(AuthorityId(Digest::of(b"root"))),
        leaf_expires_at: Some(ahead(23)),
        token_expires_at: Some(ahead(24 * 29)),
        ..insight("backend")
    };
    let bad = Insight {
        connected_since: Some(ago(90)),
        out_of_sync: ["listener", "mesh_ca"].map(str::to_owned).into(),
        last_nack: Some(Nack {
            at: ago(60),
            resource: "listener".to_owned(),
            message: format!("error\nadding\u{1b}[2J {}\n", "x".repeat(200)),
        }),
        ..good.clone()
    };
    let gone = Insight {
        connected_since: None,
        last_seen: Some(ago(4 * 86_400)),
        replica: Some("cp\u{202e}1".into()),
        leaf_expires_at: Some(ago(600)),
        token_expires_at: None,
        ..good.clone()
    };
    let (bad, gone, never) = (
        Insight {
            name: "web".parse().unwrap(),
            ..bad
        },
        Insight {
            name: "old".parse().unwrap(),
            ..gone
        },
        insight("edge"),
    );
    let proxies: Vec<_> = [&good, &never, &gone, &bad]
        .map(|insight| Proxy {
            mesh: &mesh,
            insight,
        })
        .into();
    let errors = format!(r"error\nadding\u{{1b}}[2J {}…", "x".repeat(77));
    assert_eq!(
        dataplanes(&proxies, now()),
        format!(
            "\
MESH   NAME      STATUS            REPLICA       CERT EXPIRES   TOKEN EXPIRES   AUTHORITY      IN SYNC                 LAST ERROR
demo   backend   Online for 2h     cp-0          in 23h         in 29d          4813494d137e   yes                     -
demo   edge      Never connected   -             -              -               -              -                       -
demo   old       Offline for 4d    cp\\u{{202e}}1   10m ago        -               4813494d137e   yes                     -
demo   web       Online for 90s    cp-0          in 23h         in 29d          4813494d137e   no: listener, mesh_ca   listener 60s ago: {errors}
"
        )
    );
}

#[test]
fn spans_are_told_in_one_unit() {
    for (seconds, text) in [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
    ] {
        assert_eq!(span(ago(seconds), now()), text);
    }
    assert_eq!(span(now(), ago(5)), "0s", "a clock that is behind");
    assert_eq!(expiry(now(), now()), "0s ago");
}
