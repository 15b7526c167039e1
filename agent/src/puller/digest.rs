//! The sha256 of a file.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// As 64 hex digits.
///
/// # Errors
/// What cannot be read; [`io::ErrorKind::Interrupted`] once `go_on` says no.
pub(super) fn sha256(mut from: impl Read, go_on: impl Fn() -> bool) -> io::Result<String> {
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
    while go_on() {
        match from.read(&mut piece)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            n => hasher.update(&piece[..n]),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}
