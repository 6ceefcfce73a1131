//! Plain HTTP to loopback: no proxy, every status is an answer.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

/// An answer of whatever status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("not JSON: {error}: {self:?}"))
    }

    /// The same, or why it is no answer of success.
    pub(crate) fn ok(self) -> Result<Self, String> {
        if (200..300).contains(&self.status) {
            Ok(self)
        } else {
            Err(format!("answered {self:?}"))
        }
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into()
}

/// `GET http://<address><path>`
pub(crate) fn get(address: &str, path: &str) -> Result<Answer, String> {
    let sent = agent().get(format!("http://{address}{path}")).call();
    answer(sent)
}

/// `POST http://<address><path>` with a JSON body.
pub(crate) fn post(address: &str, path: &str, body: &Value) -> Result<Answer, String> {
    let sent = agent()
        .post(format!("http://{address}{path}"))
        .send_json(body);
    answer(sent)
}

/// `PUT http://<address><path>` with a JSON body.
pub(crate) fn put(address: &str, path: &str, body: &Value) -> Result<Answer, String> {
    let sent = agent()
        .put(format!("http://{address}{path}"))
        .send_json(body);
    answer(sent)
}

fn answer(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, String> {
    let mut response = sent.map_err(|error| error.to_string())?;
    Ok(Answer {
        status: response.status().as_u16(),
        body: response
            .body_mut()
            .read_to_string()
            .map_err(|error| error.to_string())?,
    })
}
