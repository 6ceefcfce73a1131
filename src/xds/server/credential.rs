//! What a caller has proven, and for which dataplanes that is good.

use std::fmt;
use std::future::pending;

use tonic::Status;
use zeroize::Zeroizing;

use crate::kubernetes::accounts::{NotProven, ServiceAccount, ServiceAccounts};
use crate::model::{DataplaneId, Timestamp};
use crate::token::{Claims, Keyring};
use crate::xds::index::{Index, UnknownDataplane};

/// What a caller has proven.
#[derive(Clone)]
pub(in crate::xds) enum Credential {
    /// It holds the dataplane token of one dataplane.
    Dataplane(Claims),
    /// It is a service account of Kubernetes: good for every dataplane of its namespace.
    ServiceAccount {
        /// Which.
        account: ServiceAccount,
        /// Its token, to have it reviewed again.
        token: Zeroizing<String>,
    },
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dataplane(claims) => fmt::Debug::fmt(claims, f),
            Self::ServiceAccount { account, .. } => fmt::Debug::fmt(account, f),
        }
    }
}

impl Credential {
    /// When it ends.
    pub(in crate::xds) fn expires_at(&self) -> Timestamp {
        match self {
            Self::Dataplane(claims) => claims.expires_at,
            Self::ServiceAccount { account, .. } => account.expires_at,
        }
    }

    /// Checks that the caller may be that dataplane.
    pub(in crate::xds) fn may_be(
        &self,
        dataplane: &DataplaneId,
        index: &Index,
        accounts: Option<&ServiceAccounts>,
    ) -> Result<(), Status> {
        match self {
            Self::Dataplane(claims) if claims.dataplane == *dataplane => Ok(()),
            Self::Dataplane(claims) => Err(Status::permission_denied(format!(
                "the token is of dataplane {}, the node is {dataplane}",
                claims.dataplane
            ))),
            Self::ServiceAccount { account, .. } => {
                let own = index
                    .namespace(dataplane)
                    .map_err(|error| not_known(&error))?;
                let own = own.as_ref().or(accounts.map(ServiceAccounts::namespace));
                if own == Some(&account.namespace) {
                    return Ok(());
                }
                // Not where it is: that is nobody else's business.
                Err(Status::permission_denied(format!(
                    "the token is of service account {account}; dataplane {dataplane} is not in \
                     namespace {}",
                    account.namespace
                )))
            }
        }
    }

    /// Checks that it has not ended.
    pub(in crate::xds) fn still_holds(
        &self,
        tokens: &Keyring,
        now: Timestamp,
    ) -> Result<(), Status> {
        let at = self.expires_at();
        if at <= now {
            return Err(Status::unauthenticated(format!(
                "the token expired at {at}"
            )));
        }
        match self {
            Self::Dataplane(claims) if tokens.revoked(&claims.token_id) => {
                Err(Status::unauthenticated("the token was revoked"))
            }
            _ => Ok(()),
        }
    }

    /// Resolves once Kubernetes takes back what it said.
    pub(in crate::xds) async fn until_refused(&self, accounts: Option<&ServiceAccounts>) -> Status {
        match (self, accounts) {
            (Self::ServiceAccount { account, token }, Some(accounts)) => {
                not_proven(&accounts.until_refused(token, account).await)
            }
            _ => pending().await,
        }
    }
}

pub(super) fn not_proven(error: &NotProven) -> Status {
    match error {
        NotProven::Unavailable(_) => Status::unavailable(error.to_string()),
        _ => Status::unauthenticated(error.to_string()),
    }
}

fn not_known(error: &UnknownDataplane) -> Status {
    Status::not_found(error.to_string())
}
