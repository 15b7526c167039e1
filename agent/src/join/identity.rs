//! `identity.json`: what a hive that has joined a queen is known by.

use std::{io, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::paths;

/// The identity of one hive at one queen. It holds a secret: mode 0600, no Debug.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub hive: String,
    pub queen_url: String,
    /// The CA's certificates, DER in base64.
    pub ca: Vec<String>,
    pub token: String,
    pub issued: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

impl Identity {
    /// When it has to be renewed: after two thirds of its life.
    pub fn renew_at(&self) -> Option<Timestamp> {
        let life = self.expires?.duration_since(self.issued);
        self.issued.checked_add(life / 3 * 2).ok()
    }

    /// Whether it still lets anybody in.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

/// The identity that was kept, if there is one that can be read.
pub fn read(path: &Path) -> Option<Identity> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => {
            tracing::warn!(path = %path.display(), "cannot read the identity, joining anew: {e}");
            return None;
        }
    };
    let identity = serde_json::from_slice(&bytes);
    identity.inspect_err(|e| tracing::warn!(path = %path.display(), "the identity is damaged, joining anew: {e}")).ok()
}

/// Keeps the identity, and its token apart for the API client, which reads that file again now and then.
pub fn write(path: &Path, token_path: &Path, identity: &Identity) -> io::Result<()> {
    paths::write_private(path, &serde_json::to_vec(identity)?)?;
    paths::write_private(token_path, identity.token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_and_is_renewed_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let (path, token_path) = (dir.path().join("identity.json"), dir.path().join("token"));
        let issued: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let identity = Identity {
            hive: "a".into(),
            queen_url: "https://127.0.0.1:8443".into(),
            ca: vec![],
            token: "t".into(),
            issued,
            expires: Some("2026-01-01T03:00:00Z".parse().unwrap()),
        };
        write(&path, &token_path, &identity).unwrap();
        assert!(read(&path).unwrap() == identity);
        assert_eq!(std::fs::read_to_string(token_path).unwrap(), "t");
        assert_eq!(identity.renew_at(), Some("2026-01-01T02:00:00Z".parse().unwrap()));
        assert!(identity.is_valid(issued) && !identity.is_valid(identity.expires.unwrap()));
        std::fs::write(&path, "{").unwrap();
        assert!(read(&path).is_none() && read(Path::new("/nonexistent")).is_none());
    }
}
