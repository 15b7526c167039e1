//! Keys: those that clients show to the gateway, and the one that the gateway shows to a worker.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The keys that clients may show; only their hashes are kept.
#[derive(Clone, Default)]
pub struct Keys {
    hashes: Vec<[u8; 32]>,
}

impl Keys {
    /// Empty keys are left out; without any key nobody is asked for one.
    pub fn new(keys: impl IntoIterator<Item = String>) -> Self {
        Self {
            hashes: keys
                .into_iter()
                .filter(|k| !k.trim().is_empty())
                .map(|k| Sha256::digest(k.trim()).into())
                .collect(),
        }
    }

    /// One key a line; empty lines and those that begin with `#` are left out.
    pub fn from_lines(text: &str) -> Self {
        Self::new(text.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned))
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Compares with every key, in a time that tells nothing about them.
    pub fn accept(&self, shown: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(shown).into();
        self.hashes.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&hash)).into()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.hashes.len())
    }
}

/// The key that a Worker's processes want.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkerKey(Arc<str>);

impl WorkerKey {
    pub fn new(key: &str) -> Self {
        Self(key.into())
    }

    /// The secret itself, for the `Authorization` header.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_accepted_whole_and_never_shown() {
        let keys = Keys::new(["alpha".to_owned(), " beta\n".to_owned(), "  ".to_owned()]);
        assert!(keys.accept("alpha") && keys.accept("beta"));
        assert!(!keys.accept("alph") && !keys.accept("alphab") && !keys.accept("") && !keys.accept("Alpha"));
        assert_eq!(format!("{keys:?} {:?}", WorkerKey::new("secret")), "2 keys WorkerKey(…)");
        assert!(Keys::new([String::new()]).is_empty());
        let keys = Keys::from_lines("# ours\nalpha\n\n  beta \n");
        assert!(keys.accept("alpha") && keys.accept("beta") && !keys.accept("# ours") && !keys.accept(""));
    }
}
