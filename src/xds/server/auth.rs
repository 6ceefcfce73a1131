//! Who is calling: the token in the metadata and the node in the first message.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::protobuf::value::Kind;
use tonic::Status;
use tonic::metadata::MetadataMap;
use zeroize::Zeroizing;

use super::credential::{self, Credential};
use crate::dataplane::bootstrap;
use crate::kubernetes::accounts::{self, ServiceAccounts};
use crate::model::{DataplaneId, Timestamp};
use crate::token::Keyring;
use crate::xds::index::Index;

/// A drain time that is longer than this is nonsense, in seconds.
const MAX_DRAIN: f64 = 7.0 * 24.0 * 3600.0;

const HEADER: &str = "authorization";
const SCHEME: &str = "bearer ";

/// Verifies the token of a call, before anything else of it is looked at. One
/// of a service account is for the API server of Kubernetes to judge.
pub(in crate::xds) async fn authenticate(
    metadata: &MetadataMap,
    tokens: &Keyring,
    accounts: Option<&ServiceAccounts>,
    now: Timestamp,
) -> Result<Credential, Status> {
    let token = token(metadata)?;
    if let Some(accounts) = accounts.filter(|_| !accounts::is_of_windlass(token)) {
        let account = accounts.verify(token).await;
        let account = account.map_err(|error| credential::not_proven(&error))?;
        let token = Zeroizing::new(token.to_owned());
        return Ok(Credential::ServiceAccount { account, token });
    }
    tokens
        .verify(token, now)
        .map(Credential::Dataplane)
        .map_err(|error| Status::unauthenticated(error.to_string()))
}

/// The token that comes with a call; nothing of it is trusted yet.
pub(in crate::xds) fn token(metadata: &MetadataMap) -> Result<&str, Status> {
    let mut values = metadata.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Err(Status::unauthenticated(
            "no credentials: send the dataplane token as metadata `authorization`",
        ));
    };
    if values.next().is_some() {
        return Err(Status::unauthenticated("more than one `authorization`"));
    }
    let value = value
        .to_str()
        .map_err(|_| Status::unauthenticated("`authorization` is not text"))?
        .trim();
    Ok(match value.get(..SCHEME.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => value[SCHEME.len()..].trim_start(),
        _ => value,
    })
}

/// The dataplane that a node says it is, if the credential is good for it.
pub(in crate::xds) fn authorize(
    credential: &Credential,
    node: Option<&Node>,
    index: &Index,
    accounts: Option<&ServiceAccounts>,
) -> Result<DataplaneId, Status> {
    let node_id = node.map_or("", |node| node.id.as_str());
    let dataplane = DataplaneId::from_node_id(node_id).map_err(|error| {
        Status::invalid_argument(format!(
            "the node id of the first message must be `<mesh>.<dataplane>`: {error}"
        ))
    })?;
    credential.may_be(&dataplane, index, accounts)?;
    Ok(dataplane)
}

/// How long the replaced filter chains of a node keep their connections, in
/// seconds, where it says so.
pub(in crate::xds) fn drain_seconds(node: Option<&Node>) -> Option<u32> {
    let fields = &node?.metadata.as_ref()?.fields;
    let Some(Kind::NumberValue(seconds)) = fields.get(bootstrap::DRAIN_METADATA)?.kind else {
        return None;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is within the bounds"
    )]
    (0.0..=MAX_DRAIN)
        .contains(&seconds)
        .then_some(seconds.ceil() as u32)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::{Struct, Value};

    use super::*;

    fn node(value: Option<Kind>) -> Node {
        let value = (bootstrap::DRAIN_METADATA.to_owned(), Value { kind: value });
        Node {
            metadata: Some(Struct {
                fields: [value].into(),
            }),
            ..Node::default()
        }
    }

    #[test]
    fn a_drain_time_is_read_and_nonsense_is_none() {
        let read = |value| drain_seconds(Some(&node(Some(value))));
        assert_eq!(read(Kind::NumberValue(10.0)), Some(10));
        assert_eq!(read(Kind::NumberValue(0.0)), Some(0));
        assert_eq!(read(Kind::NumberValue(0.2)), Some(1), "no less than it is");
        assert_eq!(read(Kind::NumberValue(MAX_DRAIN)), Some(604_800));
        for nonsense in [-1.0, MAX_DRAIN + 1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(read(Kind::NumberValue(nonsense)), None, "{nonsense}");
        }
        assert_eq!(read(Kind::StringValue("10".to_owned())), None);
        assert_eq!(drain_seconds(Some(&node(None))), None);
        assert_eq!(drain_seconds(Some(&Node::default())), None);
        assert_eq!(drain_seconds(None), None);
    }
}
