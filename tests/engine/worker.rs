//! A worker process by itself, without a hive.

use std::{fs, path::Path};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Running, Sandbox, http, wait_until};

/// A worker that is ready. Dropping it stops it.
pub struct Worker {
    pub running: Running,
    pub url: String,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.running.signal(Signal::KILL);
        let _ = self.running.child.wait();
    }
}

/// Starts a process that is a worker, with a port of its own.
pub fn start(sandbox: &Sandbox, model: &Path, more: &[&str]) -> Running {
    let model = model.display().to_string();
    sandbox.start(&[&["worker", "--model", &model, "--port", "0"], more].concat())
}

impl Worker {
    /// Starts a worker and waits until it is ready.
    #[track_caller]
    pub fn ready(sandbox: &Sandbox, model: &Path, more: &[&str]) -> Self {
        let mut running = start(sandbox, model, more);
        let mut url = None;
        wait_until("the worker is ready", 60, || {
            assert_eq!(running.child.try_wait().expect("its status"), None, "it ended: {}", running.stderr());
            let stderr = running.stderr();
            url = stderr.lines().find_map(|l| l.strip_prefix("listening on ").map(str::to_owned));
            let health = url.as_ref().and_then(|url| http("GET", &format!("{url}/health"), &[], None));
            health.is_some_and(|(_, body)| {
                serde_json::from_str::<Value>(&body).is_ok_and(|health| health["state"] == "ready")
            })
        });
        Self { running, url: url.expect("it was found") }
    }

    /// The answer to a POST.
    pub fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let (status, body) = http("POST", &format!("{}{path}", self.url), &[], Some(&body.to_string()))?;
        Some((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
    }

    /// A greedy completion of at most that many tokens.
    pub fn complete(&self, prompt: &str, tokens: u32) -> Option<(u16, Value)> {
        self.post("/v1/completions", &json!({"model": "any", "prompt": prompt, "max_tokens": tokens, "temperature": 0}))
    }

    /// The text of a completion that must succeed.
    #[track_caller]
    pub fn text(&self, prompt: &str, tokens: u32) -> String {
        let (status, body) = self.complete(prompt, tokens).expect("an answer");
        assert_eq!(status, 200, "{body}");
        body["choices"][0]["text"].as_str().expect("a text").to_owned()
    }
}

/// A number of `/proc/PID/status`, in bytes; 0 when the process is gone.
pub fn memory(pid: i32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kb| kb * 1024)
}
