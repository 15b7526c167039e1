//! Processes: made in a group of their own, known by pid and start time, waited for without taking the exit codes of
//! others, ended together with all that they started.

use std::{
    ffi::OsString,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::supervise::{failure::Exit, state::ProcessId};

/// A program to run.
pub struct Program {
    pub exe: PathBuf,
    pub args: Vec<OsString>,
    /// All of its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Takes its standard output and error.
    pub log: File,
}

/// Starts a program: standard input empty, a process group of its own, nothing inherited but the environment given.
pub fn spawn(program: Program) -> io::Result<(Child, ProcessId)> {
    let Program { exe, args, environment, log } = program;
    let mut command = Command::new(exe);
    command.args(args).env_clear().envs(environment).process_group(0).kill_on_drop(false);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("a child without a pid"))?;
    // Under memory pressure the kernel takes a worker before it takes the hive. Raising the score needs no privilege;
    // where there is no such file there is nothing to raise.
    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "500");
    // A child is there until it is waited for, so its start time can be read even if it has ended.
    let start_time = start_time(pid).unwrap_or(0);
    Ok((child, ProcessId { pid, start_time }))
}

/// Waits for a child of ours. Its group is ended before its pid is given back, so that the signal reaches nobody else.
pub async fn wait_child(mut child: Child, process: ProcessId) -> Exit {
    // Without a pidfd the wait below still tells; only the group's end comes a moment later.
    let _ = gone(process.pid).await;
    kill_group(process.pid);
    let status = child.wait().await;
    use std::os::unix::process::ExitStatusExt;
    match status.map(|s| (s.code(), s.signal())) {
        Ok((Some(code), _)) => Exit::Code(code),
        Ok((None, Some(signal))) => Exit::Signal(signal),
        Ok((None, None)) | Err(_) => Exit::Unknown,
    }
}

/// Waits for a process that another hive started.
pub async fn wait_other(process: ProcessId) {
    while is_alive(process) {
        if gone(process.pid).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
    kill_group(process.pid);
}

/// Whether exactly this process lives; a zombie does not.
pub fn is_alive(process: ProcessId) -> bool {
    stat(process.pid).is_some_and(|s| s.start_time == process.start_time && !matches!(s.state, 'Z' | 'X'))
}

/// Whether a signal has stopped the process.
pub fn is_frozen(process: ProcessId) -> bool {
    stat(process.pid).is_some_and(|s| s.start_time == process.start_time && s.state == 'T')
}

/// When a process started, in the platform's unit.
pub fn start_time(pid: u32) -> Option<u64> {
    stat(pid).map(|s| s.start_time)
}

/// SIGKILL for a process and its group, if it is still the same.
pub fn kill(process: ProcessId) {
    if is_alive(process) {
        kill_group(process.pid);
    }
}

/// SIGTERM for a process alone, if it is still the same: it drains and ends what it started.
pub fn terminate(process: ProcessId) {
    if is_alive(process)
        && let Some(pid) = pid_of(process.pid)
        && let Err(e) = rustix::process::kill_process(pid, Signal::TERM)
    {
        tracing::warn!(pid = process.pid, "cannot signal: {e}");
    }
}

fn kill_group(pid: u32) {
    let Some(pid) = pid_of(pid) else { return };
    match kill_process_group(pid, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => tracing::warn!(pid = pid.as_raw_nonzero().get(), "cannot end the process group: {e}"),
    }
}

/// Pids 0 and 1 are never a worker's; as targets of a signal they mean others.
fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok().filter(|p| *p > 1)?)
}

/// Whether a process leads a group of its own, as every worker does.
pub fn leads_group(pid: u32) -> bool {
    pid_of(pid).is_some_and(|p| rustix::process::getpgid(Some(p)) == Ok(p))
}

/// What the process table says of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    start_time: u64,
}

#[cfg(target_os = "linux")]
fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `/proc/PID/stat`: the name, in parentheses, may hold anything, so the fields are counted after the last one.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 3 is the state, field 22 the start time in clock ticks since boot.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_time })
}

#[cfg(target_os = "macos")]
fn stat(pid: u32) -> Option<Stat> {
    let mut info = std::mem::MaybeUninit::<libc::proc_bsdinfo>::zeroed();
    let size = i32::try_from(size_of::<libc::proc_bsdinfo>()).ok()?;
    let pid = i32::try_from(pid).ok()?;
    // SAFETY: the buffer is as large as is said, and all its bytes are initialized.
    let written = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTBSDINFO, 0, info.as_mut_ptr().cast(), size) };
    if written != size {
        return None;
    }
    // SAFETY: the call filled all of it.
    let info = unsafe { info.assume_init() };
    let state = match info.pbi_status {
        libc::SSTOP => 'T',
        libc::SZOMB => 'Z',
        _ => 'R',
    };
    Some(Stat { state, start_time: info.pbi_start_tvsec * 1_000_000 + info.pbi_start_tvusec })
}

/// Completes when the process has ended, before it is reaped.
#[cfg(target_os = "linux")]
async fn gone(pid: u32) -> io::Result<()> {
    use rustix::process::{PidfdFlags, pidfd_open};
    let pid = pid_of(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let fd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // SAFETY: the descriptor is owned by the value that is registered, and closed together with it.
    let fd = unsafe { tokio::io::unix::AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) }?;
    fd.readable().await?.retain_ready();
    Ok(())
}

#[cfg(not(target_os = "linux"))]
async fn gone(_: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The live process that has `RBEE_NONCE=nonce` in its environment: one that an earlier hive started in the instant it
/// was killed in, before it could note the pid.
#[cfg(target_os = "linux")]
pub fn find_by_nonce(nonce: &str) -> Option<ProcessId> {
    let entry = format!("RBEE_NONCE={nonce}");
    let pids = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let has_it = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|b| *b == 0).any(|e| e == entry.as_bytes()) && leads_group(*pid)
    };
    let pid = pids.filter(|p| *p != std::process::id()).find(has_it)?;
    let process = ProcessId { pid, start_time: start_time(pid)? };
    is_alive(process).then_some(process)
}

/// Elsewhere the worker's own hello tells, and an unknown one is ended.
#[cfg(not(target_os = "linux"))]
pub fn find_by_nonce(_: &str) -> Option<ProcessId> {
    None
}

/// How many processes the kernel has killed for want of memory: of this control group, else of the machine.
pub fn out_of_memory_kills() -> Option<u64> {
    let group = std::fs::read_to_string("/proc/self/cgroup").ok();
    let path = group.as_deref().and_then(|g| g.lines().find_map(|l| l.strip_prefix("0::/").map(str::to_owned)));
    let events =
        path.and_then(|p| std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(p).join("memory.events")).ok());
    let text = events.or_else(|| std::fs::read_to_string("/proc/vmstat").ok())?;
    text.lines().find_map(|l| l.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_table_is_read_whatever_a_process_calls_itself() {
        let line = "42 (a) R 1) (b) T 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
        assert_eq!(parse_stat(line), Some(Stat { state: 'T', start_time: 98765 }));
        assert_eq!(parse_stat("42 (short) R 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn pids_that_mean_others_are_no_targets() {
        assert!([0, 1, u32::MAX].into_iter().all(|pid| pid_of(pid).is_none()));
    }
}
