//! The form of a token: header and claims, and what is accepted of them.

use std::time::Duration;

use aws_lc_rs::rand;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{Claims, IssueError, MAX_TOKEN, MAX_VALIDITY, VerifyError};
use crate::model::{DataplaneId, Timestamp};

/// `iss` and `aud` of every token.
const WINDLASS: &str = "windlass";
/// How far in the future a token may have been issued, for clocks that differ.
const SKEW: Duration = Duration::from_mins(1);
const TOKEN_ID_BYTES: usize = 16;

/// The claims as they are written (RFC 7519 4.1), times in seconds.
#[derive(Serialize, Deserialize)]
struct Payload {
    name: String,
    mesh: String,
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    jti: String,
}

/// Signs a token with a new id, or with the id of the one that it succeeds.
pub(super) fn sign(
    dataplane: &DataplaneId,
    valid_for: Duration,
    succeeds: Option<&str>,
    now: Timestamp,
    key_id: u64,
    key: &EncodingKey,
) -> Result<String, IssueError> {
    if valid_for.is_zero() || valid_for > MAX_VALIDITY {
        return Err(IssueError::Validity);
    }
    let seconds = valid_for.as_secs() + u64::from(valid_for.subsec_nanos() > 0);
    let iat = now.unix_seconds();
    let payload = Payload {
        name: dataplane.name.as_str().to_owned(),
        mesh: dataplane.mesh.as_str().to_owned(),
        iss: WINDLASS.to_owned(),
        aud: WINDLASS.to_owned(),
        iat,
        exp: iat.saturating_add_unsigned(seconds),
        jti: succeeds.map_or_else(token_id, |id| Ok(id.to_owned()))?,
    };
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(key_id.to_string());
    jsonwebtoken::encode(&header, &payload, key).map_err(|source| IssueError::Sign(source.into()))
}

/// 128 random bits in hexadecimal.
fn token_id() -> Result<String, IssueError> {
    use std::fmt::Write as _;
    let mut bytes = [0; TOKEN_ID_BYTES];
    rand::fill(&mut bytes).map_err(|source| IssueError::Sign(source.into()))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Whether a text has the form of the ids that tokens are given.
pub(super) fn is_token_id(text: &str) -> bool {
    let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    text.len() == 2 * TOKEN_ID_BYTES && text.bytes().all(digit)
}

/// The id of the key that a token says it is signed with. Nothing of the
/// token is trusted yet.
pub(super) fn key_id(token: &str) -> Result<u64, VerifyError> {
    if token.len() > MAX_TOKEN {
        return Err(invalid("it is longer than 8 KiB"));
    }
    let header = jsonwebtoken::decode_header(token)
        .map_err(|_| invalid("it is not a JWT, or its algorithm is unknown"))?;
    if header.alg != Algorithm::RS256 {
        return Err(invalid("its algorithm is not RS256"));
    }
    if header.crit.is_some() {
        // RFC 7515 4.1.11: what is critical must be understood.
        return Err(invalid("it has critical extensions"));
    }
    let id = header
        .kid
        .ok_or_else(|| invalid("it does not name its key"))?;
    // Only the form that `sign` writes: no sign, no leading zero.
    id.parse()
        .ok()
        .filter(|number: &u64| number.to_string() == id)
        .ok_or_else(unknown_key)
}

pub(super) fn verify(
    token: &str,
    key: &DecodingKey,
    now: Timestamp,
) -> Result<Claims, VerifyError> {
    // Times are compared below, with `now` rather than the ambient clock.
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let payload = jsonwebtoken::decode::<Payload>(token, key, &validation)
        .map_err(|error| refusal(&error))?
        .claims;

    if payload.iss != WINDLASS {
        return Err(invalid("another issuer made it"));
    }
    if payload.aud != WINDLASS {
        return Err(invalid("it is meant for another audience"));
    }
    let issued_at = Timestamp::from_unix_seconds(payload.iat);
    let expires_at = Timestamp::from_unix_seconds(payload.exp);
    if issued_at > now + SKEW {
        return Err(invalid("it was issued in the future"));
    }
    if expires_at <= now {
        return Err(VerifyError::Expired { at: expires_at });
    }
    if !is_token_id(&payload.jti) {
        return Err(invalid("its id is not one that Windlass gives"));
    }
    let odd_name = |_| invalid("it names no dataplane");
    Ok(Claims {
        dataplane: DataplaneId {
            mesh: payload.mesh.parse().map_err(odd_name)?,
            name: payload.name.parse().map_err(odd_name)?,
        },
        issued_at,
        expires_at,
        token_id: payload.jti,
    })
}

/// The library's errors can quote the token; these do not.
fn refusal(error: &Error) -> VerifyError {
    invalid(match error.kind() {
        ErrorKind::InvalidSignature => "its signature is wrong",
        _ => "its claims cannot be read",
    })
}

fn invalid(problem: &str) -> VerifyError {
    VerifyError::Invalid(problem.to_owned())
}

pub(super) fn unknown_key() -> VerifyError {
    invalid("it is signed with a key that this control plane does not have")
}
