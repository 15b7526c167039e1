//! From the way a process ended to what people are told about it.

use rbee_crds::{Time, reason, worker::Failure};
use rbee_wire::ErrorCode;

/// Longest part of a log that is shown in a message, bytes.
pub const TAIL_BYTES: usize = 600;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It was not this hive's child, so nobody told.
    Unknown,
}

/// A process that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub exit: Exit,
    /// The kernel killed a process for want of memory while this one ran.
    pub out_of_memory: bool,
    /// The last lines that it wrote.
    pub log_tail: String,
    /// What its very last line says is wrong.
    pub said: Option<ErrorCode>,
}

impl Ended {
    /// The reason that another process would end for just as well, as long as it is started with the same file.
    pub fn last_word(&self) -> Option<&'static str> {
        match self.said.filter(|_| self.exit == Exit::Code(1))? {
            ErrorCode::InvalidModelFile => Some(reason::INVALID_MODEL_FILE),
            ErrorCode::UnsupportedFormat => Some(reason::UNSUPPORTED_FORMAT),
            _ => None,
        }
    }
}

impl Exit {
    /// 128 + n for signal n, as shells have it.
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(128 + signal),
            Self::Unknown => None,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Code(code) => format!("exited with code {code}"),
            Self::Signal(signal) => format!("was killed by signal {signal} ({})", signal_name(signal)),
            Self::Unknown => "ended while no hive was its parent; its exit code is not known".to_owned(),
        }
    }
}

/// Names a failure that nobody asked for. `was_ready`: it had begun to answer requests.
pub fn crashed(ended: &Ended, pid: u32, was_ready: bool, at: Time) -> Failure {
    let oom = ended.out_of_memory && ended.exit == Exit::Signal(9);
    let reason = match (oom, was_ready) {
        (true, _) => reason::OOM_KILLED,
        (false, true) => reason::WORKER_CRASHED,
        (false, false) => match ended.said {
            Some(ErrorCode::InsufficientMemory) => reason::INSUFFICIENT_MEMORY,
            _ => ended.last_word().unwrap_or(reason::WORKER_START_FAILED),
        },
    };
    let mut message = format!("worker process {pid} {}", ended.exit.words());
    if oom {
        message.push_str(
            "; the machine was out of memory: use a smaller quantization, fewer slots or a smaller contextLength",
        );
    }
    Failure {
        reason: reason.into(),
        message: with_tail(message, &ended.log_tail),
        exit_code: ended.exit.code(),
        time: Some(at),
    }
}

/// The message, followed by the last lines of the log where there are any.
pub fn with_tail(message: String, tail: &str) -> String {
    if tail.is_empty() { message } else { format!("{message}; last lines of its log: {tail}") }
}

/// The code in the last line of a log, if that is a worker's `error: CODE: …`.
pub fn said(text: &str) -> Option<ErrorCode> {
    let last = text.lines().map(str::trim).rfind(|l| !l.is_empty())?;
    ErrorCode::parse(last.strip_prefix("error: ")?.split_once(": ")?.0)
}

/// The last lines of a log, on one line, without control characters, at most [`TAIL_BYTES`].
pub fn tail(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    let mut shown: Vec<String> = lines.rev().take(5).map(clean).collect();
    shown.reverse();
    let joined = shown.join(" | ");
    let mut start = joined.len().saturating_sub(TAIL_BYTES);
    while !joined.is_char_boundary(start) {
        start += 1;
    }
    joined[start..].to_owned()
}

/// `SIGKILL` for 9. The numbers that differ between platforms are Linux's.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => "no common signal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Time {
        Time(jiff::Timestamp::UNIX_EPOCH)
    }

    fn ended(exit: Exit, out_of_memory: bool) -> Ended {
        Ended { exit, out_of_memory, log_tail: "oops".into(), said: None }
    }

    #[test]
    fn a_crash_names_the_signal_and_the_log() {
        let failure = crashed(&ended(Exit::Signal(9), false), 7, true, at());
        assert_eq!((failure.reason.as_str(), failure.exit_code), ("WorkerCrashed", Some(137)));
        assert_eq!(failure.message, "worker process 7 was killed by signal 9 (SIGKILL); last lines of its log: oops");
        let failure = crashed(&ended(Exit::Code(1), false), 7, false, at());
        assert_eq!((failure.reason.as_str(), failure.exit_code), ("WorkerStartFailed", Some(1)));
        assert!(failure.message.contains("exited with code 1"), "{}", failure.message);
    }

    #[test]
    fn a_worker_that_says_what_is_wrong_with_its_file_is_believed() {
        let text =
            "INFO loading\nerror: INVALID_MODEL_FILE: cannot load the model /m.gguf: tensor \"x\" is missing\n\n";
        assert_eq!(said(text), Some(ErrorCode::InvalidModelFile));
        assert_eq!(said("error: INVALID_MODEL_FILE: x\nthread panicked"), None, "it is not the last line");
        assert_eq!(said("error: NO_SUCH_CODE: x"), None);
        let refused = |exit, said| crashed(&Ended { said, ..ended(exit, false) }, 7, false, at()).reason;
        assert_eq!(refused(Exit::Code(1), Some(ErrorCode::InvalidModelFile)), "InvalidModelFile");
        assert_eq!(refused(Exit::Code(1), Some(ErrorCode::UnsupportedFormat)), "UnsupportedFormat");
        assert_eq!(refused(Exit::Code(1), Some(ErrorCode::InsufficientMemory)), "InsufficientMemory");
        assert_eq!(refused(Exit::Signal(9), Some(ErrorCode::InvalidModelFile)), "WorkerStartFailed");
    }

    #[test]
    fn out_of_memory_needs_the_kernels_word_and_its_signal() {
        let reason = |exit, oom| crashed(&ended(exit, oom), 7, true, at()).reason;
        assert_eq!(reason(Exit::Signal(9), true), "OOMKilled");
        assert_eq!(reason(Exit::Signal(11), true), "WorkerCrashed");
        assert_eq!(reason(Exit::Unknown, true), "WorkerCrashed");
    }

    #[test]
    fn a_tail_is_short_and_has_no_control_characters() {
        assert_eq!(tail("a\n\nb\u{1b}[31m red\nc\n"), "a | b[31m red | c");
        let long = "é".repeat(2000);
        assert!(tail(&long).len() <= TAIL_BYTES && tail(&long).starts_with('é'));
    }
}
