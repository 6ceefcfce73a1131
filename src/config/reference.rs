//! `docs/configuration.md`, written from the table of keys.

use std::fmt::Write as _;

use super::keys;

const INTRODUCTION: &str = "\
<!-- Written from src/config/keys.rs by `UPDATE_DOCS=1 cargo nextest run docs`. -->

# Configuration

`windlass run --config FILE` reads one YAML file. The environment goes over the
file and flags go over the environment. An unknown key, an unknown `WINDLASS_`
variable or a bad value stops the start with one line that names the place:

```
Error: invalid configuration: source.pollInterval: must be a duration such as `500ms`, `30s`, `5m`, `24h` or `1h30m` (windlass.yml:3)
```

A file with the most common settings:

```yaml
source:
  repo: https://git.example.com/mesh.git
  branch: main
  decryption:
    identityFile: /etc/windlass/identity.txt
xds:
  interface: 0.0.0.0
general:
  advertisedHostname: windlass.example.com
```

A relative path in the file starts at the file's own folder, one in a variable
or a flag at the working directory. A port of 0 takes any free one. Durations
are written like `500ms`, `30s`, `5m`, `24h`, `1h30m` or `30d`.

## Settings

";

/// The text of `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str("| key | variable | default | what it is |\n|---|---|---|---|\n");
    for key in keys::ALL {
        let kuma = key
            .kuma
            .map(|name| format!(", `{name}`"))
            .unwrap_or_default();
        let default = key
            .default
            .map(|value| format!("`{value}`"))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "| `{}` | `{}`{kuma} | {default} | {} |",
            key.path,
            key.variable(),
            key.about
        );
    }
    text.push_str(
        "\nWhere both names of a variable are set, the `WINDLASS_` one holds. Variables that Kubernetes \
         derives\nfrom a Service called `windlass…` are not taken for settings.\n\n## Other variables\n\n\
         | variable | what it is |\n|---|---|\n",
    );
    for (name, about) in keys::OTHER_VARIABLES {
        let _ = writeln!(text, "| `{name}` | {about} |");
    }
    text
}
