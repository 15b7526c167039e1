//! Why a command failed, in the words that people see, and the exit code that goes with it.

use std::io;

use kube::core::Status;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Done,
    /// 1: the operation failed, and what failed was said already.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 130: interrupted by Ctrl+C.
    Interrupted,
    /// Any other, as `diff` has them.
    Code(u8),
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Interrupted => 130,
            Self::Code(code) => code,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed. Display is the whole line that goes to stderr.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server said no.
    #[error("{}", server_line(.0))]
    Server(Box<Status>),
    /// No answer came.
    #[error("error: no answer from the API server: {0}")]
    Unreachable(String),
    /// What was typed makes no sense.
    #[error("error: {0}")]
    Usage(String),
    /// The operation failed.
    #[error("error: {0}")]
    Failed(String),
    /// No server is known to talk to.
    #[error("error: {0}")]
    NoServer(String),
    /// The answer could not be written.
    #[error("error: cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

/// `Error from server (NotFound): workers.rbee.dev "x" not found`, as kubectl says it.
fn server_line(status: &Status) -> String {
    match status.code {
        401 => "error: the API server does not know this token (Unauthorized): use the one of `rbee kubeconfig` or `rbee token --role admin`".into(),
        _ if status.reason.is_empty() => format!("Error from server: {}", status.message),
        _ => format!("Error from server ({}): {}", status.reason, status.message),
    }
}

impl Error {
    /// A failed operation.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Whether the server says that there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Server(status) if status.code == 404)
    }

    /// The server's refusal, if it is one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Server(status) => Some(status),
            _ => None,
        }
    }

    /// The exit code's name.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    /// Whether the reader of the answer has gone: nobody is left to be told.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Server(status),
            other => Self::Unreachable(chain(&other)),
        }
    }
}

/// An error with its causes, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_as_in_kubectl() {
        let mut status = Status::failure("workers.rbee.dev \"x\" not found", "NotFound");
        status.code = 404;
        let error = Error::Server(status.boxed());
        assert_eq!(error.to_string(), "Error from server (NotFound): workers.rbee.dev \"x\" not found");
        assert!(error.is_not_found());
        assert_eq!(error.exit().code(), 1);
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        assert_eq!(Error::usage("x").exit().code(), 2);
        assert_eq!([Exit::Done.code(), Exit::Interrupted.code(), Exit::Code(3).code()], [0, 130, 3]);
    }
}
