//! What a token says about itself, and when its successor is asked for.
//!
//! Nothing is verified here: the control plane does that. This finds what is
//! plainly wrong before anything is started.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::model::{DataplaneId, Timestamp, printable};

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    subject: Subject,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// Whose token it says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    /// A dataplane's; the control plane gives it successors.
    Dataplane { mesh: String, name: String },
    /// A Kubernetes service account's; the kubelet puts successors into the file.
    ServiceAccount,
}

/// A token that will not do. None of its bytes are in the message, but the
/// names that it is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It has not the form of a token.
    #[error("it holds no dataplane token (a JWT)")]
    Form,
    /// It is another dataplane's.
    #[error("it holds the token of dataplane {actual}, not of {wanted}")]
    OtherDataplane {
        /// Whose it is.
        actual: String,
        /// Whose it should be.
        wanted: DataplaneId,
    },
    /// It has ended.
    #[error("its token expired at {at}; the time here is {now}")]
    Expired {
        /// When.
        at: Timestamp,
        /// The present.
        now: Timestamp,
    },
}

/// The claims that are looked at (RFC 7519 4.1), times in seconds.
#[derive(Deserialize)]
struct Payload {
    name: Option<String>,
    mesh: Option<String>,
    sub: Option<String>,
    iat: i64,
    exp: i64,
}

/// What the `sub` of a service account begins with.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

impl Inspected {
    /// Reads the claims of a token.
    pub fn parse(token: &str) -> Result<Self, Unfit> {
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Unfit::Form);
        };
        let payload = BASE64_URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| Unfit::Form)?;
        let payload: Payload = serde_json::from_slice(&payload).map_err(|_| Unfit::Form)?;
        let subject = match (payload.mesh, payload.name, payload.sub) {
            (Some(mesh), Some(name), _) => Subject::Dataplane { mesh, name },
            (_, _, Some(sub)) if sub.starts_with(SERVICE_ACCOUNT) => Subject::ServiceAccount,
            _ => return Err(Unfit::Form),
        };
        Ok(Self {
            subject,
            issued_at: Timestamp::from_unix_seconds(payload.iat),
            expires_at: Timestamp::from_unix_seconds(payload.exp),
        })
    }

    /// Everything for which the token will not do for that dataplane.
    #[must_use]
    pub fn problems(&self, wanted: &DataplaneId, now: Timestamp) -> Vec<Unfit> {
        let mut problems = Vec::new();
        if let Subject::Dataplane { mesh, name } = &self.subject
            && (mesh != wanted.mesh.as_str() || name != wanted.name.as_str())
        {
            let actual = format!("{mesh}/{name}");
            problems.push(Unfit::OtherDataplane {
                actual: printable(&actual).chars().take(400).collect(),
                wanted: wanted.clone(),
            });
        }
        if self.expires_at <= now {
            problems.push(Unfit::Expired {
                at: self.expires_at,
                now,
            });
        }
        problems
    }

    /// When it ends.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Whether its successor is the control plane's to give. Otherwise others
    /// replace it in time.
    #[must_use]
    pub fn is_renewed(&self) -> bool {
        matches!(self.subject, Subject::Dataplane { .. })
    }

    /// How long to wait before its successor is asked for: about two thirds of
    /// its life. `early` (0 to 1) spreads many proxies over the tenth before.
    #[must_use]
    pub fn renew_in(&self, early: f64, now: Timestamp) -> Duration {
        let life = self.expires_at.since(self.issued_at);
        let due = self.issued_at + life.mul_f64((2.0 - 0.2 * early.clamp(0.0, 1.0)) / 3.0);
        due.since(now)
    }
}

/// How long to wait after the control plane did not renew a token that ends in
/// `remaining`: often enough that several attempts fit in, yet no more than
/// one a second. What has ended is beyond renewal; someone may replace it.
#[must_use]
pub fn retry_in(attempt: u32, remaining: Duration) -> Duration {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_mins(5);
    const ENDED: Duration = Duration::from_mins(1);
    if remaining.is_zero() {
        return ENDED;
    }
    let pause = FIRST.saturating_mul(2_u32.saturating_pow(attempt.min(16)));
    pause.min(LONGEST).min(remaining / 4).max(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ISSUED: i64 = 1_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(ISSUED + seconds)
    }

    fn id(mesh: &str, name: &str) -> DataplaneId {
        DataplaneId {
            mesh: mesh.parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    fn token(payload: &serde_json::Value) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!(
            "{}.{}.{}",
            part("{}"),
            part(&payload.to_string()),
            part("x")
        )
    }

    fn of_300_seconds() -> Inspected {
        let payload =
            json!({"mesh": "default", "name": "dp-1", "iat": ISSUED, "exp": ISSUED + 300});
        Inspected::parse(&token(&payload)).unwrap()
    }

    #[test]
    fn a_token_of_the_dataplane_that_has_not_ended_is_fit() {
        assert_eq!(
            of_300_seconds().problems(&id("default", "dp-1"), at(299)),
            []
        );
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let problems = of_300_seconds().problems(&id("other", "dp-1"), at(300));
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "it holds the token of dataplane default/dp-1, not of other/dp-1",
                "its token expired at 1970-01-12T13:51:40Z; the time here is 1970-01-12T13:51:40Z",
            ]
        );
        assert_eq!(
            of_300_seconds()
                .problems(&id("default", "dp-2"), at(0))
                .len(),
            1
        );
    }

    #[test]
    fn a_service_account_s_token_fits_every_dataplane_until_it_ends() {
        let payload = json!({
            "sub": "system:serviceaccount:default:web", "iat": ISSUED, "exp": ISSUED + 300,
        });
        let token = Inspected::parse(&token(&payload)).unwrap();
        assert!(!token.is_renewed() && of_300_seconds().is_renewed());
        assert_eq!(token.problems(&id("default", "dp-1"), at(299)), []);
        assert_eq!(token.problems(&id("default", "dp-1"), at(300)).len(), 1);
    }

    #[test]
    fn what_is_no_token_is_recognized() {
        let no_end = token(&json!({"mesh": "default", "name": "dp-1", "iat": 1}));
        for bad in [
            "",
            "x",
            "a.b",
            "a.b.c",
            "..",
            "e30.e30.e30",
            "a.b.c.d",
            &no_end,
        ] {
            assert_eq!(Inspected::parse(bad), Err(Unfit::Form), "{bad:?}");
        }
    }

    #[test]
    fn a_token_is_renewed_when_two_thirds_of_its_life_are_over() {
        let token = of_300_seconds();
        assert_eq!(token.renew_in(0.0, at(0)), Duration::from_secs(200));
        assert_eq!(token.renew_in(1.0, at(0)), Duration::from_mins(3));
        assert_eq!(token.renew_in(0.0, at(150)), Duration::from_secs(50));
        assert_eq!(token.renew_in(0.0, at(250)), Duration::ZERO);
    }

    #[test]
    fn the_pause_after_a_failure_grows_and_leaves_time_for_more_attempts() {
        let day = Duration::from_hours(24);
        let pauses = [0, 1, 2, 20].map(|attempt| retry_in(attempt, day).as_secs());
        assert_eq!(pauses, [1, 2, 4, 300]);
        assert_eq!(retry_in(20, Duration::from_mins(1)).as_secs(), 15);
        assert_eq!(retry_in(20, Duration::from_secs(2)).as_secs(), 1);
        assert_eq!(retry_in(0, Duration::ZERO).as_secs(), 60);
    }
}
