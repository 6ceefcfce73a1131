//! `docs/api.md` says what is true.

use super::control_plane::{ControlPlane, call};
use super::write::api;
use crate::support::Site;

const DOCUMENT: &str = include_str!("../../../docs/api.md");

#[test]
fn every_path_of_the_docs_is_there_with_its_method() {
    let cp = ControlPlane::start();
    let rows: Vec<_> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|row| {
            let (method, rest) = row.split_once(" | `")?;
            Some((method, rest.split_once("` | ")?.0))
        })
        .collect();
    assert!(rows.len() > 15, "{rows:?}");
    for (method, path) in rows {
        let path = path.replace("{mesh}", "default").replace("{name}", "none");
        // No body is a resource: nothing is written.
        let path = path.replace(
            "/meshes/default",
            if method == "GET" {
                "/meshes/default"
            } else {
                "/meshes/A"
            },
        );
        let answer = call(cp.api, method, &path, "", "");
        let nothing = answer.body.contains("There is nothing at");
        assert!(
            answer.status != 405 && !nothing,
            "{method} {path}: {answer:?}"
        );
    }
}

#[test]
fn the_examples_of_the_docs_work_in_their_order() {
    let site = Site::from_files(&[("other.yaml", "type: Mesh\nname: other\n")]);
    let daemon = site.start();
    let mut examples = 0;
    for line in DOCUMENT.lines().filter(|line| line.starts_with("curl ")) {
        let (command, status) = line.rsplit_once(" # ").unwrap();
        let command = command.strip_prefix("curl ").unwrap();
        let (method, rest) = command
            .strip_prefix("-X ")
            .map_or(("GET", command), |rest| rest.split_once(' ').unwrap());
        let (url, body) = rest.split_once(" -d ").unwrap_or((rest, "''"));
        let path = url.strip_prefix("http://127.0.0.1:5681").unwrap();
        let answer = call(api(&daemon), method, path, "", body.trim_matches('\''));
        assert_eq!(answer.status.to_string(), status, "{line}: {answer:?}");
        examples += 1;
    }
    assert!(examples > 5);
}
