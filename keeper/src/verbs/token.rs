//! `rbee token`: a new token, for a hive that shall join or a person who shall look or rule.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use rbee_crds::names::SYSTEM_NAMESPACE;
use rbee_wire::token::Token;
use serde_json::{Value, json};

use crate::{
    bootstrap::spki_hash,
    context::Context,
    error::{Error, Exit},
    session::Session,
    span::parse_span,
    target::{ConnectArgs, NamespaceArg},
};

#[derive(Clone, Debug, clap::Args)]
pub struct TokenArgs {
    /// What its bearer may do
    #[arg(long, value_enum, default_value = "hive")]
    pub role: Role,
    /// How long it is good for; 0: for ever
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_span)]
    pub ttl: Duration,
    /// Whom it is for, as the API server will name the bearer
    #[arg(long, value_name = "NAME")]
    pub subject: Option<String>,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// What a token's bearer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Join as a hive
    Hive,
    /// Everything
    Admin,
    /// Look
    Viewer,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Hive => "hive",
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }
}

/// Makes a token, lets the server keep its hash, and prints it.
///
/// # Errors
/// A server that is no queen, refuses or does not answer.
pub async fn run(args: &TokenArgs, context: &Context) -> Result<Exit, Error> {
    let session = Session::open(&args.connect, &NamespaceArg::default(), context).await?;
    session.target.announce(context);
    let ca = session.target.ca_pem.as_deref().ok_or_else(|| {
        Error::failed(format!(
            "{} is not a queen's: a hive joins it with --kubeconfig, people by its own means",
            session.target.name
        ))
    })?;
    let hash = spki_hash(ca).map_err(|e| Error::failed(e.to_string()))?;
    let id: [u8; 5] = rand::rng().random();
    let token = Token::mint(hash, &hex::encode(id), rand::rng().random()).map_err(|e| Error::failed(e.to_string()))?;
    let expiration = match SignedDuration::try_from(args.ttl) {
        Ok(ttl) if !ttl.is_zero() => Some((Timestamp::now() + ttl).to_string()),
        _ => None,
    };
    let body = object(&token, args.role, expiration.as_deref(), args.subject.as_deref());
    session.server.create(session.resource("secrets")?, Some(SYSTEM_NAMESPACE), &[], &body).await?;
    context.out.line(token.reveal())?;
    Ok(Exit::Done)
}

/// The Secret that the server keeps: never the token, only its hash.
fn object(token: &Token, role: Role, expiration: Option<&str>, subject: Option<&str>) -> Value {
    let mut data = json!({"hash": BASE64.encode(token.hash_hex()), "role": BASE64.encode(role.as_str())});
    for (key, value) in [("expiration", expiration), ("subject", subject)] {
        if let Some(value) = value {
            data[key] = BASE64.encode(value).into();
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": format!("token-{}", token.id()), "namespace": SYSTEM_NAMESPACE},
        "type": "rbee.dev/token",
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_gets_a_hash_and_no_token() {
        let token = Token::mint([1; 32], "a1", [2; 32]).unwrap();
        let secret = object(&token, Role::Viewer, Some("2026-01-01T00:00:00Z"), None);
        let text = secret.to_string();
        assert!(!text.contains(token.reveal()) && !text.contains(&BASE64.encode(token.reveal())));
        assert_eq!(secret["metadata"]["name"], "token-a1");
        assert_eq!(secret["data"]["role"], BASE64.encode("viewer"));
        assert_eq!(secret["data"]["hash"], BASE64.encode(token.hash_hex()));
        assert!(secret["data"]["expiration"].is_string() && secret["data"]["subject"].is_null());
    }
}
