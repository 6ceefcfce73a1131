//! One document: which form it has, which resource it is, and its own fields.

use std::sync::Arc;

use super::node::{Node, Position, Value};
use super::reader::{At, Fields, Reader, Violation};
use super::yaml::Document;
use super::{codes, dataplane, mesh, permission, provided_ca};
use crate::model::{
    Dataplane, DesiredResource, Diagnostic, Kind, Location, Mesh, MeshName, Mtls, Networking,
    ProvidedCa, Resource, ResourceKey, ResourceName, Selector, TrafficPermission,
};

pub(super) const API_VERSION: &str = "kuma.io/v1alpha1";

/// A resource of a file whose mesh and name could be read.
#[derive(Debug, Clone)]
pub(super) struct ParsedResource {
    pub(super) key: ResourceKey,
    pub(super) location: Location,
    /// The resource, as far as it could be read.
    pub(super) desired: Option<Arc<DesiredResource>>,
    /// The place of every field, by its path.
    pub(super) places: Box<[(Box<str>, Position)]>,
}

/// The two forms that a resource can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Universal,
    Kubernetes,
}

/// What says which resource a document is.
struct Header {
    mesh: Option<MeshName>,
    name: Option<ResourceName>,
    namespace: Option<ResourceName>,
}

/// Reads one document. Nothing comes of one that is empty.
pub(super) fn read(
    document: &Document<'_>,
    file: &Arc<str>,
) -> (Option<ParsedResource>, Vec<Diagnostic>) {
    let mut reader = Reader::default();
    let mut mesh = None;
    let resource = match &document.root.value {
        Value::Map(_) => resource(&mut reader, &document.root, file, &mut mesh),
        Value::Null | Value::Unknown => None,
        other => {
            let message = format!("a document must be a map, found {}", other.kind());
            reader.violation(codes::WRONG_TYPE, "", document.root.position, message);
            None
        }
    };
    let resource = resource.filter(|_| !document.ambiguous);
    let mesh = mesh.filter(|_| !document.ambiguous);
    let problems = document.problems.iter().map(|problem| Violation {
        code: problem.code,
        field: ".".to_owned(),
        position: problem.position,
        message: problem.message.clone(),
        hint: problem.hint.clone(),
    });
    let violations = reader.violations.into_iter().chain(problems);
    let diagnostics = violations.map(|violation| {
        let mut diagnostic = diagnostic(violation, file);
        diagnostic.mesh.clone_from(&mesh);
        diagnostic.resource = resource.as_ref().map(|resource| resource.key.clone());
        diagnostic
    });
    let diagnostics = diagnostics.collect();
    (resource, diagnostics)
}

/// A violation as a diagnostic about the commit as a whole.
pub(super) fn diagnostic(violation: Violation, file: &Arc<str>) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(violation.code, violation.message)
        .on_field(violation.field)
        .at(&location(file, violation.position));
    diagnostic.hint = violation.hint;
    diagnostic
}

pub(super) fn location(file: &Arc<str>, position: Position) -> Location {
    Location {
        file: file.clone(),
        line: position.line,
        column: position.column,
    }
}

fn resource(
    reader: &mut Reader,
    root: &Node<'_>,
    file: &Arc<str>,
    mesh: &mut Option<MeshName>,
) -> Option<ParsedResource> {
    let at = At {
        node: root,
        position: root.position,
        field: String::new(),
    };
    let Some((form, kind)) = form_and_kind(reader, &at) else {
        // What it is stays unknown, but not whom it concerns.
        *mesh = text_of(root, "mesh").and_then(|mesh| mesh.parse().ok());
        return None;
    };
    let own = own_fields(kind);
    let (header, fields) = match form {
        Form::Universal => universal(reader, &at, kind, own)?,
        Form::Kubernetes => kubernetes(reader, &at, kind, own)?,
    };
    mesh.clone_from(&header.mesh);
    let own = Own::read(reader, kind, &fields);
    let key = ResourceKey {
        mesh: header.mesh?,
        kind,
        name: header.name?,
    };
    let resource = own.map(|own| own.named(&key, header.namespace));
    let location = location(file, root.position);
    Some(ParsedResource {
        desired: resource.map(|resource| {
            Arc::new(DesiredResource {
                digest: resource.digest(),
                resource,
                location: location.clone(),
            })
        }),
        key,
        location,
        places: std::mem::take(&mut reader.places).into_boxed_slice(),
    })
}

