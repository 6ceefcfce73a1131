//! Dataplanes that prove themselves with the token of a service account.

use windlass::clock;

use super::site::{SYSTEM, add_account, beside};
use crate::support::kubernetes::Cluster;
use crate::support::sds::{Proxy, Secrets, Seen, fetch, fetch_with};
use crate::support::{Daemon, Site, wait};

const AUDIENCE: &str = "windlass";

/// A cluster with the accounts `web` in three namespaces, and a control plane beside it.
fn start(set: impl FnOnce(Site) -> Site) -> (Cluster, Site, Daemon) {
    let cluster = Cluster::take();
    for namespace in ["team", "other", SYSTEM] {
        add_account(&cluster, namespace, "web");
    }
    let site = set(beside(&cluster).set("WINDLASS_XDS_SERVICE_ACCOUNT_TOKENS_ENABLED", "true"));
    let daemon = site.start();
    (cluster, site, daemon)
}

fn refusal(fetched: Result<Secrets, String>) -> String {
    fetched.map(|_| ()).expect_err("it is refused")
}

fn assert_says(fetched: Result<Secrets, String>, wanted: &[&str]) {
    let said = refusal(fetched);
    for wanted in wanted {
        assert!(said.contains(wanted), "{said}: no {wanted:?}");
    }
}

#[test]
fn a_token_opens_the_dataplanes_of_its_namespace_and_no_others() {
    let (cluster, _site, daemon) = start(|site| site);
    let team = cluster.token("team", "web", AUDIENCE);
    let secrets = fetch_with(&daemon, "demo", "web", &team).unwrap();
    assert!(secrets.leaf.contains("BEGIN CERTIFICATE"));

    let refused = "Some requested entity was not found";
    let denied = "The caller does not have permission";
    for dataplane in ["far", "own"] {
        let fetched = fetch_with(&daemon, "demo", dataplane, &team);
        assert_says(
            fetched,
            &[
                denied,
                "service account team/web",
                "is not in namespace team",
            ],
        );
    }
    assert_says(fetch_with(&daemon, "demo", "none", &team), &[refused]);
    let system = cluster.token(SYSTEM, "web", AUDIENCE);
    fetch_with(&daemon, "demo", "own", &system).unwrap();
    assert_says(fetch_with(&daemon, "demo", "web", &system), &[denied]);

    // Dataplane tokens are as good as ever.
    fetch(&daemon, "demo", "far").unwrap();
}

#[test]
fn a_token_that_is_not_good_opens_nothing() {
    let (cluster, _site, daemon) = start(|site| site);
    let unauthenticated = "The request does not have valid authentication credentials";
    let say = |token: &str, words: &str| {
        let fetched = fetch_with(&daemon, "demo", "web", token);
        assert_says(fetched, &[unauthenticated, words]);
    };
    say(
        &cluster.token("team", "web", "another"),
        "audience windlass",
    );
    let hour_ago = u64::try_from(clock::now().unix_seconds() - 3600).unwrap();
    say(
        &cluster.short_token("team", "web", AUDIENCE, hour_ago),
        "expired at",
    );
    say("garbage", "not a JWT");
    let good = cluster.token("team", "web", AUDIENCE);
    let (body, _) = good.rsplit_once('.').unwrap();
    say(
        &format!("{body}.AAAA"),
        "the Kubernetes API does not know it",
    );
    fetch_with(&daemon, "demo", "web", &good).unwrap();
    assert!(!daemon.log().contains(body), "a token is in the log");
}

#[test]
fn what_the_api_server_said_counts_while_it_is_away() {
    let (cluster, _site, daemon) =
        start(|site| site.set("WINDLASS_XDS_SERVICE_ACCOUNT_TOKENS_CACHE_FOR", "1s"));
    let known = cluster.token("team", "web", AUDIENCE);
    let unknown = cluster.token("other", "web", AUDIENCE);
    fetch_with(&daemon, "demo", "web", &known).unwrap();
    cluster.kill9();
    fetch_with(&daemon, "demo", "web", &known).unwrap();
    let fetched = fetch_with(&daemon, "demo", "far", &unknown);
    assert_says(fetched, &["The service is currently unavailable"]);
    cluster.start();
    wait::until("the API server to be asked again", || {
        fetch_with(&daemon, "demo", "far", &unknown).map(drop)
    });
}

#[test]
fn a_stream_ends_with_its_token() {
    let (cluster, _site, daemon) = start(|site| site);
    let soon = u64::try_from(clock::now().unix_seconds() + 8).unwrap();
    let token = cluster.short_token("team", "web", AUDIENCE, soon);
    let proxy = Proxy::start_with(&daemon, "demo", "web", token, |_| Ok(()));
    wait::until("a leaf", || proxy.check(|seen| seen.leaves > 0));
    wait::until("the end", || {
        proxy.check(|seen| {
            seen.end
                .as_ref()
                .is_some_and(|end| end.contains("expired at"))
        })
    });
}

#[test]
fn a_stream_ends_when_its_service_account_is_deleted() {
    let (cluster, _site, daemon) =
        start(|site| site.set("WINDLASS_XDS_SERVICE_ACCOUNT_TOKENS_CACHE_FOR", "1s"));
    let token = cluster.token("team", "web", AUDIENCE);
    let proxy = Proxy::start_with(&daemon, "demo", "web", token, |_| Ok(()));
    wait::until("a leaf", || proxy.check(|seen| seen.leaves > 0));
    cluster.run(&["delete", "serviceaccount", "-n", "team", "web"]);
    wait::until("the end", || {
        let ended = |seen: &Seen| {
            seen.end
                .as_ref()
                .is_some_and(|end| end.contains("not accepted"))
        };
        let seen = proxy.check(ended);
        seen.map_err(|seen| format!("{seen}\n{}", daemon.log()))
    });
}
