//! Keeps web pages away from the servers on loopback.
//!
//! Whoever can open a socket on this machine may call them; a page in a
//! browser on this machine may not. A page that rebinds its own name to
//! 127.0.0.1 is known by its `Host`, one that posts across origins by its `Origin`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Extension, FromRequestParts, Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::error::ApiError;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

impl Connection {
    /// Whether the client is on this machine.
    pub(super) fn is_from_loopback(self) -> bool {
        self.peer.ip().to_canonical().is_loopback()
    }
}

/// A client on this machine. Others read only.
#[derive(Debug)]
pub(super) struct Local;

impl<S: Sync> FromRequestParts<S> for Local {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let connection = parts.extensions.get::<Connection>();
        if connection.is_some_and(|connection| connection.is_from_loopback()) {
            return Ok(Self);
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            TITLE,
            "From other machines the API is read-only: commit the change to the Git repository, \
             or make the call on the control plane's own machine",
        ))
    }
}

/// The host that a request is for, in the words of who sent it; an IPv6 address in brackets.
#[derive(Debug, Clone)]
pub(super) struct RequestedHost(Authority);

impl RequestedHost {
    pub(super) fn new(host: Authority) -> Self {
        Self(host)
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.host()
    }
}

/// The host name, beside `localhost` and addresses, that requests may name.
#[derive(Debug, Clone)]
pub(super) struct Advertised(pub(super) Option<Arc<str>>);

const TITLE: &str = "Could not process the request";

/// The middleware.
pub(super) async fn check(
    State(advertised): State<Advertised>,
    Extension(connection): Extension<Connection>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let host = requested_host(&request)?;
    let to_loopback = connection.local.ip().to_canonical().is_loopback();
    if to_loopback && !is_own_name(host.host(), &advertised) {
        return Err(ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            TITLE,
            "The Host header must be an IP address, localhost or general.advertisedHostname",
        ));
    }
    if let Some(origin) = header(request.headers(), &ORIGIN)? {
        let own = origin
            .strip_prefix("http://")
            .is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_str()));
        if !own {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                TITLE,
                "Requests of web pages from elsewhere are refused",
            ));
        }
    }
    request.extensions_mut().insert(RequestedHost::new(host));
    Ok(next.run(request).await)
}

/// The host that the request is for (RFC 9112 3.2.2): the target's own, else the header's.
fn requested_host(request: &Request) -> Result<Authority, ApiError> {
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.clone());
    }
    header(request.headers(), &HOST)?
        .and_then(|host| host.parse().ok())
        .ok_or_else(|| bad_header(&HOST))
}

/// The one value of a header; several are refused.
fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(value), None) => Ok(Some(value)),
        _ => Err(bad_header(name)),
    }
}

fn bad_header(name: &HeaderName) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        TITLE,
        format!("There must be one valid {name} header"),
    )
}

fn is_own_name(host: &str, advertised: &Advertised) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || advertised
            .0
            .as_ref()
            .is_some_and(|name| host.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;

    #[test]
    fn only_clients_of_this_machine_are_from_loopback() {
        let from = |peer: &str| Connection {
            local: "0.0.0.0:5681".parse().unwrap(),
            peer: peer.parse().unwrap(),
        };
        for peer in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(from(peer).is_from_loopback(), "{peer}");
        }
        for peer in ["10.0.0.1:1", "[2001:db8::1]:1", "[::ffff:10.0.0.1]:1"] {
            assert!(!from(peer).is_from_loopback(), "{peer}");
        }
    }

    #[tokio::test]
    async fn a_client_of_another_machine_is_told_to_commit_instead() {
        for (peer, allowed) in [("127.0.0.1:1", true), ("10.0.0.1:1", false)] {
            let connection = Connection {
                local: "0.0.0.0:5681".parse().unwrap(),
                peer: peer.parse().unwrap(),
            };
            let (mut parts, ()) = axum::http::Request::new(()).into_parts();
            parts.extensions.insert(connection);
            let local = Local::from_request_parts(&mut parts, &()).await;
            assert_eq!(local.is_ok(), allowed, "{peer}");
            let answered = local.map_err(|error| error.into_response().status());
            assert!(answered.is_ok() || answered.err() == Some(StatusCode::FORBIDDEN));
        }
        let (mut parts, ()) = axum::http::Request::new(()).into_parts();
        let unknown = Local::from_request_parts(&mut parts, &()).await;
        assert!(unknown.is_err(), "who is not known is not let in");
    }
}
