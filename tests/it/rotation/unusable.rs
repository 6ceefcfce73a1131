//! A root whose stored key cannot be opened does not come to sign.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use super::stage::{Roots, mesh};
use crate::support::daemon::{authorities, condition, mesh as mesh_of};
use crate::support::{Daemon, Site};

/// Overwrites the key of every authority that does not sign.
fn spoil_staged_keys(site: &Site) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    let is_staged = "document LIKE '%\"staged\"%'";
    let spoiled = if let Some(cluster) = site.cluster() {
        let query = format!("UPDATE authority SET key = '\\x00' WHERE {is_staged}");
        let server = cluster.postgres();
        let server = server.lock().expect("the store");
        runtime.block_on(server.execute(&query))
    } else {
        let query = format!("UPDATE authority SET key = x'00' WHERE {is_staged}");
        runtime.block_on(execute_on_sqlite(site, query))
    };
    assert_eq!(spoiled, 2);
}

async fn execute_on_sqlite(site: &Site, query: String) -> u64 {
    let path = site.state_dir().join("windlass.db");
    let url = format!("sqlite://{}", path.display());
    let connection = SqliteConnection::connect(&url).await;
    let mut connection = connection.expect("the store");
    let done = sqlx::query(AssertSqlSafe(query)).execute(&mut connection);
    let done = done.await.expect("a write");
    connection.close().await.expect("an end");
    done.rows_affected()
}

fn commit(site: &Site, daemon: &Daemon, roots: &Roots, ca: &str, message: &str) -> Value {
    let document = mesh(ca, "{}");
    let commit = site.repo.commit(&roots.with(&document), message);
    let revision = format!("main@sha1:{commit}");
    daemon.wait_until(message, |status| {
        let source = &status["sources"][0];
        source["attemptedRevision"] == revision.as_str()
            && condition(source, "Reconciling").is_some_and(|it| it["status"] == "False")
    })
}

#[test]
pub(crate) fn a_root_whose_key_cannot_be_opened_does_not_come_to_sign() {
    let roots = Roots::new();
    let builtin = mesh("{builtin: {}}", "{}");
    let files = roots.with(&builtin);
    let files: Vec<_> = files
        .iter()
        .filter_map(|(name, text)| Some((*name, (*text)?)))
        .collect();
    let site = Site::from_files(&files);
    let daemon = site.start();
    let before = authorities(&daemon.status().expect("a status"), "demo", "active");
    daemon.terminate();
    spoil_staged_keys(&site);

    let daemon = site.start();
    let status = commit(
        &site,
        &daemon,
        &roots,
        "{provided: {name: root-2026}}",
        "another CA",
    );
    assert_eq!(authorities(&status, "demo", "active"), before, "{status:#}");
    let said = mesh_of(&status, "demo")["conditions"].to_string();
    assert!(
        said.contains("cannot sign") && said.contains("identityFile"),
        "{said}"
    );
    let status = commit(&site, &daemon, &roots, "{builtin: {}}", "taken back");
    let ready = condition(&status["sources"][0], "Ready").expect("a condition");
    assert_eq!(ready["status"], "True", "{status:#}");
    assert_eq!(authorities(&status, "demo", "active"), before);
}
