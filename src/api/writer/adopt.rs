//! What someone wrote to the store past Windlass goes the way of a call.

use std::sync::Arc;

use async_trait::async_trait;

use super::{NotWritten, Writer};
use crate::model::{DesiredResource, Diagnostic, ResourceKey};
use crate::plan::{Call, CallRefused};
use crate::store::{Adopter, NotAdopted};

/// Carries over what someone wrote past Windlass.
#[derive(Debug)]
pub struct Adoption(Arc<Writer>);

impl Adoption {
    /// Carries it over by this writer.
    #[must_use]
    pub fn by(writer: Arc<Writer>) -> Self {
        Self(writer)
    }
}

#[async_trait]
impl Adopter for Adoption {
    async fn adopt(
        &self,
        key: &ResourceKey,
        after: Option<Arc<DesiredResource>>,
    ) -> Result<(), NotAdopted> {
        let call = Call {
            resource: key.clone(),
            after,
        };
        match self.0.write(call).await {
            Ok(_) | Err(NotWritten::Refused(CallRefused::NotFound { .. })) => Ok(()),
            Err(NotWritten::Refused(refused)) => {
                Err(NotAdopted::Refused(vec![refused.to_string()]))
            }
            Err(NotWritten::NotAdmitted(refusal)) => {
                Err(NotAdopted::Refused(vec![refusal.to_string()]))
            }
            Err(NotWritten::Invalid(found)) => {
                let found = found.iter().filter(|it| it.is_error());
                Err(NotAdopted::Refused(found.map(line).collect()))
            }
            Err(
                other @ (NotWritten::Store(_)
                | NotWritten::Apply(_)
                | NotWritten::Contended
                | NotWritten::Interrupted),
            ) => {
                let why = crate::telemetry::chain(&other).to_string();
                Err(NotAdopted::Later(why))
            }
        }
    }
}

fn line(diagnostic: &Diagnostic) -> String {
    match &*diagnostic.field {
        "" | "." => diagnostic.message.clone(),
        field => format!("{field}: {}", diagnostic.message),
    }
}
