//! `TokenReview` on a real API server.

use std::fmt;

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::{Api, PostParams};

use super::{ReviewFailed, Reviewer, Verdict};

/// The API server that a client talks to.
pub(super) struct ApiServer(pub(super) kube::Client);

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").finish_non_exhaustive()
    }
}

#[async_trait]
impl Reviewer for ApiServer {
    async fn review(&self, token: &str, audience: &str) -> Result<Verdict, ReviewFailed> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![audience.to_owned()]),
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.0.clone());
        let reviewed = reviews.create(&PostParams::default(), &review).await;
        let reviewed = reviewed.map_err(|error| ReviewFailed(error.into()))?;
        let status = reviewed.status.unwrap_or_default();
        Ok(Verdict {
            authenticated: status.authenticated.unwrap_or_default(),
            audiences: status.audiences.unwrap_or_default(),
            username: status
                .user
                .and_then(|user| user.username)
                .unwrap_or_default(),
        })
    }
}
