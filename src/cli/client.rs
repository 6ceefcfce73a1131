//! Calls of a control plane over HTTP.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{StatusCode, Uri};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use super::config::{CliConfig, ControlPlane};
use super::output::printable;
use super::{CliError, ErrorKind};
use crate::api::ErrorBody;

/// Where a control plane listens that nobody configured otherwise.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:5681";
/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;

/// Which control plane is called.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Address {
    /// The address of the control plane; where not given, the current one of
    /// `windlass config control-planes`, else http://127.0.0.1:5681.
    #[arg(long, value_name = "URL", global = true)]
    address: Option<String>,
}

impl Address {
    /// The control plane that is meant, with what is kept of it.
    pub(crate) fn control_plane(&self) -> Result<ControlPlane, CliError> {
        let kept = CliConfig::load()?;
        let known = match &self.address {
            None => kept.current(),
            Some(address) => kept.at(address),
        };
        Ok(known.cloned().unwrap_or_else(|| {
            let address = self.address.as_deref().unwrap_or(DEFAULT_ADDRESS);
            ControlPlane::unknown(address)
        }))
    }
}

/// A control plane at one address.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    host: String,
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("`{address}` is not the address of a control plane: {problem}")]
    Address {
        address: String,
        problem: &'static str,
    },
    #[error("no control plane answers at {base}")]
    Unreachable { base: String, source: ureq::Error },
    #[error("the answer of {url} broke off")]
    BrokenOff { url: String, source: ureq::Error },
    #[error("{url} answered with status {status}")]
    Status { url: String, status: u16 },
    #[error("the answer of {url} is not what this version of windlass reads")]
    Format {
        url: String,
        source: serde_json::Error,
    },
}

impl Client {
    /// The control plane that `--address` names.
    pub(crate) fn new(address: &Address) -> Result<Self, CliError> {
        match &address.address {
            Some(address) => Self::at(address),
            None => Self::at(&address.control_plane()?.address),
        }
    }

    /// The server at that address.
    pub(crate) fn at(address: &str) -> Result<Self, CliError> {
        Self::over(address, None)
    }

    /// The admin server at that address, over TLS.
    pub(crate) fn admin(address: &str, tls: TlsConfig) -> Result<Self, CliError> {
        Self::over(address, Some(tls))
    }

