use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;

const KEEP: Duration = Duration::from_mins(1);

/// Says what it was told to, and counts how often it was asked.
#[derive(Debug)]
struct Said {
    verdict: Mutex<Option<Verdict>>,
    asked: AtomicUsize,
}

impl Said {
    fn new(username: &str, audiences: &[&str]) -> Arc<Self> {
        Arc::new(Self {
            verdict: Mutex::new(Some(Verdict {
                authenticated: true,
                audiences: audiences.iter().map(ToString::to_string).collect(),
                username: username.to_owned(),
            })),
            asked: AtomicUsize::new(0),
        })
    }

    fn web() -> Arc<Self> {
        Self::new("system:serviceaccount:team:web", &["windlass"])
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn refuses(&self) {
        if let Some(verdict) = &mut *self.verdict.lock().unwrap() {
            verdict.authenticated = false;
        }
    }

    fn goes_away(&self) {
        *self.verdict.lock().unwrap() = None;
    }
}

#[async_trait]
impl Reviewer for Said {
    async fn review(&self, _: &str, _: &str) -> Result<Verdict, ReviewFailed> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let verdict = self.verdict.lock().unwrap().clone();
        verdict.ok_or_else(|| ReviewFailed("away".into()))
    }
}

fn accounts(said: &Arc<Said>, keep: Duration) -> ServiceAccounts {
    let own = "windlass-system".parse().unwrap();
    ServiceAccounts::new(said.clone(), "windlass", own, keep)
}

fn token(id: u64, lives: Duration) -> String {
    let payload = json!({
        "iss": "https://kubernetes.default.svc", "aud": ["windlass"], "jti": id,
        "exp": (clock::now() + lives).unix_seconds(),
    });
    format!(
        "e30.{}.x",
        BASE64_URL_SAFE_NO_PAD.encode(payload.to_string())
    )
}

fn words(result: Result<ServiceAccount, NotProven>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn a_good_token_is_reviewed_once_in_a_while() {
    let said = Said::web();
    let accounts = accounts(&said, KEEP);
    let token = token(1, KEEP);
    for _ in 0..3 {
        let account = accounts.verify(&token).await.unwrap();
        assert_eq!(account.to_string(), "team/web");
    }
    assert_eq!(said.asked(), 1);
}

#[tokio::test]
async fn what_the_api_server_said_counts_while_it_is_away() {
    let said = Said::web();
    let accounts = accounts(&said, Duration::ZERO);
    let (known, unknown) = (token(1, KEEP), token(2, KEEP));
    accounts.verify(&known).await.unwrap();
    said.goes_away();
    accounts.verify(&known).await.unwrap();
    assert_eq!(said.asked(), 2, "it is asked all the same");
    let refused = accounts.verify(&unknown).await.unwrap_err();
    assert!(matches!(refused, NotProven::Unavailable(_)), "{refused}");
}

#[tokio::test]
async fn nothing_counts_past_the_end_of_the_token() {
    let said = Said::web();
    let accounts = accounts(&said, KEEP);
    let token = token(1, Duration::from_secs(1));
    let account = accounts.verify(&token).await.unwrap();
    let key = Key::of(&token);
    let end = account.expires_at;
    assert_eq!(accounts.cache().fresh(&key, end), None);
    assert_eq!(accounts.cache().stale(&key, end), None);
    let before = end - Duration::from_millis(1);
    assert!(accounts.cache().stale(&key, before).is_some());
}

#[tokio::test]
async fn a_token_that_is_taken_back_is_no_longer_good() {
    let said = Said::web();
    let accounts = accounts(&said, Duration::ZERO);
    let token = token(1, KEEP);
    let account = accounts.verify(&token).await.unwrap();
    said.refuses();
    let refused = accounts.until_refused(&token, &account).await;
    assert!(matches!(refused, NotProven::Refused(_)), "{refused}");
    said.goes_away();
    let refused = accounts.verify(&token).await.unwrap_err();
    assert!(matches!(refused, NotProven::Unavailable(_)), "{refused}");
}

#[tokio::test]
async fn what_is_plainly_wrong_is_not_reviewed() {
    let said = Said::web();
    let accounts = accounts(&said, KEEP);
    let other = json!({"iss": "k", "aud": "other", "exp": 4_000_000_000_u64});
    let endless = json!({"iss": "k", "aud": "windlass"});
    let part = |payload: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(payload.to_string());
    let (other, endless) = (part(&other), part(&endless));
    for (token, problem) in [
        ("garbage".to_owned(), "it is not a JWT that ends"),
        (format!("e30.{endless}.x"), "it is not a JWT that ends"),
        (
            format!("e30.{other}.x"),
            "it is not meant for audience windlass",
        ),
        ("x".repeat(MAX_TOKEN + 1), "it is longer than 8 KiB"),
    ] {
        let words = words(accounts.verify(&token).await);
        assert_eq!(
            words,
            format!("the ServiceAccountToken is not accepted: {problem}")
        );
    }
    let ended = words(accounts.verify(&token(1, Duration::ZERO)).await);
    assert!(ended.contains("expired at"), "{ended}");
    assert_eq!(said.asked(), 0);
}

#[tokio::test]
async fn only_service_accounts_and_the_audience_count() {
    for (username, audiences, problem) in [
        ("admin", &["windlass"][..], "it is of no service account"),
        (
            "system:node:a",
            &["windlass"],
            "it is of no service account",
        ),
        (
            "system:serviceaccount:team",
            &["windlass"],
            "it is of no service account",
        ),
        (
            "system:serviceaccount::web",
            &["windlass"],
            "its namespace has no good name",
        ),
        (
            "system:serviceaccount:team:web",
            &[],
            "it is not meant for audience windlass",
        ),
        (
            "system:serviceaccount:team:web",
            &["other"],
            "it is not meant for audience windlass",
        ),
    ] {
        let accounts = accounts(&Said::new(username, audiences), KEEP);
        let words = words(accounts.verify(&token(1, KEEP)).await);
        assert!(
            words.ends_with(problem),
            "{username} {audiences:?}: {words}"
        );
    }
}

#[tokio::test]
async fn garbage_pushes_out_nothing_good_and_takes_no_room() {
    let said = Said::web();
    let accounts = accounts(&said, KEEP);
    let good = token(0, KEEP);
    accounts.verify(&good).await.unwrap();
    said.refuses();
    for id in 1..=20_000 {
        accounts.verify(&token(id, KEEP)).await.unwrap_err();
    }
    let (accepted, refused) = accounts.cache().len();
    assert!(accepted == 1 && refused <= 10_000, "{accepted} {refused}");
    accounts.verify(&good).await.unwrap();
}

#[test]
fn a_token_says_who_issued_it() {
    let of = |payload: serde_json::Value| {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(payload.to_string());
        is_of_windlass(&format!("e30.{payload}.x"))
    };
    assert!(of(json!({"iss": "windlass", "name": "a", "mesh": "b"})));
    assert!(!of(
        json!({"iss": "https://kubernetes.default.svc", "aud": ["a"]})
    ));
    assert!(!of(json!({"iss": "kubernetes/serviceaccount"})));
    assert!(is_of_windlass("garbage"), "which is for Windlass to refuse");
}
