//! The configuration as a user writes it: file, variables, flags.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use windlass::ca::LeafKey;
use windlass::config::{Config, Overrides, StoreConfig, load, reference};

use crate::cli::assert_document;

mod admin;
mod postgres;

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let home = [("HOME", "/home/user")];
    home.iter()
        .chain(variables)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Loads a file of that text with those variables.
fn loaded(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("windlass.yml");
    std::fs::write(&path, text).unwrap();
    load(Some(&path), &environment(variables), &Overrides::default()).map_err(|error| {
        let prefix = format!("{}/", folder.path().display());
        error.to_string().replace(&prefix, "")
    })
}

fn problem(text: &str, variables: &[(&str, &str)]) -> String {
    loaded(text, variables).expect_err("the configuration is bad")
}

#[test]
fn without_a_file_everything_is_the_default() {
    let config = load(None, &environment(&[]), &Overrides::default()).unwrap();
    assert_eq!(config.source, None);
    assert_eq!(
        config.state_dir,
        Path::new("/home/user/.local/state/windlass")
    );
    assert_eq!(
        config.store,
        StoreConfig::Sqlite {
            path: "/home/user/.local/state/windlass/windlass.db".into()
        }
    );
    let addresses = [
        config.api,
        config.admin_local,
        config.xds,
        config.diagnostics,
    ];
    assert_eq!(
        addresses.map(|address| address.to_string()),
        [
            "127.0.0.1:5681",
            "127.0.0.1:5679",
            "127.0.0.1:5678",
            "127.0.0.1:5680"
        ]
    );
    assert_eq!(config.ca.leaf_lifetime, Duration::from_hours(24));
    assert_eq!(config.ca.reissue_rate.get(), 200);
    assert_eq!(config.ca.leaf_key, LeafKey::EcP256);
}

#[test]
fn the_environment_goes_over_the_file_and_flags_over_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("windlass.yml");
    std::fs::write(
        &path,
        "source:\n  repo: https://file.example/r.git\n  branch: '1.10'\n  pollInterval: 1m30s\nxds: {port: 0}\n",
    )
    .unwrap();
    let variables = environment(&[
        ("WINDLASS_SOURCE_REPO", "https://env.example/r.git"),
        ("WINDLASS_SOURCE_POLL_INTERVAL", "5s"),
        ("WINDLASS_STATE_DIR", "/from/env"),
    ]);
    let flags = Overrides {
        state_dir: Some("/from/flag".into()),
        settings: BTreeMap::from([("source.repo".to_owned(), "/flag/repo".to_owned())]),
    };
    let config = load(Some(&path), &variables, &flags).unwrap();
    let source = config.source.unwrap();
    assert_eq!(source.repo, "/flag/repo");
    assert_eq!(source.poll_interval, Duration::from_secs(5));
    assert_eq!(source.branch.as_deref(), Some("1.10"));
    assert_eq!(config.state_dir, Path::new("/from/flag"));
    assert_eq!(config.xds.port(), 0);
}

#[test]
fn a_number_like_text_stays_as_it_was_written() {
    let config = loaded("source: {repo: /r, branch: 1.10}", &[]).unwrap();
    assert_eq!(config.source.unwrap().branch.as_deref(), Some("1.10"));
}

#[test]
fn relative_paths_of_the_file_start_at_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("windlass.yml");
    let text = "source: {repo: ../mesh, decryption: {identityFile: key.txt}}\nstore: {sqlite: {path: data.db}}\n";
    std::fs::write(&path, text).unwrap();
    let config = load(Some(&path), &environment(&[]), &Overrides::default()).unwrap();
    let source = config.source.unwrap();
    assert_eq!(Path::new(&source.repo), folder.path().join("../mesh"));
    assert_eq!(
        source.decryption_identity,
        Some(folder.path().join("key.txt"))
    );
    let path = folder.path().join("data.db");
    assert_eq!(config.store, StoreConfig::Sqlite { path });
    for url in ["ssh://git@h/r.git", "git@h:r.git", "file:///r"] {
        let config = loaded(&format!("source: {{repo: '{url}'}}"), &[]).unwrap();
        assert_eq!(config.source.unwrap().repo, url);
    }
}

#[test]
fn the_reference_names_its_variable_and_ours_wins() {
    let kuma = ("KUMA_GENERAL_ADVERTISED_HOSTNAME", "kuma.example");
    let config = loaded("", &[kuma]).unwrap();
    assert_eq!(config.advertised_hostname.as_deref(), Some("kuma.example"));
    let ours = ("WINDLASS_GENERAL_ADVERTISED_HOSTNAME", "ours.example");
    let config = loaded("", &[ours, kuma]).unwrap();
    assert_eq!(config.advertised_hostname.as_deref(), Some("ours.example"));
}

#[test]
fn unknown_keys_and_variables_are_refused_with_a_suggestion() {
    assert_eq!(
        problem("store:\n  typ: sqlite\n", &[]),
        "invalid configuration: store.typ: unknown key; did you mean `store.type`? (windlass.yml:2)"
    );
    assert_eq!(
        problem("stor: {}\n", &[]),
        "invalid configuration: stor: unknown key; did you mean `store`? (windlass.yml:1)"
    );
    assert_eq!(
        problem("", &[("WINDLASS_SOURCE_REPOS", "/r")]),
        "invalid configuration: WINDLASS_SOURCE_REPOS: unknown variable; did you mean `WINDLASS_SOURCE_REPO`? (environment)"
    );
    assert!(problem("zebra: 1\n", &[]).contains("zebra: unknown key; docs/configuration.md"));
}