    fn over(address: &str, tls: Option<TlsConfig>) -> Result<Self, CliError> {
        // What stands before an `@` may be a password.
        let shown = address.rsplit('@').next().unwrap_or_default();
        let refuse = |problem| {
            CliError::user(CallError::Address {
                address: printable(shown).into_owned(),
                problem,
            })
            .hint(format!("it looks like {DEFAULT_ADDRESS}"))
        };
        let uri: Uri = address.parse().map_err(|_| refuse("it is no URL"))?;
        let scheme = match (uri.scheme_str(), &tls) {
            (Some("http"), None) => "http",
            (Some("https"), Some(_)) => "https",
            (Some("https"), None) => {
                return Err(refuse("https is spoken by the admin server only"));
            }
            (_, None) => return Err(refuse("it does not start with http://")),
            (_, Some(_)) => return Err(refuse("it does not start with https://")),
        };
        let tls = tls.unwrap_or_default();
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refuse("it has a path"));
        }
        let authority = uri.authority().ok_or_else(|| refuse("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("it holds credentials"));
        }
        // What is called is on this machine or named on purpose: a proxy of the environment is
        // not asked. A control plane redirects nobody.
        let agent = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(TIMEOUT))
            .tls_config(tls)
            .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            base: format!("{scheme}://{authority}"),
            host: authority.host().to_owned(),
        })
    }

    /// Whether the address is one of this machine's loopback.
    pub(crate) fn is_local(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        self.host.eq_ignore_ascii_case("localhost")
            || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The host of the address; an IPv6 address stands in brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The address, without a slash at the end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// `GET`s a JSON document.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        let url = format!("{}{path}", self.base);
        let text = self.answer(&url, self.agent.get(&url).call())?;
        parse(url, &text)
    }

    /// `GET`s a JSON document that may not be there.
    pub(crate) fn get_if_any<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, CliError> {
        let url = format!("{}{path}", self.base);
        let (status, text) = self.fetch(&url, self.agent.get(&url).call())?;
        match status {
            StatusCode::NOT_FOUND if is_refusal(&text) => Ok(None),
            status if status.is_success() => parse(url, &text).map(Some),
            status => Err(refusal(&url, status.as_u16(), &text)),
        }
    }

    /// `PUT`s a JSON document.
    pub(crate) fn put(&self, path: &str, body: &impl Serialize) -> Result<Put, CliError> {
        let url = format!("{}{path}", self.base);
        let (status, text) = self.fetch(&url, self.agent.put(&url).send_json(body))?;
        match status {
            StatusCode::CONFLICT => Ok(Put::Conflict(refusal(&url, status.as_u16(), &text))),
            status if status.is_success() => Ok(Put::Done),
            status => Err(refusal(&url, status.as_u16(), &text)),
        }
    }

    /// `POST`s a JSON document and returns the text that is answered.
    pub(crate) fn post(&self, path: &str, body: &impl Serialize) -> Result<String, CliError> {
        let url = format!("{}{path}", self.base);
        self.answer(&url, self.agent.post(&url).send_json(body))
    }

    /// `POST`s a JSON document and reads the one that is answered.
    pub(crate) fn post_for<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let text = self.post(path, body)?;
        parse(format!("{}{path}", self.base), &text)
    }

    /// `POST`s a JSON document that is written already, and may be a secret.
    pub(crate) fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &[u8],
    ) -> Result<T, CliError> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.post(&url).content_type("application/json");
        let text = self.answer(&url, request.send(body))?;
        parse(url, &text)
    }

    /// `DELETE`s a resource.
    pub(crate) fn delete(&self, path: &str) -> Result<(), CliError> {
        let url = format!("{}{path}", self.base);
        self.answer(&url, self.agent.delete(&url).call())?;
        Ok(())
    }

    fn answer(
        &self,
        url: &str,
        sent: Result<ureq::http::Response<Body>, ureq::Error>,
    ) -> Result<String, CliError> {
        let (status, text) = self.fetch(url, sent)?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(refusal(url, status.as_u16(), &text))
        }
    }

    /// An answer of whatever status.
    fn fetch(
        &self,
        url: &str,
        sent: Result<ureq::http::Response<Body>, ureq::Error>,
    ) -> Result<(StatusCode, String), CliError> {
        let mut response = sent.map_err(|source| {
            let base = self.base.clone();
            let is_tls = base.starts_with("https:");
            let error = CliError::new(
                ErrorKind::Unavailable,
                CallError::Unreachable { base, source },
            );
            if is_tls {
                error.hint(super::admin_tls::HINT)
            } else {
                error.hint("`windlass run` starts one; `--address URL` names another")
            }
        })?;
        let status = response.status();
        let text = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_string()
            .map_err(|source| {
                let url = url.to_owned();
                CliError::new(ErrorKind::Unavailable, CallError::BrokenOff { url, source })
            })?;
        Ok((status, text))
    }
}

/// How a `PUT` ended that did not fail.
#[derive(Debug)]
pub(crate) enum Put {
    /// The resource is as it was sent.
    Done,
    /// It is someone else's; the refusal says whose.
    Conflict(CliError),
}

fn parse<T: DeserializeOwned>(url: String, text: &str) -> Result<T, CliError> {
    serde_json::from_str(text).map_err(|source| {
        let error = CallError::Format { url, source };
        CliError::new(ErrorKind::Unavailable, error)
            .hint("does another program, or another version, listen there?")
    })
}

/// Whether a control plane refused, rather than something else that listens there.
fn is_refusal(text: &str) -> bool {
    serde_json::from_str::<ErrorBody>(text).is_ok()
}

/// A refused request as the reference prints it: title, details, causes.
fn refusal(url: &str, status: u16, text: &str) -> CliError {
    let Ok(body) = serde_json::from_str::<ErrorBody>(text) else {
        let url = url.to_owned();
        return CliError::new(ErrorKind::Unavailable, CallError::Status { url, status });
    };
    let kind = if status < 500 {
        ErrorKind::User
    } else {
        ErrorKind::Unavailable
    };
    let line = format!("{} ({})", printable(&body.title), printable(&body.details));
    let causes = body
        .causes
        .iter()
        .map(|cause| format!("{}: {}", printable(&cause.field), printable(&cause.message)));
    causes.fold(CliError::new(kind, line), CliError::cause)
}
