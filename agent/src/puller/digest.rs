//! The sha256 of a file.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// As 64 hex digits; None once `go_on` says no.
///
/// # Errors
/// What cannot be read.
pub(super) fn sha256(mut from: impl Read, go_on: impl Fn() -> bool) -> io::Result<Option<String>> {
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
    while go_on() {
        match from.read(&mut piece) {
            Ok(0) => return Ok(Some(hex::encode(hasher.finalize()))),
            Ok(n) => hasher.update(&piece[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}
