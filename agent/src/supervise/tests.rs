//! The owner task over fake effects and a clock that is wound by hand; then real processes from small scripts.

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    path::Path,
    sync::{Mutex, atomic::AtomicU32, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use rbee_crds::AssignmentState;
use rbee_wire::worker::{Health, WorkerState};
use tokio::sync::Notify;

use super::*;
use crate::{
    plan::tests::{available, cpu, health},
    supervise::{
        failure::{Ended, Exit},
        observe::{NotStarted, Silence},
        process::Program,
        state::{Key, Nonce},
    },
};

/// A machine that only remembers. A process ends when it is told to.
#[derive(Default)]
struct Fake {
    pids: AtomicU32,
    ends: Mutex<BTreeMap<ProcessId, Arc<Notify>>>,
    exits: Mutex<BTreeMap<ProcessId, Exit>>,
    said: Mutex<Vec<String>>,
    saved: Mutex<Option<Saved>>,
    begun: Option<tokio::time::Instant>,
}

impl Fake {
    fn new() -> Arc<Self> {
        Arc::new(Self { begun: Some(tokio::time::Instant::now()), ..Self::default() })
    }

    fn end(&self, process: ProcessId, exit: Exit) {
        self.exits.lock().unwrap().insert(process, exit);
        self.ends.lock().unwrap().entry(process).or_default().notify_one();
    }

    fn live(&self) -> Vec<u32> {
        let exits = self.exits.lock().unwrap();
        (1..=self.pids.load(Ordering::SeqCst)).filter(|pid| !exits.keys().any(|p| p.pid == *pid)).collect()
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

#[async_trait]
impl Effects for Fake {
    fn now(&self) -> Tick {
        self.begun.map_or(Tick::ZERO, |b| b.elapsed())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn nonce(&self) -> Nonce {
        Nonce::new("fake")
    }

    async fn save(&self, saved: Saved) {
        *self.saved.lock().unwrap() = Some(saved);
    }

    async fn start(&self, order: StartOrder) -> Result<ProcessId, NotStarted> {
        let written = self.saved.lock().unwrap().as_ref().is_some_and(|s| {
            s.replicas
                .iter()
                .any(|r| r.key == order.desired.key && r.process.as_ref().is_some_and(|p| p.nonce == "fake"))
        });
        assert!(written, "the nonce is on disk before there is a process");
        let pid = self.pids.fetch_add(1, Ordering::SeqCst) + 1;
        self.said.lock().unwrap().push(format!("start {} on {}", order.desired.key.name, order.port));
        Ok(ProcessId { pid, start_time: 1 })
    }

    async fn ended(&self, _: &Key, process: ProcessId) -> Ended {
        let end = self.ends.lock().unwrap().entry(process).or_default().clone();
        end.notified().await;
        let exit = self.exits.lock().unwrap()[&process];
        Ended { exit, out_of_memory: false, log_tail: "last words".into(), said: None }
    }

    async fn health(&self, _: &str, _: ProcessId) -> Result<Health, Silence> {
        Ok(health(WorkerState::Ready, 0))
    }

    async fn ask_to_stop(&self, order: StopOrder) {
        self.said.lock().unwrap().push(format!("stop {}", order.process.pid));
        self.end(order.process, Exit::Code(0));
    }

    fn kill(&self, process: ProcessId) {
        self.end(process, Exit::Signal(9));
    }

    async fn end_stray(&self, pid: u32) {
        self.said.lock().unwrap().push(format!("end stray {pid}"));
    }

    async fn release(&self, key: &Key) -> Result<(), String> {
        self.said.lock().unwrap().push(format!("release {}", key.name));
        Ok(())
    }
}

struct Stage {
    fake: Arc<Fake>,
    assignments: watch::Sender<Mirror<Assignment>>,
    views: watch::Receiver<Arc<Vec<ReplicaView>>>,
    notices: mpsc::Receiver<Notice>,
    handle: Handle,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<()>,
    // Inputs that end would look like a hive that ends.
    _files: watch::Sender<Arc<BTreeMap<String, FileState>>>,
    _backends: watch::Sender<Vec<HiveBackend>>,
}

fn assignment(name: &str, deleting: bool) -> Arc<Assignment> {
    let mut object: Assignment = serde_json::from_value(serde_json::json!({
        "apiVersion": "rbee.dev/v1alpha1", "kind": "Assignment",
        "metadata": {"name": name, "namespace": "default", "uid": name, "finalizers": ["rbee.dev/process"]},
        "spec": {"workerName": "story", "workerGeneration": 1, "templateHash": "h", "hiveName": "a", "backend": "cpu",
            "device": 0, "slots": 1, "memoryBytes": 1, "epoch": 1,
            "model": {"name": "bee", "id": "bee", "uri": "builtin:tinybee"}},
    }))
    .unwrap();
    if deleting {
        object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    }
    Arc::new(object)
}

fn mirror(objects: &[Arc<Assignment>]) -> Mirror<Assignment> {
    let objects = objects.iter().map(|a| (a.metadata.uid.clone().unwrap(), a.clone())).collect();
    Mirror { lists: 1, objects: Arc::new(objects) }
}

fn stage(objects: &[Arc<Assignment>]) -> Stage {
    let fake = Fake::new();
    let (assignments, assignments_out) = watch::channel(mirror(objects));
    let (files, files_out) = watch::channel(Arc::new(available()));
    let (backends, backends_out) = watch::channel(cpu(1_000_000));
    let (views_in, views) = watch::channel(Arc::default());
    let (notices_in, notices) = mpsc::channel(16);
    let ports = Ports {
        assignments: assignments_out,
        files: files_out,
        backends: backends_out,
        views: views_in,
        notices: notices_in,
    };
    let (supervisor, handle) = Supervisor::new(fake.clone(), World::default(), Timing::default(), 8001, None, ports);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(supervisor.run(shutdown.clone(), true));
    Stage { fake, assignments, views, notices, handle, shutdown, running, _files: files, _backends: backends }
}

impl Stage {
    async fn state(&mut self, name: &str, wanted: AssignmentState) -> ReplicaView {
        let is = |views: &Arc<Vec<ReplicaView>>| {
            views.iter().find(|v| v.key.name == name && v.report.as_ref().is_some_and(|r| r.state == wanted)).cloned()
        };
        let waited = async {
            loop {
                if let Some(view) = is(&self.views.borrow_and_update()) {
                    return view;
                }
                self.views.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(900), waited)
            .await
            .unwrap_or_else(|_| panic!("{name} never {wanted:?}"))
    }

    async fn hello(&self, pid: u32) -> bool {
        let url = format!("http://127.0.0.1:{}", 8000 + pid);
        self.handle.hello(Hello { nonce: "fake".into(), worker_id: "w".into(), pid, url }).await
    }
}

#[tokio::test(start_paused = true)]
async fn from_an_assignment_to_ready_and_to_released() {
    let mut stage = stage(&[assignment("story-1", false)]);
    stage.state("story-1", AssignmentState::Starting).await;
    assert!(stage.hello(1).await);
    let view = stage.state("story-1", AssignmentState::Ready).await;
    let report = view.report.unwrap();
    assert_eq!((report.url.as_deref(), report.pid, report.incarnation), (Some("http://127.0.0.1:8001"), Some(1), 1));
    stage.assignments.send_replace(mirror(&[assignment("story-1", true)]));
    stage.state("story-1", AssignmentState::Stopped).await;
    stage.assignments.send_replace(mirror(&[]));
    stage.shutdown.cancel();
    stage.running.await.unwrap();
    assert_eq!(stage.fake.said(), ["start story-1 on 8001", "stop 1", "release story-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_killed_worker_is_replaced_and_that_is_told() {
    let mut stage = stage(&[assignment("story-1", false)]);
    stage.state("story-1", AssignmentState::Starting).await;
    stage.hello(1).await;
    stage.state("story-1", AssignmentState::Ready).await;
    stage.fake.end(ProcessId { pid: 1, start_time: 1 }, Exit::Signal(9));
    let view = stage.state("story-1", AssignmentState::Pending).await;
    let failure = view.report.unwrap().last_failure.unwrap();
    assert_eq!((failure.reason.as_str(), failure.exit_code), ("WorkerCrashed", Some(137)));
    let notice = stage.notices.recv().await.unwrap();
    assert!(notice.warning && notice.message.contains("story-1") && notice.message.contains("SIGKILL"), "{notice:?}");
    stage.state("story-1", AssignmentState::Starting).await;
    stage.hello(2).await;
    let report = stage.state("story-1", AssignmentState::Ready).await.report.unwrap();
    assert_eq!((report.pid, report.restarts, report.incarnation), (Some(2), 1, 2));
    assert_eq!(stage.fake.live(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_nobody_knows_is_ended() {
    let stage = stage(&[]);
    let url = "http://127.0.0.1:9".to_owned();
    assert!(!stage.handle.hello(Hello { nonce: "other".into(), worker_id: "w".into(), pid: 77, url }).await);
    while stage.fake.said().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.fake.said(), ["end stray 77"]);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_hive_takes_its_workers_with_it() {
    let mut stage = stage(&[assignment("a", false), assignment("b", false)]);
    stage.state("a", AssignmentState::Starting).await;
    stage.state("b", AssignmentState::Starting).await;
    stage.shutdown.cancel();
    stage.running.await.unwrap();
    assert!(stage.fake.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_never_says_where_it_listens_is_given_up_with_growing_pauses() {
    let mut stage = stage(&[assignment("a", false)]);
    let begun = tokio::time::Instant::now();
    for n in 1..=4 {
        let notice = stage.notices.recv().await.unwrap();
        assert_eq!(notice.reason, "WorkerStartFailed", "{notice:?}");
        assert_eq!(stage.fake.pids.load(Ordering::SeqCst), n);
    }
    // Four times thirty seconds, and pauses of 1, 2 and 4 s between.
    assert_eq!(begun.elapsed().as_secs(), 127);
}

fn script(dir: &Path, text: &str) -> Program {
    let exe = dir.join("worker.sh");
    std::fs::write(&exe, text).unwrap();
    let (log, _) = logs::open(&dir.join("log")).unwrap();
    let environment = vec![("PATH".into(), "/usr/bin:/bin".into())];
    Program { exe: "/bin/sh".into(), args: vec![exe.into()], environment, log }
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn pid_in(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (child, process) = process::spawn(script(dir.path(), "echo broken >&2; exit 3")).unwrap();
    assert_eq!(process::wait_child(child, process).await, Exit::Code(3));
    assert_eq!(failure::tail(&logs::end(&dir.path().join("log"), 0).unwrap()), "broken");
    let (child, process) = process::spawn(script(dir.path(), "kill -SEGV $$")).unwrap();
    assert_eq!(process::wait_child(child, process).await, Exit::Signal(11));
    assert!(!process::is_alive(process));
}

#[tokio::test]
async fn grandchildren_end_with_the_worker() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("grandchild");
    let text = format!("sleep 1000 & echo $! > {}; exit 0", note.display());
    let (child, process) = process::spawn(script(dir.path(), &text)).unwrap();
    assert_eq!(process::wait_child(child, process).await, Exit::Code(0));
    let grandchild = pid_in(&note).unwrap();
    let stat = || std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
    wait_until("the grandchild is gone", || stat().is_empty() || stat().contains(") Z ")).await;
}

#[tokio::test]
async fn a_hundred_starts_and_kills_leave_no_zombie_and_no_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let mut pids = vec![];
    for n in 0..100 {
        let (child, process) = process::spawn(script(dir.path(), "sleep 1000")).unwrap();
        pids.push(process.pid);
        let waiting = tokio::spawn(process::wait_child(child, process));
        if n % 2 == 0 {
            process::kill(process);
        } else {
            process::terminate(process);
        }
        assert!(matches!(waiting.await.unwrap(), Exit::Signal(9 | 15)));
    }
    assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    // Other tests of this process open files too.
    assert!(descriptors() < before + 50, "{before} descriptors before, {} after", descriptors());
}

#[tokio::test]
async fn a_process_of_another_hive_is_watched_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("other");
    // A process whose parent ends at once is nobody's child here, as after a hive's restart.
    let text = format!("setsid sh -c 'echo $$ > {}; exec sleep 1000' & exit 0", note.display());
    let status = tokio::process::Command::new("/bin/sh").arg("-c").arg(&text).status().await.unwrap();
    assert_eq!(status.into_raw(), 0);
    wait_until("the process is there", || pid_in(&note).is_some()).await;
    let pid = pid_in(&note).unwrap();
    let process = ProcessId { pid, start_time: process::start_time(pid).unwrap() };
    assert!(process::is_alive(process) && !process::is_alive(ProcessId { start_time: 1, ..process }));
    let waiting = tokio::spawn(process::wait_other(process));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    process::kill(process);
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert!(!process::is_alive(process));
}

#[tokio::test]
async fn a_start_that_was_not_noted_is_found_by_its_nonce() {
    let dir = tempfile::tempdir().unwrap();
    let nonce = format!("test-{}", std::process::id());
    let mut program = script(dir.path(), "exec sleep 1000");
    program.environment.push(("RBEE_NONCE".into(), nonce.clone().into()));
    let (child, process) = process::spawn(program).unwrap();
    wait_until("found", || process::find_by_nonce(&nonce) == Some(process)).await;
    assert_eq!(process::find_by_nonce("test-other"), None);
    process::kill(process);
    process::wait_child(child, process).await;
    assert_eq!(process::find_by_nonce(&nonce), None);
}

#[tokio::test]
async fn a_stopped_process_is_seen_as_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let (child, process) = process::spawn(script(dir.path(), "kill -STOP $$; sleep 1000")).unwrap();
    wait_until("frozen", || process::is_frozen(process)).await;
    assert!(process::is_alive(process));
    process::kill(process);
    assert_eq!(process::wait_child(child, process).await, Exit::Signal(9));
}
