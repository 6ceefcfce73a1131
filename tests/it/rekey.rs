//! The identity of the store is changed while the control plane runs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::daemon::windlass;
use crate::support::{Cluster, Site, sds, wait};

/// Makes an identity with age's own tool and returns its line.
fn age_keygen() -> String {
    let output = Command::new("age-keygen").output().expect("age-keygen");
    let text = String::from_utf8(output.stdout).expect("text");
    let line = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY"));
    line.expect("an identity").to_owned()
}

fn keep(path: &Path, lines: &[&str]) {
    let next = path.with_extension("next");
    fs::write(&next, lines.join("\n")).expect("a file");
    fs::set_permissions(&next, Permissions::from_mode(0o600)).expect("a private file");
    fs::rename(&next, path).expect("a file in place");
}

/// `windlass rekey store`: what it printed, or why it refused.
fn rekey(site: &Site) -> Result<String, String> {
    let mut command = windlass();
    command
        .args(["rekey", "store", "--config"])
        .arg(site.config());
    command.arg("--state-dir").arg(site.state_dir());
    command.envs(site.settings().iter().cloned());
    let output = command.output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(!format!("{out}{err}").contains("SECRET-KEY"), "{out}{err}");
    if output.status.success() {
        Ok(out)
    } else {
        assert_eq!(output.status.code(), Some(1), "{err}");
        Err(err)
    }
}

#[test]
fn the_identity_of_the_store_changes_while_the_daemon_runs() {
    let site = Site::from_examples();
    let daemon = site.start();
    let path = site.state_dir().join("store-identity.txt");
    let text = fs::read_to_string(&path).expect("the identity");
    let old = text
        .lines()
        .find(|line| line.starts_with("AGE-"))
        .expect("a line");
    let new = age_keygen();

    keep(&path, &[&new, old]);
    let done = wait::until("everything to be sealed anew", || rekey(&site));
    assert!(done.ends_with(" sealed anew, 0 were already\n"), "{done}");
    assert!(!done.starts_with("0 "), "{done}");
    let again = rekey(&site).expect("it is done");
    assert!(
        again.starts_with("0 keys and secrets sealed anew"),
        "{again}"
    );
    let token = daemon.token("dp-echo-1", "default");
    assert!(!token.is_empty());

    // Without the old one a new daemon opens all of it, and serves as before.
    keep(&path, &[&new]);
    let before = daemon.status().expect("a status");
    daemon.kill9();
    let daemon = site.start();
    let after = daemon.wait_until("the same meshes", |status| {
        status["meshes"][0]["authorities"] == before["meshes"][0]["authorities"]
    });
    assert_eq!(
        after["meshes"].as_array().map(Vec::len),
        before["meshes"].as_array().map(Vec::len)
    );
    assert!(
        !daemon.log().contains("no new certificates"),
        "{}",
        daemon.log()
    );

    // The old one alone opens nothing.
    assert!(daemon.terminate().success());
    keep(&path, &[old]);
    let refused = rekey(&site).expect_err("it opens nothing");
    assert!(refused.contains("sealed to another identity"), "{refused}");
    assert!(refused.contains("hint: "), "{refused}");
}

#[test]
fn the_identity_of_a_shared_store_changes_while_two_replicas_serve() {
    let site = Site::from_examples().on(Some(Cluster::of(2)));
    let mut daemon = site.start();
    let setting = "WINDLASS_STORE_ENCRYPTION_IDENTITY_FILE";
    let path = site.settings().iter().find(|(name, _)| name == setting);
    let path = Path::new(&path.expect("a shared identity").1).to_owned();
    let text = fs::read_to_string(&path).expect("the identity");
    let old = text.lines().find(|line| line.starts_with("AGE-"));
    let old = old.expect("a line").to_owned();
    let new = age_keygen();

    // A replica that does not know of it is named, and nothing is done.
    let elsewhere = path.with_file_name("elsewhere.txt");
    keep(&elsewhere, &[&new, &old]);
    let refused = {
        let mut command = windlass();
        command
            .args(["rekey", "store", "--config"])
            .arg(site.config());
        command.arg("--state-dir").arg(site.state_dir());
        command.envs(site.settings().iter().cloned());
        command.env(setting, &elsewhere);
        command.output().expect("the program runs")
    };
    let refused = String::from_utf8(refused.stderr).expect("text");
    for replica in ["cp-replica-0", "cp-replica-1"] {
        assert!(refused.contains(replica), "{refused}");
    }

    keep(&path, &[&new, &old]);
    let done = wait::until("both replicas to seal to the new one", || rekey(&site));
    assert!(done.ends_with(" sealed anew, 0 were already\n"), "{done}");
    keep(&path, &[&new]);
    // Both serve, and one that starts anew opens all of it.
    for number in 0..2 {
        sds::fetch(&daemon, "default", "dp-echo-1").expect("a certificate");
        daemon.kill_replica(number);
        daemon.restart_replica(&site, number);
    }
    wait::until("a certificate of a new replica", || {
        sds::fetch(&daemon, "default", "dp-echo-1").map(drop)
    });
    assert!(
        !daemon.log().contains("no new certificates"),
        "{}",
        daemon.log()
    );
}
