//! Reads the fields of a Dataplane.

use std::net::IpAddr;
use std::num::NonZeroU16;

use super::codes;
use super::node::{Position, Value};
use super::permission::is_empty;
use super::reader::{At, Fields, Reader, join};
use crate::model::{Gateway, Inbound, Networking, Outbound, Role, ServiceName, Tags};

pub(super) const FIELDS: &[&str] = &["networking"];

/// Reads `networking`.
pub(super) fn read(reader: &mut Reader, fields: &Fields<'_, '_>) -> Option<Networking> {
    let fields = match fields.get("networking") {
        Some(at) if !at.is_null() => {
            reader.map(&at, &["address", "inbound", "gateway", "outbound"])?
        }
        Some(at) => Fields::missing(at.position, "networking"),
        None => Fields::missing(fields.position, "networking"),
    };
    let inbounds = match fields.get("inbound") {
        Some(at) => reader.list(&at),
        None => Some(Vec::new()),
    };
    let gateway = fields.get("gateway").filter(|at| !at.is_null());
    let conflict = match (&inbounds, &gateway) {
        (Some(inbounds), None) if inbounds.is_empty() => Some((
            codes::NO_INBOUND,
            "has to contain at least one inbound interface or gateway",
        )),
        (Some(inbounds), Some(_)) if !inbounds.is_empty() => Some((
            codes::INBOUND_AND_GATEWAY,
            "inbound cannot be defined both with gateway",
        )),
        _ => None,
    };
    if let Some((code, message)) = conflict {
        reader.violation(code, "networking", fields.position, message);
    }
    let address = address(reader, &fields);
    let gateway = gateway.map(|at| self::gateway(reader, &at));
    let inbounds = inbounds.and_then(|items| all(&items, |item| inbound(reader, item)));
    let outbound = match fields.get("outbound") {
        Some(at) => reader
            .list(&at)
            .and_then(|items| all(&items, |item| self::outbound(reader, item))),
        None => Some(Vec::new()),
    };
    let role = match gateway {
        Some(gateway) => Role::Gateway(gateway?),
        None => Role::Inbound(inbounds?),
    };
    if conflict.is_some() {
        return None;
    }
    Some(Networking {
        address: address?,
        role,
        outbound: outbound?,
    })
}

/// Reads every item, also behind one that is wrong.
fn all<'n, 'a, T>(
    items: &[At<'n, 'a>],
    mut read: impl FnMut(&At<'n, 'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = items.iter().map(&mut read).collect();
    read.into_iter().collect()
}

fn inbound(reader: &mut Reader, item: &At<'_, '_>) -> Option<Inbound> {
    let fields = reader.map(item, &["port", "servicePort", "tags"])?;
    let port = required_port(reader, &fields);
    let service_port = fields
        .get("servicePort")
        .map(|at| port_of(reader, &at, "servicePort"));
    let tags = tags(reader, &fields);
    Some(Inbound {
        port: port?,
        service_port: match service_port {
            Some(port) => Some(port?),
            None => None,
        },
        tags: tags?,
    })
}

fn gateway(reader: &mut Reader, at: &At<'_, '_>) -> Option<Gateway> {
    let fields = reader.map(at, &["tags"])?;
    Some(Gateway {
        tags: tags(reader, &fields)?,
    })
}

fn outbound(reader: &mut Reader, item: &At<'_, '_>) -> Option<Outbound> {
    let fields = reader.map(item, &["address", "port", "service"])?;
    let address = fields.get("address").map(|_| address(reader, &fields));
    let port = required_port(reader, &fields);
    let service = match fields.get("service") {
        Some(at) if !is_empty(&at) => outbound_service(reader, &at),
        at => {
            let position = at.map_or(fields.position, |at| at.position);
            let field = join(&fields.field, "service");
            reader.violation(codes::INVALID_OUTBOUND, field, position, "cannot be empty");
            None
        }
    };
    Some(Outbound {
        address: match address {
            Some(address) => Some(address?),
            None => None,
        },
        port: port?,
        service: service?,
    })
}

fn outbound_service(reader: &mut Reader, at: &At<'_, '_>) -> Option<ServiceName> {
    match reader.text(at)?.parse::<ServiceName>() {
        Ok(service) => Some(service),
        Err(error) => {
            reader.violation_at(codes::INVALID_OUTBOUND, at, error.problem());
            None
        }
    }
}

fn address(reader: &mut Reader, fields: &Fields<'_, '_>) -> Option<IpAddr> {
    let at = fields.get("address");
    let text = at.as_ref().and_then(|at| match &at.node.value {
        Value::Text(text) => Some(text),
        _ => None,
    });
    let address = text.and_then(|text| text.parse().ok());
    let unread = at
        .as_ref()
        .is_some_and(|at| at.node.value == Value::Unknown);
    if address.is_none() && !unread {
        let position = at.map_or(fields.position, |at| at.position);
        reader.violation(
            codes::INVALID_ADDRESS,
            join(&fields.field, "address"),
            position,
            "address has to be valid IP address",
        );
    }
    address
}

fn required_port(reader: &mut Reader, fields: &Fields<'_, '_>) -> Option<NonZeroU16> {
    match fields.get("port") {
        Some(at) if !at.is_null() => port_of(reader, &at, "port"),
        at => {
            let position = at.map_or(fields.position, |at| at.position);
            out_of_range(reader, join(&fields.field, "port"), position, "port");
            None
        }
    }
}

fn port_of(reader: &mut Reader, at: &At<'_, '_>, name: &str) -> Option<NonZeroU16> {
    let number = reader.integer(at)?;
    let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
    if port.is_none() {
        out_of_range(reader, at.field.clone(), at.position, name);
    }
    port
}

fn out_of_range(reader: &mut Reader, field: String, position: Position, name: &str) {
    let message = format!("{name} has to be in range of [1, 65535]");
    reader.violation(codes::INVALID_PORT, field, position, message);
}

fn tags(reader: &mut Reader, fields: &Fields<'_, '_>) -> Option<Tags> {
    let at = fields.get("tags");
    let (entries, position) = match &at {
        Some(at) => (reader.entries(at)?, at.position),
        None => (Vec::new(), fields.position),
    };
    let found = reader.violations.len();
    if !entries.iter().any(|(name, _)| *name == "service") {
        reader
            .violation(
                codes::WITHOUT_SERVICE_TAG,
                join(&fields.field, "tags"),
                position,
                "mandatory tag \"service\" is missing",
            )
            .hint = Some("add `service: NAME`, the service that the proxy stands for".to_owned());
    }
    let mut tags = Tags::new();
    for (name, at) in entries {
        if name.is_empty() {
            reader.violation_at(codes::INVALID_TAG, &at, "tag name must be non-empty");
        }
        if is_empty(&at) {
            reader.violation_at(codes::INVALID_TAG, &at, "tag value must be non-empty");
        } else if let Some(value) = reader.text(&at) {
            if name == "service"
                && let Err(error) = value.parse::<ServiceName>()
            {
                let message = format!("tag value {}", error.problem());
                reader.violation_at(codes::INVALID_TAG, &at, message);
            }
            tags.insert(name.to_owned(), value.to_owned());
        } else {
            return None;
        }
    }
    (reader.violations.len() == found).then_some(tags)
}
