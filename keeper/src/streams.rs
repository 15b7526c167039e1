//! Where answers and words about them go: stdout and stderr, or memory in tests.

use std::{
    io::{self, IsTerminal, Read, Write},
    sync::{Arc, Mutex, PoisonError},
};

/// A stream to write to. Everything is flushed at once: people and pipes wait for it.
#[derive(Clone, Debug)]
pub struct Out(Sink);

#[derive(Clone, Debug)]
enum Sink {
    Stdout,
    Stderr,
    Memory(Arc<Mutex<Vec<u8>>>),
}

impl Out {
    pub fn stdout() -> Self {
        Self(Sink::Stdout)
    }

    pub fn stderr() -> Self {
        Self(Sink::Stderr)
    }

    /// Keeps what is written; see [`Self::contents`].
    pub fn memory() -> Self {
        Self(Sink::Memory(Arc::default()))
    }

    /// Writes the text as it is.
    pub fn text(&self, text: &str) -> io::Result<()> {
        match &self.0 {
            Sink::Stdout => write_all(io::stdout().lock(), text),
            Sink::Stderr => write_all(io::stderr().lock(), text),
            Sink::Memory(bytes) => write_all(&mut *bytes.lock().unwrap_or_else(PoisonError::into_inner), text),
        }
    }

    /// Writes the text and a newline.
    pub fn line(&self, text: &str) -> io::Result<()> {
        self.text(&format!("{text}\n"))
    }

    /// Writes a word about what happens; that it cannot be written stops nothing.
    pub fn note(&self, text: &str) {
        let _ = self.line(text);
    }

    /// Whether a person may be looking.
    pub fn is_terminal(&self) -> bool {
        match &self.0 {
            Sink::Stdout => io::stdout().is_terminal(),
            Sink::Stderr => io::stderr().is_terminal(),
            Sink::Memory(_) => false,
        }
    }

    /// What was written into memory; empty for the others.
    pub fn contents(&self) -> String {
        match &self.0 {
            Sink::Memory(bytes) => {
                String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
            }
            _ => String::new(),
        }
    }
}

fn write_all(mut to: impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// Where `-` reads from.
#[derive(Clone, Debug)]
pub enum Input {
    Stdin,
    Text(String),
}

impl Input {
    /// Everything there is, at most `limit` bytes.
    ///
    /// # Errors
    /// What cannot be read, is no UTF-8 or is longer.
    pub fn read_to_end(&self, limit: usize) -> io::Result<String> {
        let mut text = String::new();
        match self {
            Self::Text(given) => text.push_str(given),
            Self::Stdin => {
                io::stdin().lock().take(limit as u64 + 1).read_to_string(&mut text)?;
            }
        }
        if text.len() > limit {
            return Err(io::Error::other(format!("more than {limit} bytes")));
        }
        Ok(text)
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Stdin) && io::stdin().is_terminal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_what_clones_write() {
        let out = Out::memory();
        out.clone().line("a").unwrap();
        out.note("b");
        assert_eq!(out.contents(), "a\nb\n");
        assert!(!out.is_terminal());
    }

    #[test]
    fn input_has_a_limit() {
        assert_eq!(Input::Text("abc".into()).read_to_end(3).unwrap(), "abc");
        assert!(Input::Text("abcd".into()).read_to_end(3).is_err());
    }
}
