//! The command line's own configuration, and the certificates that it makes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::Machine;

fn add<'a>(name: &'a str, address: &'a str) -> Vec<&'a str> {
    vec![
        "config",
        "control-planes",
        "add",
        "--name",
        name,
        "--address",
        address,
    ]
}

#[test]
fn control_planes_are_added_switched_and_removed() {
    let machine = Machine::new();
    let list = ["config", "control-planes", "list"];
    assert_eq!(machine.printed(&list), "CURRENT   NAME   ADDRESS\n");
    machine.printed(&add("one", "http://one.example:5681/"));
    machine.printed(&add("two", "http://two.example:5681"));
    assert_eq!(
        machine.printed(&list),
        "CURRENT   NAME   ADDRESS\n          one    http://one.example:5681\n\
         *         two    http://two.example:5681\n"
    );
    machine.printed(&["config", "control-planes", "switch", "--name=one"]);
    machine.printed(&["config", "control-planes", "remove", "--name=two"]);
    let view = machine.printed(&["config", "view"]);
    assert_eq!(
        view,
        "currentControlPlane: one\ncontrolPlanes:\n- name: one\n  address: http://one.example:5681\n"
    );
    let file = machine.path(".config/windlass/config.yaml");
    assert_eq!(fs::read_to_string(&file).unwrap(), view);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    machine.printed(&["config", "control-planes", "remove", "--name=one"]);
    assert!(
        machine
            .printed(&["config", "view"])
            .starts_with("currentControlPlane: null\n")
    );

    fs::write(&file, "controlPlanes: 1\n").unwrap();
    let words = machine.failure(&["status"]);
    assert!(
        words.contains("is no configuration of the command line"),
        "{words}"
    );
}

#[test]
fn commands_are_for_the_current_control_plane() {
    let machine = Machine::new();
    // Nobody listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    machine.printed(&add("here", &address));
    let words = machine.failure(&["status"]);
    assert!(
        words.contains(&format!("answers at {address}\n")),
        "{words}"
    );
}

#[test]
fn a_control_plane_that_cannot_be_kept_is_refused_with_the_reason() {
    let machine = Machine::new();
    machine.certificate("me", &["--type=client"]);
    machine.certificate("you", &["--type=client"]);
    machine.printed(&add("one", "http://one.example:5681"));
    let refused = |more: &[&str], expected: &str| {
        let words = machine.failure(&[&add("two", "http://two.example:5681"), more].concat());
        assert!(words.contains(expected), "{expected}: {words}");
    };
    refused(&["--admin-client-cert=me.pem"], "--admin-client-key");
    let cert = "--admin-client-cert=me.pem";
    refused(&[cert, "--admin-client-key=none"], "failed to read");
    refused(&[cert, "--admin-client-key=me.pem"], "holds no private key");
    refused(
        &[cert, "--admin-client-key=you.key"],
        "cannot be used together",
    );
    let words = machine.failure(&add("one", "http://two.example:5681"));
    assert!(
        words.contains("there is a control plane `one` already"),
        "{words}"
    );
    let words = machine.failure(&add("two", "https://two.example:5681"));
    assert!(
        words.contains("https is spoken by the admin server only"),
        "{words}"
    );
    let words = machine.failure(&["config", "control-planes", "switch", "--name=none"]);
    assert!(
        words.contains("there is no control plane `none`"),
        "{words}"
    );
    assert!(!machine.printed(&["config", "view"]).contains("two"));
}

#[test]
fn a_certificate_has_a_private_key_and_overwrites_nothing() {
    let machine = Machine::new();
    machine.certificate("me", &["--type=client"]);
    let mode = |name: &str| {
        fs::metadata(machine.path(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("me.key"), mode("me.pem")), (0o600, 0o644));
    let before = fs::read(machine.path("me.key")).unwrap();
    let generate = ["generate", "tls-certificate"];
    for (more, expected) in [
        (
            ["--cert-file=new.pem", "--key-file=me.key", "--type=client"],
            "`me.key` exists already",
        ),
        (
            ["--cert-file=me.pem", "--key-file=new.key", "--type=client"],
            "`me.pem` exists already",
        ),
        (
            ["--cert-file=a.pem", "--key-file=a.key", "--type=server"],
            "--cp-hostname",
        ),
    ] {
        let words = machine.failure(&[&generate[..], &more].concat());
        assert!(words.contains(expected), "{words}");
    }
    let server = ["--cert-file=a.pem", "--key-file=a.key", "--type=server"];
    let bad = [&generate[..], &server, &["--cp-hostname=http://cp"]].concat();
    assert!(machine.failure(&bad).contains("must be a host name"));
    for name in ["new.pem", "new.key", "a.pem", "a.key"] {
        assert!(!machine.path(name).exists(), "{name}");
    }
    assert_eq!(fs::read(machine.path("me.key")).unwrap(), before);
}
