//! Access tokens: `rbt1.<base64url sha256 of the CA's public key SPKI>.<id>.<base64url of 32 random bytes>`.
//!
//! The first part lets a machine that knows nothing but the token check the server's CA. The server keeps only
//! [`Token::hash_hex`]. A token has no Debug that shows it and no Serialize; [`Token::reveal`] is the one way out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use sha2::{Digest, Sha256};
use std::fmt;

/// Beginning of every token of this format.
pub const PREFIX: &str = "rbt1";

/// A well-formed token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    ca_sha256: [u8; 32],
    id: String,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("not an rbee token: it must begin with `rbt1.` and have four parts with dots between")]
    Shape,
    #[error("the token's hash of the CA is not base64url of 32 bytes; copy the whole token")]
    CaHash,
    #[error("the token's id must have 1 to 63 of the characters a-z, 0-9 and -")]
    Id,
    #[error("the token's secret is not base64url of 32 bytes; copy the whole token")]
    Secret,
}

impl Token {
    /// Puts a token together. `ca_sha256` is [`spki_sha256`] of the CA, `secret` 32 random bytes.
    pub fn mint(ca_sha256: [u8; 32], id: &str, secret: [u8; 32]) -> Result<Self, TokenError> {
        check_id(id)?;
        let text = format!("{PREFIX}.{}.{id}.{}", BASE64URL.encode(ca_sha256), BASE64URL.encode(secret));
        Ok(Self { ca_sha256, id: id.to_owned(), text })
    }

    /// Reads a token; the errors never repeat it.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let parts: Vec<&str> = text.split('.').collect();
        let [PREFIX, ca, id, secret] = parts[..] else { return Err(TokenError::Shape) };
        let ca_sha256 = bytes32(ca).ok_or(TokenError::CaHash)?;
        check_id(id)?;
        bytes32(secret).ok_or(TokenError::Secret)?;
        Ok(Self { ca_sha256, id: id.to_owned(), text: text.to_owned() })
    }

    /// sha256 of the CA's public key (SPKI, DER).
    pub fn ca_sha256(&self) -> &[u8; 32] {
        &self.ca_sha256
    }

    /// The name under which the server keeps the token; no secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The token itself, for the Authorization header or for the person who asked for it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Hex sha256 of the whole token: what the server keeps.
    pub fn hash_hex(&self) -> String {
        hash_hex(&self.text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Hex sha256 of the text of a token.
pub fn hash_hex(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

/// sha256 of a public key's SPKI in DER: the first part of a token.
pub fn spki_sha256(spki_der: &[u8]) -> [u8; 32] {
    Sha256::digest(spki_der).into()
}

fn bytes32(text: &str) -> Option<[u8; 32]> {
    BASE64URL.decode(text).ok()?.try_into().ok()
}

fn check_id(id: &str) -> Result<(), TokenError> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=63).contains(&id.len()) && id.bytes().all(good) { Ok(()) } else { Err(TokenError::Id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_hides_itself() {
        let token = Token::mint([1; 32], "a1b2", [2; 32]).unwrap();
        let read = Token::parse(&format!("{}\n", token.reveal())).unwrap();
        assert_eq!(read, token);
        assert_eq!((read.id(), read.ca_sha256()), ("a1b2", &[1; 32]));
        assert_eq!(read.hash_hex(), hash_hex(token.reveal()));
        assert_eq!(read.hash_hex().len(), 64);
        assert!(!format!("{token:?}").contains(token.reveal()));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = Token::mint([1; 32], "id", [2; 32]).unwrap();
        let parts: Vec<&str> = good.reveal().split('.').collect();
        for (text, error) in [
            ("".to_owned(), TokenError::Shape),
            (good.reveal().replace("rbt1", "rbt2"), TokenError::Shape),
            (format!("{}.x", good.reveal()), TokenError::Shape),
            (format!("rbt1.abc.id.{}", parts[3]), TokenError::CaHash),
            (format!("rbt1.{}.ID.{}", parts[1], parts[3]), TokenError::Id),
            (format!("rbt1.{}..{}", parts[1], parts[3]), TokenError::Id),
            (format!("rbt1.{}.id.{}", parts[1], &parts[3][1..]), TokenError::Secret),
        ] {
            assert_eq!(Token::parse(&text), Err(error), "{text}");
        }
    }
}
