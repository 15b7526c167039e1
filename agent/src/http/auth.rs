//! Who may call a hive, as with kubelet: the API is asked who the bearer is and whether that one may, and its answer is
//! remembered for two minutes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use rbee_crds::GROUP;
use rbee_wire::{ApiError, ErrorCode};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::causes::words;

/// How long an answer of the API counts.
const REMEMBERED: Duration = Duration::from_secs(120);
/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Answers kept; unknown bearers take places too.
const ANSWERS: usize = 1024;
/// Longest bearer that is looked at, bytes.
const MAX_BEARER: usize = 16 << 10;

/// What a caller is about to do with this hive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// See workers, backends, metrics: `get` on the Hive.
    Read,
    /// Declare something; the API itself decides about that, here only the caller is looked at.
    Declare,
}

/// What the API said about a bearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    Unknown,
    NotAllowed,
}

/// Hash of a bearer, and what that one is about to do.
type Question = ([u8; 32], Wish);

/// Asks the API and remembers.
pub struct Guard {
    client: Client,
    hive: String,
    address: String,
    /// By hash of the bearer: no token is kept. Never held across an await.
    answers: Mutex<HashMap<Question, (Answer, Instant)>>,
}

impl Guard {
    pub fn new(client: Client, hive: &str, address: &str) -> Self {
        let (hive, address) = (hive.to_owned(), address.to_owned());
        Self { client, hive, address, answers: Mutex::default() }
    }

    /// Lets the bearer of an Authorization header in; the answer is the bearer.
    ///
    /// # Errors
    /// 401 without a known bearer, 403 for one who may not, 503 when the API cannot be asked.
    pub async fn admit<'a>(&self, header: Option<&'a [u8]>, wish: Wish) -> Result<&'a str, ApiError> {
        let bearer = header.and_then(bearer).ok_or_else(|| self.unknown())?;
        let key = (Sha256::digest(bearer).into(), wish);
        let answer = match self.remembered(&key) {
            Some(answer) => answer,
            None => {
                let asked = tokio::time::timeout(LIMIT, self.ask(bearer, wish)).await;
                let answer = asked.map_err(|_| unavailable("it timed out"))?.map_err(|e| unavailable(&words(&e)))?;
                self.remember(key, answer);
                answer
            }
        };
        match answer {
            Answer::Yes => Ok(bearer),
            Answer::Unknown => Err(self.unknown()),
            Answer::NotAllowed => {
                let message = format!("this token may not see hive {}: it takes `get` on hives.{GROUP}", self.hive);
                Err(ApiError::new(ErrorCode::Forbidden, message))
            }
        }
    }

    fn unknown(&self) -> ApiError {
        let hint =
            "send `Authorization: Bearer TOKEN` with the token of `rbee kubeconfig` or `rbee token --role viewer`";
        ApiError::invalid_api_key(&self.address, hint)
    }

    fn remembered(&self, key: &Question) -> Option<Answer> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(key).filter(|(_, at)| at.elapsed() < REMEMBERED).map(|(answer, _)| *answer)
    }

    fn remember(&self, key: Question, answer: Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS {
            answers.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        }
        if answers.len() >= ANSWERS {
            // Many unknown bearers at once: better ask again than grow.
            answers.clear();
        }
        answers.insert(key, (answer, Instant::now()));
    }

    async fn ask(&self, bearer: &str, wish: Wish) -> Result<Answer, kube::Error> {
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let spec = TokenReviewSpec { token: bearer.to_owned(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else { return Ok(Answer::Unknown) };
        if wish == Wish::Declare {
            return Ok(Answer::Yes);
        }
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = SubjectAccessReview { spec: self.question(user), ..SubjectAccessReview::default() };
        let status = reviews.create(&PostParams::default(), &review).await?.status;
        Ok(if status.is_some_and(|s| s.allowed) { Answer::Yes } else { Answer::NotAllowed })
    }

    fn question(&self, user: UserInfo) -> SubjectAccessReviewSpec {
        SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            resource_attributes: Some(ResourceAttributes {
                group: Some(GROUP.into()),
                resource: Some("hives".into()),
                name: Some(self.hive.clone()),
                verb: Some("get".into()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        }
    }
}

fn unavailable(why: &str) -> ApiError {
    let message = format!("the API server cannot be asked whether this token may: {why}");
    ApiError::new(ErrorCode::Unavailable, message).with_retry_after(5)
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter.
pub fn bearer(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= MAX_BEARER).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearers_are_read_and_nothing_else() {
        assert_eq!(bearer(b"Bearer abc"), Some("abc"));
        assert_eq!(bearer(b"bearer  abc "), Some("abc"));
        let long = [b"Bearer ".as_slice(), &vec![b'x'; MAX_BEARER + 1]].concat();
        for header in [b"abc".as_slice(), b"Basic abc", b"Bearer ", b"Bearer", b"", b"Bearer \xff", &long] {
            assert_eq!(bearer(header), None);
        }
    }
}
