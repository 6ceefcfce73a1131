//! Names: of meshes, resources, services, sources and dataplanes.
//!
//! Every name is parsed once, at the edge; code that holds one need not check
//! it again.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest mesh name, an RFC 1123 label's 63 characters.
pub const MAX_MESH_NAME: usize = 63;
/// The longest resource name, an RFC 1123 subdomain's 253 characters.
pub const MAX_RESOURCE_NAME: usize = 253;
/// The longest service name: what keeps a SPIFFE ID below 2048 bytes with room to spare.
pub const MAX_SERVICE_NAME: usize = 253;

/// A name that does not fit its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidName {
    what: &'static str,
    problem: String,
}

impl InvalidName {
    /// What is wrong with the name, without the word for what it names.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Borrows the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> Result<(), String> = $check;
                match check(text) {
                    Ok(()) => Ok(Self(Arc::from(text))),
                    Err(problem) => Err(InvalidName { what: $what, problem }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(
    /// The name of a mesh: lower-case letters, digits, `-` and `_`, at most 63.
    ///
    /// It is the SPIFFE trust domain (SPIFFE-ID 2.1) and the part of an Envoy
    /// node id before the first dot, so it holds no dot itself.
    MeshName, "mesh name", |text| dns_like(text, MAX_MESH_NAME, "")
);

name_type!(
    /// The name of a resource inside its mesh: lower-case letters, digits,
    /// `-`, `_` and `.`, at most 253.
    ResourceName, "resource name", |text| dns_like(text, MAX_RESOURCE_NAME, ".")
);

name_type!(
    /// The name of a service: the value of a `service` tag.
    ///
    /// It is the path of a SPIFFE ID, so it is one path segment (SPIFFE-ID
    /// 2.2): letters, digits, `.`, `-` and `_`.
    ServiceName, "service name", service
);

name_type!(
    /// The name of a source of desired state.
    SourceName, "source name", |text| dns_like(text, MAX_MESH_NAME, "")
);

fn dns_like(text: &str, longest: usize, extra: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("must be non-empty".to_owned());
    }
    if text.len() > longest {
        return Err(format!("must have at most {longest} characters"));
    }
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let allowed = |c: char| alphanumeric(c) || c == '-' || c == '_' || extra.contains(c);
    if !text.chars().all(allowed) {
        let dot = if extra.is_empty() { "" } else { ", '.'" };
        return Err(format!(
            "must consist of lower case letters, digits, '-', '_'{dot}"
        ));
    }
    if !text.starts_with(alphanumeric) || !text.ends_with(alphanumeric) {
        return Err("must start and end with a letter or a digit".to_owned());
    }
    Ok(())
}

fn service(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("must be non-empty".to_owned());
    }
    if text.len() > MAX_SERVICE_NAME {
        return Err(format!("must have at most {MAX_SERVICE_NAME} characters"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !text.chars().all(allowed) {
        return Err(
            "must consist of letters, digits, '-', '_', '.', since it is the path of a SPIFFE ID"
                .to_owned(),
        );
    }
    if text == "." || text == ".." {
        return Err("must not be a relative path segment".to_owned());
    }
    Ok(())
}

impl MeshName {
    /// The mesh's name as the name of its own Mesh resource.
    #[must_use]
    pub fn to_resource_name(&self) -> ResourceName {
        ResourceName(self.0.clone())
    }
}

impl SourceName {
    /// Stands in for the source where calls of the API say what is desired.
    #[must_use]
    pub fn api() -> Self {
        Self(Arc::from("api"))
    }
}

/// A dataplane of a mesh. Its `Display` form is `<mesh>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DataplaneId {
    /// The mesh that the dataplane belongs to.
    pub mesh: MeshName,
    /// The dataplane's name inside the mesh.
    pub name: ResourceName,
}

impl DataplaneId {
    /// Parses an Envoy node id, `<mesh>.<dataplane>`.
    ///
    /// A mesh name holds no dot, so the first one separates.
    ///
    /// # Errors
    ///
    /// Fails when there is no dot or one of the two names is not valid.
    pub fn from_node_id(node_id: &str) -> Result<Self, InvalidName> {
        let (mesh, name) = node_id.split_once('.').ok_or_else(|| InvalidName {
            what: "node id",
            problem: "must have the form `<mesh>.<dataplane>`".to_owned(),
        })?;
        Ok(Self {
            mesh: mesh.parse()?,
            name: name.parse()?,
        })
    }

    /// The Envoy node id of this dataplane, `<mesh>.<dataplane>`.
    #[must_use]
    pub fn node_id(&self) -> String {
        format!("{}.{}", self.mesh, self.name)
    }
}

impl fmt::Display for DataplaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mesh, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn node_ids_round_trip(mesh in "[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", name in "[a-z0-9]([a-z0-9._-]{0,80}[a-z0-9])?") {
            let id = DataplaneId { mesh: mesh.parse().unwrap(), name: name.parse().unwrap() };
            prop_assert_eq!(DataplaneId::from_node_id(&id.node_id()).unwrap(), id);
        }

        #[test]
        fn names_round_trip_through_json(name in "[a-z0-9]([a-z0-9._-]{0,80}[a-z0-9])?") {
            let parsed: ResourceName = name.parse().unwrap();
            let json = serde_json::to_string(&parsed).unwrap();
            prop_assert_eq!(serde_json::from_str::<ResourceName>(&json).unwrap(), parsed);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<MeshName>();
            let _ = text.parse::<ServiceName>();
            let _ = DataplaneId::from_node_id(&text);
        }
    }

    #[test]
    fn a_mesh_name_holds_no_dot_and_no_upper_case() {
        assert!("demo".parse::<MeshName>().is_ok());
        for bad in ["", "a.b", "Demo", "-a", "a-", "a b", &"x".repeat(64)] {
            assert!(bad.parse::<MeshName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_service_name_is_one_spiffe_path_segment() {
        assert!("Backend_v1.svc".parse::<ServiceName>().is_ok());
        for bad in ["", ".", "..", "a/b", "a%20b", "ü"] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
    }
}
