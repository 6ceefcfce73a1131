//! Where a repository is: a folder of this machine, or a URL.

use std::path::PathBuf;

use super::SourceError;

/// Where a repository is.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// A folder, opened in place.
    Local(PathBuf),
    /// A URL, which may hold a password.
    Remote(String),
}

impl Location {
    /// Tells a URL from a path.
    ///
    /// # Errors
    ///
    /// Fails for a URL whose transport proves nothing about the server.
    pub(super) fn parse(repo: &str) -> Result<Self, SourceError> {
        let Some((scheme, rest)) = repo.split_once("://") else {
            return Ok(if is_scp_like(repo) {
                Self::Remote(repo.to_owned())
            } else {
                Self::Local(PathBuf::from(repo))
            });
        };
        let problem = match scheme {
            "https" | "ssh" | "file" => return Ok(Self::Remote(repo.to_owned())),
            "http" if is_loopback(rest) => return Ok(Self::Remote(repo.to_owned())),
            "http" | "git" => "anyone on the way could change what it serves",
            _ => "its scheme is unknown",
        };
        Err(SourceError::Url {
            repo: redact_url(repo),
            problem,
        })
    }

    /// The location as it may be printed.
    pub(super) fn redacted(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Remote(url) => redact_url(url),
        }
    }

    /// `message` without the URL's user and password.
    pub(super) fn scrub(&self, message: &str) -> String {
        let Self::Remote(url) = self else {
            return message.to_owned();
        };
        let message = message.replace(url, &redact_url(url));
        match userinfo(url) {
            Some((_, Some(password))) if !password.is_empty() => message.replace(password, "***"),
            _ => message,
        }
    }

    /// The password of the URL, still percent-encoded.
    pub(super) fn password(&self) -> Option<&str> {
        match self {
            Self::Local(_) => None,
            Self::Remote(url) => userinfo(url)?.1,
        }
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted())
    }
}

/// A repository's URL without its user and password, fit to be printed. A path
/// stays as it is.
#[must_use]
pub fn redact_url(repo: &str) -> String {
    let Some((scheme, rest)) = repo.split_once("://") else {
        return repo.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
    // A password with an unescaped slash makes its first half look like host and port.
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let whole_host = host.ends_with(']') || port.bytes().all(|c| c.is_ascii_digit());
    if !whole_host {
        return format!("{scheme}://***");
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// User and password of a URL.
fn userinfo(url: &str) -> Option<(&str, Option<&str>)> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (userinfo, _) = authority.rsplit_once('@')?;
    Some(match userinfo.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (userinfo, None),
    })
}

/// Whether this is `user@host:path` or `host:path`, as Git reads it: a colon
/// before the first slash.
fn is_scp_like(repo: &str) -> bool {
    let colon = repo.find(':');
    let slash = repo.find('/');
    colon.is_some_and(|colon| colon > 0 && slash.is_none_or(|slash| colon < slash))
}

fn is_loopback(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
    let host = host
        .strip_suffix(|c: char| c.is_ascii_digit())
        .map_or(host, |_| {
            host.rsplit_once(':').map_or(host, |(host, _)| host)
        });
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_never_printed() {
        for (url, printed) in [
            ("https://user:secret@host/a@b.git", "https://host/a@b.git"),
            ("https://secret@host:8443/a", "https://host:8443/a"),
            ("https://user:p@secret@host/a", "https://host/a"),
            ("https://user:sec/ret@host/a", "https://***"),
            ("https://host/a?token=secret", "https://host/a"),
            ("https://[::1]/a", "https://[::1]/a"),
            ("ssh://git@host/a", "ssh://host/a"),
            ("git@host:a/b.git", "git@host:a/b.git"),
            ("file:///a/b", "file:///a/b"),
            ("/a/b", "/a/b"),
        ] {
            assert_eq!(redact_url(url), printed);
        }
        let location = Location::parse("https://user:secret@host/a").unwrap();
        assert_eq!(
            location.scrub("no way to https://user:secret@host/a with secret"),
            "no way to https://host/a with ***"
        );
        assert!(!format!("{location:?}").contains("secret"));
    }

    #[test]
    fn paths_and_urls_are_told_apart() {
        for path in [".", "/srv/policy", "../a:b", "./a:b", "policy"] {
            assert_eq!(Location::parse(path).unwrap(), Location::Local(path.into()));
        }
        for url in [
            "https://h/a",
            "ssh://h/a",
            "file:///a",
            "git@host:a",
            "http://127.0.0.1:8080/a",
            "http://localhost/a",
        ] {
            assert_eq!(Location::parse(url).unwrap(), Location::Remote(url.into()));
        }
        for url in [
            "http://host/a",
            "git://host/a",
            "ext::sh://a",
            "ftp://u:secret@h/",
        ] {
            let error = Location::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }
}