#[test]
fn a_bad_value_names_its_key_and_its_place() {
    for (text, expected) in [
        (
            "\nsource:\n  pollInterval: soon\n",
            "source.pollInterval: must be a duration such as `500ms`, `30s`, `5m`, `24h` or `1h30m` (windlass.yml:3)",
        ),
        (
            "source: {pollInterval: 1ms}",
            "source.pollInterval: must be from 1s to 1d (windlass.yml:1)",
        ),
        (
            "source: {path: ../up}",
            "source.path: must be a path inside the repository (windlass.yml:1)",
        ),
        (
            "source: {repo: ''}",
            "source.repo: must not be empty; leave it out instead (windlass.yml:1)",
        ),
        (
            "api: {port: 70000}",
            "api.port: must be a port from 0 to 65535 (windlass.yml:1)",
        ),
        (
            "api: {interface: localhost}",
            "api.interface: must be an IP address, such as 127.0.0.1 or 0.0.0.0 (windlass.yml:1)",
        ),
        (
            "api: {port: 5679}",
            "api.port: 5679 is taken by admin.local.port (windlass.yml:1)",
        ),
        (
            "ca: {leafLifetime: 1s}",
            "ca.leafLifetime: must be from 2s to 3650d (windlass.yml:1)",
        ),
        (
            "ca: {reissueRate: 0}",
            "ca.reissueRate: must be a number from 1 to 100000 (windlass.yml:1)",
        ),
        (
            "ca: {leafKey: p521}",
            "ca.leafKey: must be `ecP256` or `rsa2048` (windlass.yml:1)",
        ),
        (
            "general: {advertisedHostname: 'http://h'}",
            "general.advertisedHostname: must be a host name or an IP address, without scheme and port (windlass.yml:1)",
        ),
        (
            "general: {instanceId: \"cp\\e[2J\"}",
            "general.instanceId: must be a name of at most 253 bytes (windlass.yml:1)",
        ),
    ] {
        assert_eq!(
            problem(text, &[]),
            format!("invalid configuration: {expected}")
        );
    }
    assert_eq!(
        problem("", &[("WINDLASS_XDS_PORT", "x")]),
        "invalid configuration: xds.port: must be a port from 0 to 65535 (WINDLASS_XDS_PORT)"
    );
}

#[test]
fn a_file_that_is_no_configuration_is_one_line_with_its_place() {
    for text in [
        "source: [",
        "- a\n- b\n",
        "source: text\n",
        "api:\n  port: [1]\n",
        "api: {port: 1}\napi: {port: 2}\n",
        "a: &a [*a, *a]\n",
        "just text",
        "\u{0}",
    ] {
        let problem = problem(text, &[]);
        assert!(problem.starts_with("invalid configuration: "), "{problem}");
        assert!(problem.contains("(windlass.yml"), "{problem}");
        assert!(!problem.contains('\n'), "{problem}");
    }
    let missing = load(
        Some(Path::new("/no/such.yml")),
        &environment(&[]),
        &Overrides::default(),
    );
    let missing = missing.expect_err("there is no file").to_string();
    assert_eq!(missing, "failed to read the configuration `/no/such.yml`");
}

#[test]
fn empty_files_sections_and_values_set_nothing() {
    for text in [
        "",
        "# only a comment\n",
        "---\n",
        "source:\n",
        "source:\n  repo:\n",
    ] {
        let config = loaded(text, &[]);
        assert_eq!(config.map(|config| config.source), Ok(None), "{text:?}");
    }
}

#[test]
fn service_links_of_kubernetes_are_no_settings() {
    let links = [
        ("WINDLASS_SERVICE_HOST", "10.0.0.1"),
        ("WINDLASS_SERVICE_PORT_XDS", "5678"),
        ("WINDLASS_PORT", "tcp://10.0.0.1:5678"),
        ("WINDLASS_API_PORT", "tcp://10.0.0.1:5681"),
        ("WINDLASS_PORT_5678_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(loaded("", &links).unwrap().api.port(), 5681);
}

#[test]
fn the_state_folder_follows_xdg() {
    let with = |variables: &[(&str, &str)]| {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        load(None, &variables, &Overrides::default()).map(|config| config.state_dir)
    };
    let xdg = with(&[("XDG_STATE_HOME", "/state"), ("HOME", "/h")]).unwrap();
    assert_eq!(xdg, Path::new("/state/windlass"));
    let relative = with(&[("XDG_STATE_HOME", "state"), ("HOME", "/h")]).unwrap();
    assert_eq!(relative, Path::new("/h/.local/state/windlass"));
    assert!(with(&[]).unwrap_err().to_string().contains("--state-dir"));
}

#[test]
fn a_password_in_the_repository_url_does_not_print() {
    let config = loaded(
        "source: {repo: 'https://me:hunter2@git.example/r.git'}",
        &[],
    )
    .unwrap();
    let printed = format!("{config:?}");
    assert!(printed.contains("https://git.example/r.git"), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn docs_configuration_is_written_from_the_table() {
    assert_document("docs/configuration.md", &reference());
}
