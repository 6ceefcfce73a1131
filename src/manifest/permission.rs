//! Reads the fields of a TrafficPermission.

use super::codes;
use super::node::Value;
use super::reader::{At, Fields, Reader};
use crate::model::{Selector, ServiceMatch};

pub(super) const FIELDS: &[&str] = &["sources", "destinations"];

/// Reads sources and destinations.
pub(super) fn read(
    reader: &mut Reader,
    fields: &Fields<'_, '_>,
) -> Option<(Vec<Selector>, Vec<Selector>)> {
    let sources = selectors(reader, fields, "sources");
    let destinations = selectors(reader, fields, "destinations");
    Some((sources?, destinations?))
}

fn selectors(reader: &mut Reader, fields: &Fields<'_, '_>, name: &str) -> Option<Vec<Selector>> {
    let at = fields.get(name);
    let items = match &at {
        Some(at) => reader.list(at)?,
        None => Vec::new(),
    };
    if items.is_empty() {
        let position = at.map_or(fields.position, |at| at.position);
        reader
            .violation(
                codes::NO_SELECTOR,
                name,
                position,
                "must have at least one element",
            )
            .hint = Some("`- match: {service: '*'}` selects every service".to_owned());
        return None;
    }
    let selectors: Vec<_> = items.iter().map(|item| selector(reader, item)).collect();
    selectors.into_iter().collect()
}

fn selector(reader: &mut Reader, item: &At<'_, '_>) -> Option<Selector> {
    let fields = reader.map(item, &["match"])?;
    let at = fields.get("match");
    let (tags, position) = match &at {
        Some(at) => (reader.entries(at)?, at.position),
        None => (Vec::new(), item.position),
    };
    let field = super::reader::join(&item.field, "match");
    let has_service = tags.iter().any(|(name, _)| *name == "service");
    if tags.len() != 1 || !has_service {
        reader.violation(
            codes::NOT_ONE_SERVICE_TAG,
            field.clone(),
            position,
            "must consist of exactly one tag \"service\"",
        );
    }
    let mut service = None;
    for (name, at) in &tags {
        if *name != "service" {
            let message = format!("tag {} is not allowed", super::quote(name));
            reader.violation_at(codes::TAG_NOT_ALLOWED, at, message);
        }
        if is_empty(at) {
            reader.violation_at(
                codes::EMPTY_SELECTOR_VALUE,
                at,
                "tag value must be non-empty",
            );
        } else if *name == "service" {
            service = matched(reader, at);
        }
    }
    if !has_service {
        reader.violation(
            codes::SELECTOR_WITHOUT_SERVICE,
            field,
            position,
            "mandatory tag \"service\" is missing",
        );
    }
    service.map(|service| Selector { service })
}

fn matched(reader: &mut Reader, at: &At<'_, '_>) -> Option<ServiceMatch> {
    let text = reader.text(at)?;
    match ServiceMatch::try_from(text.to_owned()) {
        Ok(service) => Some(service),
        Err(error) => {
            let message = format!("tag value {}", error.problem());
            reader
                .violation_at(codes::INVALID_SELECTOR_VALUE, at, message)
                .hint = text
                .contains('*')
                .then(|| "only `'*'` alone matches every service".to_owned());
            None
        }
    }
}

/// Whether a tag has no value.
pub(super) fn is_empty(at: &At<'_, '_>) -> bool {
    match &at.node.value {
        Value::Null => true,
        Value::Text(text) => text.is_empty(),
        _ => false,
    }
}
