//! The header's bytes, read one after the other. No length from the file is believed before that many bytes can be there, and what
//! is only checked passes through one small buffer.

use std::io::{BufReader, ErrorKind, Read};

use super::{GgufError, limits};
use crate::shown::shown;

/// Bytes that are looked at together.
const STEP: usize = 1 << 16;

pub(super) struct Bytes<R> {
    reader: BufReader<R>,
    at: u64,
    file_bytes: u64,
    scratch: Vec<u8>,
}

impl<R: Read> Bytes<R> {
    pub fn new(reader: R, file_bytes: u64) -> Self {
        Self { reader: BufReader::with_capacity(STEP, reader), at: 0, file_bytes, scratch: Vec::new() }
    }

    /// Bytes that were read.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes of the file that were not read.
    pub fn left(&self) -> u64 {
        self.file_bytes.saturating_sub(self.at)
    }

    fn fill(&mut self, buffer: &mut [u8], what: &str) -> Result<(), GgufError> {
        let cut = |at: u64| GgufError::Truncated { at, what: shown(what) };
        let wanted = buffer.len() as u64;
        if self.at + wanted > limits::HEADER_BYTES {
            return Err(GgufError::TooMany {
                what: "bytes of header",
                count: self.at + wanted,
                limit: limits::HEADER_BYTES,
            });
        }
        if wanted > self.left() {
            return Err(cut(self.file_bytes));
        }
        match self.reader.read_exact(buffer) {
            Ok(()) => {
                self.at += wanted;
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err(cut(self.at)),
            Err(e) => Err(GgufError::Io(e.to_string())),
        }
    }

    pub fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut buffer = [0; N];
        self.fill(&mut buffer, what)?;
        Ok(buffer)
    }

    pub fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.take(what)?))
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.take(what)?))
    }

    /// A number of things that take at least `min_bytes` each.
    pub fn count(&mut self, what: &'static str, limit: u64, min_bytes: u64) -> Result<u64, GgufError> {
        let count = self.u64(what)?;
        if count > limit {
            return Err(GgufError::TooMany { what, count, limit });
        }
        if count * min_bytes > self.left() {
            return Err(GgufError::DoesNotFit { what: what.to_owned(), count, left: self.left() });
        }
        Ok(count)
    }

    /// `elements` of `N` bytes each, given to `each` one by one.
    pub fn elements<const N: usize>(
        &mut self,
        elements: u64,
        what: &str,
        mut each: impl FnMut([u8; N]) -> Result<(), GgufError>,
    ) -> Result<(), GgufError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut missing = elements;
        while missing > 0 {
            let step = missing.min((STEP / N) as u64);
            scratch.resize(step as usize * N, 0);
            self.fill(&mut scratch, what)?;
            scratch.as_chunks::<N>().0.iter().try_for_each(|element| each(*element))?;
            missing -= step;
        }
        self.scratch = scratch;
        Ok(())
    }

    /// The length of a string, in bytes.
    pub fn length(&mut self, what: &str, limit: u64) -> Result<u64, GgufError> {
        let bytes = self.u64(what)?;
        if bytes > limit {
            return Err(GgufError::TooMany { what: "bytes of a string", count: bytes, limit });
        }
        if bytes > self.left() {
            let what = format!("bytes of {}", shown(what));
            return Err(GgufError::DoesNotFit { what, count: bytes, left: self.left() });
        }
        Ok(bytes)
    }

    /// A string of a length that was read, valid until the next read.
    pub fn text(&mut self, bytes: u64, what: &str) -> Result<&str, GgufError> {
        let at = self.at;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let mut missing = usize::try_from(bytes).unwrap_or(usize::MAX);
        // In steps, so that a short reader with a big promise costs one step.
        while missing > 0 {
            let start = scratch.len();
            let step = missing.min(STEP);
            scratch.resize(start + step, 0);
            self.fill(&mut scratch[start..], what)?;
            missing -= step;
        }
        self.scratch = scratch;
        std::str::from_utf8(&self.scratch).map_err(|_| GgufError::Utf8 { what: shown(what), at })
    }

    /// Passes over a string of a length that was read; that it is UTF-8 is checked all the same.
    pub fn skip_text(&mut self, bytes: u64, what: &str) -> Result<(), GgufError> {
        let at = self.at;
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut missing = bytes;
        // Bytes of a letter of which the rest comes in the next step.
        let mut begun = 0;
        while missing > 0 {
            let step = missing.min((STEP - begun) as u64);
            scratch.resize(begun + step as usize, 0);
            self.fill(&mut scratch[begun..], what)?;
            missing -= step;
            begun = match std::str::from_utf8(&scratch) {
                Ok(_) => 0,
                Err(e) if e.error_len().is_none() && missing > 0 => {
                    let whole = e.valid_up_to();
                    scratch.copy_within(whole.., 0);
                    scratch.len() - whole
                }
                Err(_) => return Err(GgufError::Utf8 { what: shown(what), at }),
            };
        }
        self.scratch = scratch;
        Ok(())
    }
}
