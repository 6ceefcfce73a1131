//! Garbage in, end to end: what is committed beside a good state is refused
//! with its place, the good state keeps being served, and the next good commit
//! is applied.

mod branches;
mod commit;
mod files;
mod size;

use serde_json::{Value, json};

use self::commit::Put;
use crate::support::daemon::{authorities, condition};
use crate::support::{Daemon, Site, http, sds};

const MESH: &str = "type: Mesh\nname: demo\nmtls: {enabled: true}\n";
const DATAPLANE: &str = "type: Dataplane\nmesh: demo\nname: dp\nnetworking:\n  \
     address: 127.0.0.1\n  inbound: [{port: 8080, tags: {service: web}}]\n";
/// A mesh that comes in one commit with the garbage.
const STOWAWAY: &str = "type: Mesh\nname: stowaway\n";

fn permission(service: &str) -> String {
    format!(
        "type: TrafficPermission\nmesh: demo\nname: allow\n\
         sources: [{{match: {{service: web}}}}]\n\
         destinations: [{{match: {{service: {service}}}}}]\n"
    )
}

/// A daemon that has applied a good state, beside which garbage is put.
struct Yard {
    site: Site,
    daemon: Daemon,
    roots: Vec<String>,
    mends: std::cell::Cell<usize>,
}

impl Yard {
    fn open() -> Self {
        Self::on(Site::from_files(&[
            ("demo/mesh.yaml", MESH),
            ("demo/dp.yaml", DATAPLANE),
            ("demo/allow.yaml", &permission("first")),
        ]))
    }

    fn on(site: Site) -> Self {
        let daemon = site.start();
        let roots = authorities(&daemon.status().unwrap(), "demo", "active");
        assert_eq!(roots.len(), 1);
        let yard = Self {
            site,
            daemon,
            roots,
            mends: std::cell::Cell::new(0),
        };
        yard.assert_served("before any garbage");
        yard
    }

    /// Commits garbage, together with a good change.
    fn throw(&self, garbage: &[(&str, Put<'_>)]) -> String {
        let stowaway = ("stowaway.yaml", Put::File(STOWAWAY.as_bytes()));
        let changed = permission("never");
        let change = ("demo/allow.yaml", Put::File(changed.as_bytes()));
        let puts: Vec<_> = garbage.iter().copied().chain([stowaway, change]).collect();
        let id = commit::on_branch(self.site.repo.path(), &puts);
        self.sync();
        id
    }

    fn sync(&self) {
        http::post(&self.daemon.listeners().api, "/sync", &json!({}))
            .and_then(http::Answer::ok)
            .unwrap();
    }

    /// Waits until the commit is held back, and returns what is wrong with it.
    fn held_back(&self, commit: &str) -> Vec<Value> {
        let status = self
            .daemon
            .wait_until("the commit to be held back", |status| {
                let source = &status["sources"][0];
                source["attemptedRevision"] == json!(format!("main@sha1:{commit}"))
                    && condition(source, "Stalled").is_some_and(|found| found["status"] == "True")
                    && condition(source, "Reconciling")
                        .is_some_and(|found| found["status"] == "False")
            });
        let source = &status["sources"][0];
        assert_ne!(source["appliedRevision"], source["attemptedRevision"]);
        source["diagnostics"].as_array().unwrap().clone()
    }

    fn meshes(&self) -> Vec<String> {
        let answer = http::get(&self.daemon.listeners().api, "/meshes").and_then(http::Answer::ok);
        let list = answer.unwrap().json();
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What the permission of the good state allows to call.
    fn allowed(&self) -> String {
        let path = "/meshes/demo/traffic-permissions/allow";
        let answer = http::get(&self.daemon.listeners().api, path).and_then(http::Answer::ok);
        let permission = answer.unwrap().json();
        let service = &permission["destinations"][0]["match"]["service"];
        service.as_str().unwrap().to_owned()
    }

    /// Checks that the good state is served, to proxies too.
    fn assert_served(&self, what: &str) {
        let status = self.daemon.status().unwrap();
        assert_eq!(authorities(&status, "demo", "active"), self.roots, "{what}");
        assert_ne!(
            self.allowed(),
            "never",
            "{what}: a mesh with errors was applied"
        );
        let secrets = sds::fetch(&self.daemon, "demo", "dp").unwrap();
        assert!(secrets.leaf.contains("CERTIFICATE"), "{what}");
        assert!(secrets.bundle.contains("CERTIFICATE"), "{what}");
    }

    /// Commits the working tree, which knows nothing of the garbage, with a
    /// change, and waits until it is applied.
    fn mend(&self, what: &str) {
        self.mends.set(self.mends.get() + 1);
        let service = format!("mended-{}", self.mends.get());
        let text = permission(&service);
        let id = self
            .site
            .repo
            .commit(&[("demo/allow.yaml", Some(&text))], "mend");
        self.sync();
        self.daemon.wait_until_applied(&id);
        assert_eq!(self.allowed(), service, "{what}");
        assert_eq!(self.meshes(), ["demo"], "{what}");
        self.assert_served(what);
    }

    /// The most memory that the daemon ever had, in MiB.
    fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.daemon.pid());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse::<u64>().unwrap() / 1024
    }
}

/// `file:line code` of every diagnostic.
fn places(diagnostics: &[Value]) -> Vec<String> {
    let place = |found: &Value| {
        let (file, code) = (
            found["file"].as_str().unwrap(),
            found["code"].as_str().unwrap(),
        );
        format!("{file}:{} {code}", found["line"])
    };
    diagnostics.iter().map(place).collect()
}