/// The own fields of a resource, whose names may be wrong.
enum Own {
    Mesh(Mtls),
    ProvidedCa(provided_ca::Pair),
    TrafficPermission(Vec<Selector>, Vec<Selector>),
    Dataplane(Networking),
}

impl Own {
    fn read(reader: &mut Reader, kind: Kind, fields: &Fields<'_, '_>) -> Option<Self> {
        Some(match kind {
            Kind::Mesh => Self::Mesh(mesh::read(reader, fields)),
            Kind::ProvidedCa => Self::ProvidedCa(provided_ca::read(reader, fields)),
            Kind::TrafficPermission => {
                let (sources, destinations) = permission::read(reader, fields)?;
                Self::TrafficPermission(sources, destinations)
            }
            Kind::Dataplane => Self::Dataplane(dataplane::read(reader, fields)?),
        })
    }

    fn named(self, key: &ResourceKey, namespace: Option<ResourceName>) -> Resource {
        let (mesh, name) = (key.mesh.clone(), key.name.clone());
        match self {
            Self::Mesh(mtls) => Resource::Mesh(Mesh { name: mesh, mtls }),
            Self::ProvidedCa(pair) => Resource::ProvidedCa(ProvidedCa {
                mesh,
                name,
                cert: pair.cert,
                key: pair.key,
            }),
            Self::TrafficPermission(sources, destinations) => {
                Resource::TrafficPermission(TrafficPermission {
                    mesh,
                    name,
                    namespace,
                    sources,
                    destinations,
                })
            }
            Self::Dataplane(networking) => Resource::Dataplane(Dataplane {
                mesh,
                name,
                namespace,
                networking,
            }),
        }
    }
}

fn own_fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Mesh => mesh::FIELDS,
        Kind::ProvidedCa => provided_ca::FIELDS,
        Kind::TrafficPermission => permission::FIELDS,
        Kind::Dataplane => dataplane::FIELDS,
    }
}

fn entry<'n, 'a>(root: &'n Node<'a>, name: &str) -> Option<At<'n, 'a>> {
    let Value::Map(entries) = &root.value else {
        return None;
    };
    let entry = entries.iter().find(|entry| entry.key == name)?;
    Some(At {
        node: &entry.value,
        position: entry.place(),
        field: name.to_owned(),
    })
}

