//! A home of its own for each test, the real executable in it, and nothing left afterwards.
#![allow(dead_code)]

pub mod checkpoint;
pub mod cluster;

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// An empty home and an empty environment. Dropping it kills what still runs in it.
pub struct Sandbox {
    dir: TempDir,
    started: AtomicUsize,
}

/// A command that ended.
#[derive(Debug)]
pub struct Finished {
    pub command: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Asserts exit 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Asserts this exit code and that stderr holds each text.
    #[track_caller]
    pub fn refused(self, code: i32, texts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for text in texts {
            assert!(self.stderr.contains(text), "no {text:?} in {self:#?}");
        }
        self
    }
}

/// A process that stays.
pub struct Running {
    pub child: Child,
    pub stdout: PathBuf,
    pub stderr: PathBuf,
}

impl Sandbox {
    pub fn new() -> Self {
        Self {
            dir: tempfile::Builder::new().prefix("rbee-test-").tempdir().expect("a temporary folder"),
            started: AtomicUsize::new(0),
        }
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        path
    }

    /// The executable with these arguments, in this home and nothing else of the caller's environment.
    pub fn command(&self, args: &[&str]) -> Command {
        self.foreign(Path::new(env!("CARGO_BIN_EXE_rbee")), args)
    }

    /// Another program in the same surroundings.
    pub fn foreign(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env_clear().current_dir(self.dir.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path()).env("RBEE_HOME", self.home());
        command
    }

    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Finished {
        self.finish(self.command(args), args, "")
    }

    #[track_caller]
    pub fn feed(&self, args: &[&str], stdin: &str) -> Finished {
        self.finish(self.command(args), args, stdin)
    }

    #[track_caller]
    pub fn finish(&self, mut command: Command, args: &[&str], stdin: &str) -> Finished {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut input = child.stdin.take().expect("a pipe");
        let text = stdin.to_owned();
        let feeder = thread::spawn(move || {
            let _ = input.write_all(text.as_bytes());
        });
        let output = child.wait_with_output().expect("its output");
        feeder.join().expect("the feeder ends");
        Finished {
            command: args.join(" "),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a process that stays; its output goes to files.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_command(self.command(args))
    }

    pub fn start_command(&self, mut command: Command) -> Running {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let (stdout, stderr) = (self.path(&format!("{number}.out")), self.path(&format!("{number}.err")));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).expect("a file"))
            .stderr(File::create(&stderr).expect("a file"))
            .spawn()
            .expect("the program starts");
        Running { child, stdout, stderr }
    }

    /// `rbee up` on free ports, serving.
    pub fn up(&self) -> Up {
        let running = self.start(&[
            "up",
            "--gateway-listen",
            "127.0.0.1:0",
            "--api-listen",
            "127.0.0.1:0",
            "--hive-listen",
            "127.0.0.1:0",
        ]);
        let urls = ["gateway", "hive"].map(|part| running.url(part));
        let [gateway, hive] = urls;
        let ready = format!("{gateway}/readyz");
        wait_until("the gateway is ready", 30, || status(&ready) == Some(200));
        Up { running, gateway, hive }
    }

    /// Live processes of this home: pid and command line.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let mark = format!("RBEE_HOME={}", self.home().display());
        let numbers = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
        numbers
            .filter_map(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
                let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let ours = environment.split(|b| *b == 0).any(|v| v == mark.as_bytes());
                (ours && !line.is_empty()).then(|| (pid, String::from_utf8_lossy(&line).replace('\0', " ")))
            })
            .collect()
    }

    #[track_caller]
    pub fn nothing_left(&self) {
        wait_until("no process is left", 10, || self.processes().is_empty());
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for _ in 0..50 {
            let left = self.processes();
            left.iter().for_each(|(pid, _)| kill(*pid, Signal::KILL));
            if left.is_empty() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// `rbee up` with its addresses.
pub struct Up {
    pub running: Running,
    pub gateway: String,
    pub hive: String,
}

impl Running {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// The address after `PART: listening on` on stderr.
    #[track_caller]
    pub fn url(&self, part: &str) -> String {
        let mark = format!("{part}: listening on ");
        let mut url = None;
        wait_until(&format!("{mark} in {}", self.stderr.display()), 30, || {
            url = self.stderr().lines().find_map(|l| l.split_once(&mark).map(|(_, url)| url.trim().to_owned()));
            url.is_some()
        });
        url.expect("it was found")
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Waits for the end and returns the exit code (128 + n after signal n).
    #[track_caller]
    pub fn wait(&mut self, seconds: u64) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let mut status = None;
        wait_until("the process ends", seconds, || {
            status = self.child.try_wait().expect("its status");
            status.is_some()
        });
        let status = status.expect("it ended");
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }
}

/// Sends a signal to a process of a sandbox; one that is gone is no error.
pub fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Polls until the condition holds, or fails with what was waited for.
#[track_caller]
pub fn wait_until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// One request over plain HTTP on loopback; the answer's status and body. Its runtime has a thread of its own, so that
/// it can be called from any test.
pub fn http(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&str>) -> Option<(u16, String)> {
    thread::scope(|scope| scope.spawn(|| request(method, url, headers, body)).join().ok()?)
}

fn request(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&str>) -> Option<(u16, String)> {
    // reqwest is built without a choice of its own; a second install changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().ok()?;
        let mut request = client.request(method.parse().ok()?, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.unwrap_or_default()))
    })
}

/// The status of a GET; None when nobody answers.
pub fn status(url: &str) -> Option<u16> {
    http("GET", url, &[], None).map(|(status, _)| status)
}

/// The reference answers of tinybee.
pub fn expected() -> Vec<serde_json::Value> {
    serde_json::from_str(include_str!("../data/tinybee.expected.json")).expect("reference answers")
}

/// Skips loudly, or fails where everything must run.
pub fn missing(what: &str) {
    assert!(std::env::var_os("RBEE_TEST_EVERYTHING").is_none(), "{what} is needed, and RBEE_TEST_EVERYTHING is set");
    eprintln!("SKIPPED: {what} is not on this machine");
}
