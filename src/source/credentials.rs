//! Who Windlass is to a Git server: the URL's user and password, the SSH
//! agent, or Git's credential helper.

use git2::{Config, Cred, CredentialType, Error, ErrorClass, ErrorCode};

use super::location::Location;

/// How often a server may ask: once for the user's name and once for each way.
const MAX_ATTEMPTS: usize = 4;

/// Answers a server's requests for credentials, each way once.
pub(super) struct Credentials {
    location: Location,
    attempts: usize,
    tried_url: bool,
    tried_agent: bool,
    tried_helper: bool,
}

impl Credentials {
    pub(super) fn new(location: Location) -> Self {
        Self {
            location,
            attempts: 0,
            tried_url: false,
            tried_agent: false,
            tried_helper: false,
        }
    }

    /// The callback of libgit2.
    pub(super) fn answer(
        &mut self,
        url: &str,
        user: Option<&str>,
        allowed: CredentialType,
    ) -> Result<Cred, Error> {
        self.attempts += 1;
        if self.attempts > MAX_ATTEMPTS {
            return Err(denied());
        }
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(user.unwrap_or("git"));
        }
        if allowed.contains(CredentialType::SSH_KEY) && !self.tried_agent {
            self.tried_agent = true;
            return Cred::ssh_key_from_agent(user.unwrap_or("git"));
        }
        if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) {
            if !self.tried_url
                && let (Some(user), Some(password)) = (user, self.location.password())
            {
                self.tried_url = true;
                return Cred::userpass_plaintext(user, &percent_decode(password));
            }
            if !self.tried_helper {
                self.tried_helper = true;
                return Cred::credential_helper(&Config::open_default()?, url, user);
            }
        }
        Err(denied())
    }
}

fn denied() -> Error {
    Error::new(
        ErrorCode::Auth,
        ErrorClass::Callback,
        "no credentials that the server accepts",
    )
}

/// Undoes percent-encoding (RFC 3986 2.1). What is not encoded properly stays as it is.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2)).flatten();
        let byte = code
            .filter(|code| code.iter().all(u8::is_ascii_hexdigit))
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_keeps_asking_is_turned_down() {
        let location = Location::parse("https://user:p%40ss@host/a").unwrap();
        let mut credentials = Credentials::new(location);
        let mut ask =
            || credentials.answer("https://host/a", Some("user"), CredentialType::USERNAME);
        for _ in 0..MAX_ATTEMPTS {
            assert!(ask().is_ok());
        }
        assert_eq!(ask().err().unwrap().code(), ErrorCode::Auth);
    }

    #[test]
    fn passwords_are_decoded() {
        assert_eq!(percent_decode("p%40s%2Fs"), "p@s/s");
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%+1%ff"), "%zz%+1%ff");
        assert_eq!(percent_decode("ü%C3%BC"), "üü");
    }
}