pub(super) fn text_of<'n>(root: &'n Node<'_>, name: &str) -> Option<&'n str> {
    match &entry(root, name)?.node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Reads `type`, or `apiVersion` and `kind`.
fn form_and_kind(reader: &mut Reader, root: &At<'_, '_>) -> Option<(Form, Kind)> {
    let universal = entry(root.node, "type");
    let kubernetes = entry(root.node, "kind");
    let version = entry(root.node, "apiVersion");
    let (form, at) = match (universal, kubernetes, &version) {
        (Some(at), None, None) => (Form::Universal, at),
        (None, Some(at), _) => (Form::Kubernetes, at),
        (Some(at), _, _) => {
            let message = "a resource has either `type` or `apiVersion` and `kind`, not both";
            reader.violation_at(codes::KIND, &at, message);
            return None;
        }
        (None, None, at) => {
            let (field, position) = match at {
                Some(at) => ("kind", at.position),
                None => ("type", root.position),
            };
            reader
                .violation(codes::KIND, field, position, "must be set")
                .hint = Some(
                "a resource has `type`, or `apiVersion: kuma.io/v1alpha1` and `kind`".to_owned(),
            );
            return None;
        }
    };
    if form == Form::Kubernetes {
        api_version(reader, root, version.as_ref());
    }
    let text = reader.text(&at)?;
    if let Ok(kind) = text.parse() {
        return Some((form, kind));
    }
    let words = Kind::ALL.map(Kind::as_str);
    let message = format!(
        "{} is unknown, must be one of {}",
        super::quote(text),
        words.join(", ")
    );
    reader.violation_at(codes::KIND, &at, message).hint = if text == "List" {
        Some("write each item as a document of its own, with `---` between them".to_owned())
    } else {
        super::nearest(text, &words).map(|near| format!("did you mean `{near}`?"))
    };
    None
}

fn api_version(reader: &mut Reader, root: &At<'_, '_>, at: Option<&At<'_, '_>>) {
    let Some(at) = at else {
        reader
            .violation(codes::KIND, "apiVersion", root.position, "must be set")
            .hint = Some(format!("write `apiVersion: {API_VERSION}`"));
        return;
    };
    if reader
        .text(at)
        .is_some_and(|version| version != API_VERSION)
    {
        let message = format!("must be {API_VERSION}");
        reader.violation_at(codes::KIND, at, message);
    }
}

fn universal<'n, 'a>(
    reader: &mut Reader,
    root: &At<'n, 'a>,
    kind: Kind,
    own: &[&str],
) -> Option<(Header, Fields<'n, 'a>)> {
    let header: &[&str] = match kind {
        Kind::Mesh => &["type", "name"],
        Kind::ProvidedCa => &["type", "mesh", "name"],
        Kind::TrafficPermission | Kind::Dataplane => &["type", "mesh", "name", "namespace"],
    };
    let fields = reader.map(root, &[header, own].concat())?;
    let names = Names {
        name: fields.get("name"),
        namespace: fields
            .get("namespace")
            .filter(|_| header.contains(&"namespace")),
        position: root.position,
    };
    Some((self::header(reader, kind, &fields, names), fields))
}

fn kubernetes<'n, 'a>(
    reader: &mut Reader,
    root: &At<'n, 'a>,
    kind: Kind,
    own: &[&str],
) -> Option<(Header, Fields<'n, 'a>)> {
    let known: &[&str] = match kind {
        Kind::Mesh => &["apiVersion", "kind", "metadata", "spec"],
        _ => &["apiVersion", "kind", "mesh", "metadata", "spec"],
    };
    let fields = reader.map(root, known)?;
    let mut names = Names {
        name: None,
        namespace: None,
        position: root.position,
    };
    if let Some(at) = fields.get("metadata")
        && let Some(metadata) = reader.map(&at, &["name", "namespace", "labels", "annotations"])
    {
        for texts in ["labels", "annotations"] {
            if let Some(at) = metadata.get(texts) {
                for (_, at) in reader.entries(&at).unwrap_or_default() {
                    reader.text(&at);
                }
            }
        }
        // The fields are called as in the Universal form.
        let in_metadata = |name: &str| {
            let at = metadata.get(name)?;
            Some(At {
                field: name.to_owned(),
                ..at
            })
        };
        names = Names {
            name: in_metadata("name"),
            namespace: in_metadata("namespace"),
            position: at.position,
        };
    }
    for at in names.name.iter().chain(&names.namespace) {
        reader.places.push((at.field.as_str().into(), at.position));
    }
    let header = self::header(reader, kind, &fields, names);
    let spec = match fields.get("spec") {
        Some(at) if !at.is_null() => reader.map(
            &At {
                field: String::new(),
                ..at
            },
            own,
        ),
        Some(at) => Some(Fields::missing(at.position, "")),
        None => Some(Fields::missing(root.position, "")),
    };
    // A spec that is no map is reported; the header still tells whom it concerns.
    let spec = spec.unwrap_or_else(|| Fields::missing(root.position, ""));
    Some((header, spec))
}

/// Where the names of a resource stand.
struct Names<'n, 'a> {
    name: Option<At<'n, 'a>>,
    namespace: Option<At<'n, 'a>>,
    /// Where a name that is missing would stand.
    position: Position,
}

fn header(reader: &mut Reader, kind: Kind, root: &Fields<'_, '_>, names: Names<'_, '_>) -> Header {
    let namespace = names.namespace.and_then(|at| reader.name(&at));
    let name_position = names.name.as_ref().map_or(names.position, |at| at.position);
    let name = names.name.filter(|at| !at.is_null());
    let missing_name = name.is_none();
    let header = if kind == Kind::Mesh {
        let mesh: Option<MeshName> = name.and_then(|at| reader.name(&at));
        Header {
            name: mesh.as_ref().map(MeshName::to_resource_name),
            mesh,
            namespace,
        }
    } else {
        let mesh = root.get("mesh");
        let position = mesh.as_ref().map_or(root.position, |at| at.position);
        let mesh = mesh.filter(|at| !at.is_null());
        if mesh.is_none() {
            reader
                .violation(codes::MISSING_FIELD, "mesh", position, "must be set")
                .hint = Some("name the mesh that the resource belongs to".to_owned());
        }
        Header {
            mesh: mesh.and_then(|at| reader.name(&at)),
            name: name.and_then(|at| reader.name(&at)),
            namespace,
        }
    };
    if missing_name {
        reader.violation(codes::MISSING_FIELD, "name", name_position, "must be set");
    }
    header
}
