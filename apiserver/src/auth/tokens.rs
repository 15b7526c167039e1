//! Bearer tokens: each is a Secret that holds its hash, its role and, for a hive that joined, its name.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rbee_wire::token::{self, Token};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::identity::{Identity, Role};

/// Where token Secrets lie.
pub const NAMESPACE: &str = "rbee-system";
/// Their `type`.
pub const SECRET_TYPE: &str = "rbee.dev/token";

/// Why a bearer is not let in. The answer to the caller is the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("the bearer is no token of this server")]
    Unknown,
    #[error("the token has expired")]
    Expired,
}

/// Name of the Secret of the token with this id.
pub fn secret_name(id: &str) -> String {
    format!("token-{id}")
}

/// The Secret that lets `token` in.
pub fn secret(token: &Token, role: &Role, subject: Option<&str>, expiration: Option<jiff::Timestamp>) -> Value {
    let role = match role {
        Role::Admin => "admin",
        Role::Hive => "hive",
        Role::Viewer => "viewer",
    };
    let mut data = json!({"hash": STANDARD.encode(token.hash_hex()), "role": STANDARD.encode(role)});
    if let Some(subject) = subject {
        data["subject"] = STANDARD.encode(subject).into();
    }
    if let Some(end) = expiration {
        data["expiration"] = STANDARD.encode(end.to_string()).into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret_name(token.id()), "namespace": NAMESPACE},
        "type": SECRET_TYPE,
        "data": data,
    })
}

/// Who holds `bearer`. `find` gives the Secret with a name in [`NAMESPACE`].
pub fn authenticate(
    bearer: &str,
    now: jiff::Timestamp,
    find: impl FnOnce(&str) -> Option<Value>,
) -> Result<Identity, AuthError> {
    // Hashed before anything is looked up, so that known and unknown ids take the same time.
    let hash = token::hash_hex(bearer);
    let token = Token::parse(bearer).map_err(|_| AuthError::Unknown)?;
    let secret = find(&secret_name(token.id())).filter(|s| s["type"] == SECRET_TYPE).ok_or(AuthError::Unknown)?;
    let field = |name: &str| {
        let text = secret["data"][name].as_str()?;
        String::from_utf8(STANDARD.decode(text).ok()?).ok()
    };
    let kept = field("hash").unwrap_or_default();
    if !bool::from(kept.as_bytes().ct_eq(hash.as_bytes())) {
        return Err(AuthError::Unknown);
    }
    if let Some(end) = field("expiration") {
        let lasts = end.parse::<jiff::Timestamp>().is_ok_and(|end| end > now);
        if !lasts {
            return Err(AuthError::Expired);
        }
    }
    let role = match field("role").as_deref() {
        Some("admin") => Role::Admin,
        Some("hive") => Role::Hive,
        Some("viewer") => Role::Viewer,
        _ => return Err(AuthError::Unknown),
    };
    Ok(Identity::of_token(token.id(), role, field("subject").as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str) -> Token {
        Token::mint([1; 32], id, [2; 32]).unwrap()
    }

    fn at(text: &str) -> jiff::Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_is_let_in_as_what_its_secret_says() {
        let now = at("2026-01-01T00:00:00Z");
        let hive = token("h");
        let kept = secret(&hive, &Role::Hive, Some("node-1"), None);
        let who = authenticate(hive.reveal(), now, |name| (name == "token-h").then_some(kept)).unwrap();
        assert_eq!(who, Identity::hive("node-1"));
        let admin = token("a");
        let kept = secret(&admin, &Role::Admin, None, None);
        assert_eq!(*authenticate(admin.reveal(), now, |_| Some(kept)).unwrap().role(), Role::Admin);
    }

    #[test]
    fn others_are_not() {
        let now = at("2026-01-01T00:00:00Z");
        let good = token("x");
        let kept = secret(&good, &Role::Viewer, None, Some(at("2026-01-02T00:00:00Z")));
        let ask = |bearer: &str, now| authenticate(bearer, now, |_| Some(kept.clone()));
        assert!(ask(good.reveal(), now).is_ok());
        assert_eq!(ask(good.reveal(), at("2026-01-03T00:00:00Z")), Err(AuthError::Expired));
        let other = Token::mint([1; 32], "x", [3; 32]).unwrap();
        assert_eq!(ask(other.reveal(), now), Err(AuthError::Unknown));
        assert_eq!(ask("wrong", now), Err(AuthError::Unknown));
        assert_eq!(authenticate(good.reveal(), now, |_| None), Err(AuthError::Unknown));
        let mut plain = secret(&good, &Role::Admin, None, None);
        plain["type"] = "Opaque".into();
        assert_eq!(authenticate(good.reveal(), now, |_| Some(plain)), Err(AuthError::Unknown));
    }
}
