//! The server's own certificate authority and its certificate, made at the first start and kept in `pki/`.

mod files;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

const CA_DAYS: i64 = 3650;
const SERVER_DAYS: i64 = 365;
/// The server's certificate is made anew when it would end sooner than this.
const RENEW_DAYS: i64 = 30;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} cannot be used: restore the folder from a backup, or remove it; every hive must then join again")]
    Unusable {
        path: String,
        #[source]
        source: rcgen::Error,
    },
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("cannot set TLS up")]
    Tls(#[from] rustls::Error),
}

/// The authority: who holds a token that names its key's hash trusts nobody else.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
    spki_sha256: [u8; 32],
}

/// Names and addresses that the server's certificate is good for.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub addresses: Vec<IpAddr>,
    pub host_name: Option<String>,
}

impl Authority {
    /// An authority that ends with the process.
    pub fn generate() -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let pem = authority_params()?.self_signed(&key)?.pem();
        Self::from_pem(&pem, key)
    }

    /// The one in `folder` (`ca.crt`, `ca.key`), made if there is none.
    pub fn open(folder: &Path) -> Result<Self, PkiError> {
        let (cert_path, key_path) = (folder.join("ca.crt"), folder.join("ca.key"));
        let unusable = |path: &Path| {
            let path = path.display().to_string();
            move |source| PkiError::Unusable { path, source }
        };
        match (files::read(&cert_path)?, files::read(&key_path)?) {
            (Some(pem), Some(key)) => {
                let key = KeyPair::from_pem(&key).map_err(unusable(&key_path))?;
                Self::from_pem(&pem, key)
            }
            _ => {
                let made = Self::generate()?;
                files::write(&key_path, &made.issuer.key().serialize_pem())?;
                files::write(&cert_path, &made.pem)?;
                Ok(made)
            }
        }
    }

    fn from_pem(pem: &str, key: KeyPair) -> Result<Self, PkiError> {
        let spki_sha256 = Sha256::digest(key.subject_public_key_info()).into();
        let der = CertificateDer::from(pem_der(pem)?);
        Ok(Self { issuer: Issuer::from_ca_cert_pem(pem, key)?, pem: pem.to_owned(), der, spki_sha256 })
    }

    /// The certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// sha256 of the public key (SPKI, DER): what tokens carry.
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }

    /// TLS for the server, with a certificate for these names: the one in `folder` while it is good for them, else a new one.
    pub fn server_config(&self, folder: Option<&Path>, names: &Names) -> Result<Arc<ServerConfig>, PkiError> {
        let (pem, key) = match folder {
            Some(folder) => self.kept_certificate(folder, names)?,
            None => self.certificate(names)?,
        };
        let chain = vec![CertificateDer::from(pem_der(&pem)?), self.der.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn certificate(&self, names: &Names) -> Result<(String, KeyPair), PkiError> {
        let key = KeyPair::generate()?;
        let pem = server_params(names)?.signed_by(&key, &self.issuer)?.pem();
        Ok((pem, key))
    }

    /// `server.crt` and `server.key`; `server.names` says what they are good for, and until when.
    fn kept_certificate(&self, folder: &Path, names: &Names) -> Result<(String, KeyPair), PkiError> {
        let path = |name: &str| folder.join(name);
        let wanted = fingerprint(&self.spki_sha256, names);
        let now = OffsetDateTime::now_utc().unix_timestamp();
        if let (Some(pem), Some(key), Some(kept)) =
            (files::read(&path("server.crt"))?, files::read(&path("server.key"))?, files::read(&path("server.names"))?)
        {
            let (until, kept) = kept.split_once('\n').unwrap_or_default();
            let lasts = until.parse::<i64>().is_ok_and(|until| until - now > RENEW_DAYS * 86_400);
            if let (true, true, Ok(key)) = (lasts, kept == wanted, KeyPair::from_pem(&key)) {
                return Ok((pem, key));
            }
        }
        let (pem, key) = self.certificate(names)?;
        files::write(&path("server.key"), &key.serialize_pem())?;
        files::write(&path("server.crt"), &pem)?;
        files::write(&path("server.names"), &format!("{}\n{wanted}", now + SERVER_DAYS * 86_400))?;
        Ok((pem, key))
    }
}

fn authority_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named("rbee-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, CA_DAYS);
    Ok(params)
}

fn server_params(names: &Names) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(host_names(names))?;
    params.distinguished_name = named("rbee-apiserver");
    params.subject_alt_names.extend(addresses(names).into_iter().map(SanType::IpAddress));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    valid(&mut params, SERVER_DAYS);
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}

/// From a day ago, so that clocks may differ, for so many days.
fn valid(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(days);
}

fn host_names(names: &Names) -> Vec<String> {
    let mut all = vec!["localhost".to_owned(), "kubernetes".to_owned()];
    all.extend(names.host_name.clone().filter(|n| !all.contains(n)));
    all
}

fn addresses(names: &Names) -> Vec<IpAddr> {
    let mut all = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    all.extend(names.addresses.iter().filter(|a| !a.is_unspecified() && !a.is_loopback()));
    all
}

fn fingerprint(ca: &[u8; 32], names: &Names) -> String {
    format!("{} {:?} {:?}", hex::encode(ca), host_names(names), addresses(names))
}

fn pem_der(pem: &str) -> Result<Vec<u8>, PkiError> {
    use rustls::pki_types::pem::PemObject;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
    Ok(der.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_the_same_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let pki = folder.path().join("pki");
        let first = Authority::open(&pki).unwrap();
        let again = Authority::open(&pki).unwrap();
        assert_eq!((first.pem(), first.spki_sha256()), (again.pem(), again.spki_sha256()));
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str| std::fs::metadata(pki.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("ca.key"), 0o600);
    }

    #[test]
    fn the_servers_certificate_is_kept_until_its_names_change() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        let names = Names { addresses: vec!["10.0.0.1".parse().unwrap()], host_name: Some("bee".into()) };
        let (first, _) = authority.kept_certificate(folder.path(), &names).unwrap();
        assert_eq!(authority.kept_certificate(folder.path(), &names).unwrap().0, first);
        assert_ne!(authority.kept_certificate(folder.path(), &Names::default()).unwrap().0, first);
    }

    #[test]
    fn a_broken_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        drop(Authority::open(folder.path()).unwrap());
        std::fs::write(folder.path().join("ca.key"), "broken").unwrap();
        let error = Authority::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("ca.key"), "{error}");
    }
}
