//! Trusting a queen by a token alone: its CA is fetched and must have the public key whose hash the token holds.

use std::time::Duration;

use rbee_wire::token::{Token, TokenError, spki_sha256};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::error::chain;

/// Why a CA is not to be had or not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("the token cannot be used: {0}")]
    Token(#[from] TokenError),
    #[error("cannot fetch the CA from {url}: {cause}; check the address and that the queen runs there")]
    Fetch { url: String, cause: String },
    #[error("the CA is no PEM certificate: {0}")]
    Pem(String),
    #[error(
        "the server at {url} is not the one that the token was made for: the hash of its CA differs. Ask for a new token, or check the address"
    )]
    OtherServer { url: String },
}

/// The DER certificates of a PEM text.
///
/// # Errors
/// [`BootstrapError::Pem`] where there is none.
pub fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, BootstrapError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(|c| c.map(|c| c.as_ref().to_vec())).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(BootstrapError::Pem("there is no CERTIFICATE block".into())),
        Err(error) => Err(BootstrapError::Pem(error.to_string())),
    }
}

/// sha256 of the public key (SPKI) of the first certificate of a PEM text.
///
/// # Errors
/// [`BootstrapError::Pem`] where it is no certificate.
pub fn spki_hash(pem: &str) -> Result<[u8; 32], BootstrapError> {
    let first = certificates(pem)?.swap_remove(0);
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from(first)).map_err(|e| BootstrapError::Pem(e.to_string()))?;
    let contents = store.roots.first().map(|r| r.subject_public_key_info.as_ref().to_vec()).unwrap_or_default();
    Ok(spki_sha256(&sequence(&contents)))
}

/// The contents of a DER SEQUENCE with its tag and length before them.
fn sequence(contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut der = vec![0x30];
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        der.push(short);
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
        der.push(0x80 | bytes.len() as u8);
        der.extend(bytes);
    }
    der.extend_from_slice(contents);
    der
}

/// Fetches the CA of the queen at `url` and checks it against the token; nothing secret is sent before that.
///
/// # Errors
/// [`BootstrapError`]: the token, the fetch or the check.
pub async fn ca_of(url: &str, token: &str) -> Result<String, BootstrapError> {
    let token = Token::parse(token)?;
    let failed = |e: reqwest::Error| BootstrapError::Fetch { url: url.to_owned(), cause: chain(&e) };
    // Unverified on purpose: the answer is public and counts only if its hash is the token's.
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(20))
        .build()
        .map_err(failed)?;
    let address = format!("{}/cacerts", url.trim_end_matches('/'));
    let response = client.get(address).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let pem = response.text().await.map_err(failed)?;
    check(&pem, &token, url)?;
    Ok(pem)
}

fn check(pem: &str, token: &Token, url: &str) -> Result<(), BootstrapError> {
    if certificates(pem)?.len() == 1 && spki_hash(pem)? == *token.ca_sha256() {
        Ok(())
    } else {
        Err(BootstrapError::OtherServer { url: url.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl req -x509 -newkey ec`; its SPKI's hash was computed by openssl too.
    const PEM: &str = include_str!("../testdata/ca.pem");
    const SPKI_SHA256: &str = include_str!("../testdata/ca.spki.sha256");

    #[test]
    fn the_hash_is_openssls() {
        assert_eq!(hex::encode(spki_hash(PEM).unwrap()), SPKI_SHA256.trim());
    }

    #[test]
    fn another_ca_is_refused() {
        let right = Token::mint(spki_hash(PEM).unwrap(), "t", [0; 32]).unwrap();
        let wrong = Token::mint([7; 32], "t", [0; 32]).unwrap();
        assert!(check(PEM, &right, "https://x").is_ok());
        assert!(matches!(check(PEM, &wrong, "https://x"), Err(BootstrapError::OtherServer { .. })));
        assert!(check("no pem", &right, "https://x").is_err());
    }

    #[test]
    fn lengths_are_der() {
        assert_eq!(sequence(&[0; 3])[..2], [0x30, 3]);
        assert_eq!(sequence(&[0; 200])[..3], [0x30, 0x81, 200]);
        assert_eq!(sequence(&[0; 300])[..4], [0x30, 0x82, 1, 44]);
    }
}
