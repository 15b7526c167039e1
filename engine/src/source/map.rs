//! Files as memory: their pages are the operating system's, shared by all processes that map them and never copied.

use bytes::Bytes;
use std::fs::File;
use std::io;

/// Maps a whole file for reading.
///
/// # Errors
/// The operating system's.
pub fn map_file(file: &File) -> io::Result<Bytes> {
    // SAFETY: the mapping is private and only read. Nothing protects from somebody else who writes into the file or cuts it: the first
    // changes numbers that are read as plain bytes, the second ends the process with SIGBUS.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(map))
}

/// Touches pieces of mapped files, one piece after the other, from a thread of its own, so that the first use does not wait for each
/// page alone. Without a thread pages come as they are used.
pub(super) fn prefetch(pieces: Vec<Bytes>) {
    // Linux maps the pages of so many bytes around the one that is touched, and reads as many from a disk.
    const AROUND: usize = 64 << 10;
    let touch = move || {
        let touched = pieces.iter().flat_map(|piece| piece.iter().step_by(AROUND));
        let sum = touched.fold(0u8, |sum, &byte| sum.wrapping_add(byte));
        std::hint::black_box(sum);
    };
    let started = std::thread::Builder::new().name("prefetch".to_owned()).spawn(touch);
    if let Err(error) = started {
        tracing::debug!(%error, "no thread to read the weights ahead");
    }
}
