//! Questions of the API server, and answers: `AdmissionReview` of
//! `admission.k8s.io/v1`.

use std::fmt::Write as _;

use kube::api::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionReview};
use serde_json::{Value, json};

use crate::api::Cause;

/// What is said to a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be made.
    Allowed,
    /// It breaks rules, each with its field.
    Invalid(Vec<Cause>),
    /// It may not be made, whatever it holds.
    Forbidden(String),
}

/// Reads a question; none where it is something else.
pub(super) fn read(body: &[u8]) -> Option<AdmissionRequest<DynamicObject>> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body).ok()?;
    let is_v1 = review.types.api_version == "admission.k8s.io/v1";
    review.request.filter(|_| is_v1)
}

/// The answer to a question.
pub(super) fn review(request: &AdmissionRequest<DynamicObject>, verdict: &Verdict) -> Value {
    let mut response = json!({ "uid": request.uid, "allowed": *verdict == Verdict::Allowed });
    if let Some(status) = status(verdict) {
        response["status"] = status;
    }
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": response,
    })
}

/// What `kubectl` prints, in the words of the API.
fn status(verdict: &Verdict) -> Option<Value> {
    let (code, reason, message, causes) = match verdict {
        Verdict::Allowed => return None,
        Verdict::Invalid(found) => {
            let mut message = "Resource is not valid".to_owned();
            for cause in found {
                let _ = write!(message, "\n* {}: {}", cause.field, cause.message);
            }
            // `kubectl` prints the message of a bad request as it is, and of one that is
            // invalid the causes alone.
            (400, "BadRequest", message, found.as_slice())
        }
        // Not a conflict: clients would try again at once.
        Verdict::Forbidden(message) => (403, "Forbidden", message.clone(), &[][..]),
    };
    let causes: Vec<Value> = causes
        .iter()
        .map(|cause| {
            json!({
                "reason": "FieldValueInvalid", "field": cause.field, "message": cause.message,
            })
        })
        .collect();
    Some(json!({
        "status": "Failure", "code": code, "reason": reason, "message": message,
        "details": {"causes": causes},
    }))
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn mesh() -> Value {
        json!({"apiVersion": "kuma.io/v1alpha1", "kind": "Mesh", "metadata": {"name": "demo"}})
    }

    #[test]
    fn an_answer_bears_the_question_s_id_and_every_violation() {
        let request = read(&example("CREATE", &mesh())).unwrap();
        let allowed = review(&request, &Verdict::Allowed);
        assert_eq!(allowed["response"], json!({"uid": "u-1", "allowed": true}));
        let cause = |field: &str| Cause {
            field: field.to_owned(),
            message: "is wrong".to_owned(),
        };
        let invalid = Verdict::Invalid(vec![cause("mtls.ca"), cause("mtls")]);
        let refused = review(&request, &invalid);
        assert_eq!(refused["response"]["allowed"], json!(false));
        let status = &refused["response"]["status"];
        let message = "Resource is not valid\n* mtls.ca: is wrong\n* mtls: is wrong";
        assert_eq!(status["message"], json!(message));
        assert_eq!(status["details"]["causes"][1]["field"], json!("mtls"));
    }

    #[test]
    fn what_is_no_question_is_none() {
        let old = String::from_utf8(example("CREATE", &mesh())).unwrap();
        let old = old.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
        let alien = example("CONNECT-ISH", &mesh());
        for body in [&b""[..], b"{}", b"null", old.as_bytes(), &alien] {
            assert!(read(body).is_none(), "{}", String::from_utf8_lossy(body));
        }
    }
}
