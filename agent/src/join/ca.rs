//! The check that makes a token enough: among the certificates that a server names, the one whose public key the token
//! was made for. Pure.

use rbee_wire::token::spki_sha256;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Why a server's CA is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    #[error("its answer at /cacerts holds no certificate: is this the address of a queen's API server?")]
    NoCertificate,
    #[error(
        "its CA is not the one that the token was made for: the token is from another queen, or somebody is in between"
    )]
    OtherCa,
}

/// The certificates of a PEM text, in DER, whose public key has this sha256.
///
/// # Errors
/// If there is none.
pub fn pinned(pem: &[u8], sha256: &[u8; 32]) -> Result<Vec<Vec<u8>>, CaError> {
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem).flatten().collect();
    if certificates.is_empty() {
        return Err(CaError::NoCertificate);
    }
    let of_the_token = |c: &CertificateDer<'_>| spki(c).is_some_and(|spki| spki_sha256(&spki) == *sha256);
    let pinned: Vec<Vec<u8>> = certificates.into_iter().filter(of_the_token).map(|c| c.to_vec()).collect();
    if pinned.is_empty() { Err(CaError::OtherCa) } else { Ok(pinned) }
}

/// The public key of a certificate that can be a CA: its SubjectPublicKeyInfo in DER.
fn spki(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let mut store = RootCertStore::empty();
    store.add(certificate.clone()).ok()?;
    // A trust anchor holds the value without the SEQUENCE around it.
    let value = &store.roots.first()?.subject_public_key_info;
    let mut der = vec![0x30];
    match value.len() {
        n @ 0..=0x7f => der.push(n as u8),
        n @ 0x80..=0xff => der.extend([0x81, n as u8]),
        n => {
            let [high, low] = u16::try_from(n).ok()?.to_be_bytes();
            der.extend([0x82, high, low]);
        }
    }
    der.extend_from_slice(value);
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PublicKeyData};

    fn ca(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, [u8; 32]) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        (pem, spki_sha256(&key.subject_public_key_info()))
    }

    #[test]
    fn the_ca_of_the_token_is_found_among_others() {
        let (one, hash_one) = ca(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (two, hash_two) = ca(&rcgen::PKCS_ED25519);
        let both = format!("{one}{two}");
        let (first, second) =
            (pinned(both.as_bytes(), &hash_one).unwrap(), pinned(both.as_bytes(), &hash_two).unwrap());
        assert_eq!((first.len(), second.len()), (1, 1));
        assert_ne!(first, second);
        assert_eq!(pinned(one.as_bytes(), &hash_two), Err(CaError::OtherCa));
    }

    #[test]
    fn long_keys_are_wrapped_as_der_wants_it() {
        let (pem, hash) = ca(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(pinned(pem.as_bytes(), &hash).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_certificate_is_no_ca() {
        for text in ["", "<html>not found</html>", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let refused = pinned(text.as_bytes(), &[0; 32]);
            assert!(matches!(refused, Err(CaError::NoCertificate | CaError::OtherCa)), "{text}: {refused:?}");
        }
    }
}
