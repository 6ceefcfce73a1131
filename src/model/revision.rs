//! Revisions: which commit of which branch a state came from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A Git commit id: 40 (SHA-1) lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(Arc<str>);

/// A text that is not a revision or a commit id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must have the form `<branch>@sha1:<40 hexadecimal digits>`")]
pub struct InvalidRevision;

impl CommitId {
    /// The 40 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for CommitId {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, InvalidRevision> {
        let hexadecimal = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() == 40 && text.bytes().all(hexadecimal) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(InvalidRevision)
        }
    }
}

impl TryFrom<String> for CommitId {
    type Error = InvalidRevision;

    fn try_from(text: String) -> Result<Self, InvalidRevision> {
        text.parse()
    }
}

impl From<CommitId> for String {
    fn from(commit: CommitId) -> Self {
        commit.0.as_ref().to_owned()
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A revision of a source, written `<branch>@sha1:<commit>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision {
    /// The branch's name without `refs/heads/`, or `HEAD` where there is none.
    pub branch: Arc<str>,
    /// The commit.
    pub commit: CommitId,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@sha1:{}", self.branch, self.commit)
    }
}

impl FromStr for Revision {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, InvalidRevision> {
        let (branch, commit) = text.rsplit_once("@sha1:").ok_or(InvalidRevision)?;
        if branch.is_empty() {
            return Err(InvalidRevision);
        }
        Ok(Self {
            branch: Arc::from(branch),
            commit: commit.parse()?,
        })
    }
}

impl TryFrom<String> for Revision {
    type Error = InvalidRevision;

    fn try_from(text: String) -> Result<Self, InvalidRevision> {
        text.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_round_trips() {
        let text = "feature/x@y@sha1:0123456789abcdef0123456789abcdef01234567";
        let revision: Revision = text.parse().unwrap();
        assert_eq!(&*revision.branch, "feature/x@y");
        assert_eq!(revision.to_string(), text);
        assert!("main@sha1:12".parse::<Revision>().is_err());
    }
}
