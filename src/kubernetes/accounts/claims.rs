//! What a token says about itself. Nothing of it is trusted: it decides who is
//! asked, and whether asking is worth the while.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::model::Timestamp;

/// Who issues dataplane tokens.
const WINDLASS: &str = "windlass";

/// The claims that are looked at (RFC 7519 4.1).
#[derive(Deserialize)]
struct Payload {
    iss: Option<String>,
    sub: Option<String>,
    exp: Option<i64>,
    aud: Option<Audience>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// What a token of the API server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) expires_at: Timestamp,
    pub(super) audiences: Vec<String>,
}

impl Claims {
    /// Reads them; none where this is no token, or one that never ends.
    pub(super) fn peek(token: &str) -> Option<Self> {
        let payload = payload(token)?;
        Some(Self {
            expires_at: Timestamp::from_unix_seconds(payload.exp?),
            audiences: match payload.aud? {
                Audience::One(audience) => vec![audience],
                Audience::Many(audiences) => audiences,
            },
        })
    }
}

/// Whether a token says that Windlass issued it. What is no token at all is
/// Windlass's to refuse, too.
#[must_use]
pub fn is_of_windlass(token: &str) -> bool {
    payload(token).is_none_or(|payload| payload.iss.as_deref() == Some(WINDLASS))
}

/// The user name of the service account that a token says it is of.
#[must_use]
pub fn subject(token: &str) -> Option<String> {
    let subject = payload(token)?.sub?;
    subject
        .starts_with("system:serviceaccount:")
        .then_some(subject)
}

fn payload(token: &str) -> Option<Payload> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&payload).ok()
}
