//! A whole hive against an API server, with real processes: this test's own executable plays the worker.

mod support;

use std::{collections::BTreeMap, os::unix::fs::MetadataExt, path::Path, time::Duration};

use k8s_openapi::api::{coordination::v1::Lease, events::v1::Event};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use rbee_agent::ClientSource;
use rbee_crds::{Assignment, AssignmentState, Hive, Model, hive::CacheState};
use rbee_wire::token::Token;
use serde_json::{Value, json};
use support::{Hiving, Server, alive, kill, until};

/// Not a test: the process that the hives of the tests start as their worker.
#[test]
#[ignore = "played by the hive's processes"]
fn fake_worker() {
    support::worker::play();
}

fn assignment(hive: &str, name: &str, uri: &str) -> Value {
    json!({
        "apiVersion": "rbee.dev/v1alpha1", "kind": "Assignment",
        "metadata": {"name": name, "namespace": "default", "finalizers": ["rbee.dev/process"]},
        "spec": {"workerName": "story", "workerGeneration": 1, "templateHash": "h", "hiveName": hive, "backend": "cpu",
            "device": 0, "slots": 3, "memoryBytes": 1000, "epoch": 1,
            "model": {"name": "bee", "id": "bee", "uri": uri}},
    })
}

struct Replica {
    pid: u32,
    url: String,
    version: String,
    restarts: i32,
}

/// Waits until the Assignment is Ready with a live process.
async fn ready(server: &Server, name: &str) -> Replica {
    let api: Api<Assignment> = server.namespaced();
    until(&format!("{name} Ready"), || async {
        let object = api.get(name).await.ok()?;
        let status = object.status?;
        let pid = u32::try_from(status.pid?).ok()?;
        (status.state? == AssignmentState::Ready && alive(pid)).then_some(())?;
        assert_eq!(status.slots?.total, 3);
        let version = object.metadata.resource_version?;
        Some(Replica { pid, url: status.url?, version, restarts: status.restarts? })
    })
    .await
}

async fn gone(pid: u32) {
    until(&format!("end of process {pid}"), || async { (!alive(pid)).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_assignment_to_a_process_and_back() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let hive = Hiving::start(&server, "node-life", dir.path()).await;

    let hives: Api<Hive> = server.all();
    let object =
        until("the Hive's status", || async { hives.get("node-life").await.ok().filter(|h| h.status.is_some()) }).await;
    let status = object.status.unwrap();
    assert_eq!(object.metadata.labels.unwrap().get("color").map(String::as_str), Some("green"));
    assert!(status.backends[0].devices[0].memory_bytes > 0 && status.address == Some(hive.url()), "{status:?}");
    let leases: Api<Lease> = server.in_system();
    until("the heartbeat", || async { leases.get("hive-node-life").await.ok()?.spec?.renew_time }).await;

    server.create(assignment("node-life", "story-1", "builtin:tinybee")).await;
    // The queen makes the key; a hive that is faster waits for it.
    server.worker_key("story", "s3cret").await;
    let first = ready(&server, "story-1").await;
    let log = std::fs::metadata(dir.path().join("logs/story-1.log")).unwrap();
    assert_eq!(log.mode() & 0o777, 0o600);
    let told = std::fs::read_to_string(dir.path().join("logs/story-1.log")).unwrap();
    assert!(told.contains("listening on") && !told.contains("s3cret"), "{told}");

    kill(first.pid, libc::SIGKILL);
    let second = until("another process", || async {
        let now = ready(&server, "story-1").await;
        (now.pid != first.pid).then_some(now)
    })
    .await;
    assert_eq!(second.restarts, 1);
    let failure = server.namespaced::<Assignment>().get("story-1").await.unwrap().status.unwrap().last_failure.unwrap();
    assert!(
        failure.reason == "WorkerCrashed" && failure.message.contains("SIGKILL") && failure.exit_code == Some(137),
        "{failure:?}"
    );
    let events: Api<Event> = server.namespaced();
    until("Warning Events about the Assignment and the Worker", || async {
        let all = events.list(&Default::default()).await.ok()?.items;
        let about = |kind: &str, name: &str| {
            all.iter().any(|e| {
                let of = e.regarding.clone().unwrap_or_default();
                e.type_.as_deref() == Some("Warning")
                    && (of.kind.as_deref(), of.name.as_deref()) == (Some(kind), Some(name))
                    && e.note.as_deref().is_some_and(|n| n.contains("story-1") && n.contains("SIGKILL"))
            })
        };
        (about("Assignment", "story-1") && about("Worker", "story")).then_some(())
    })
    .await;

    server.delete::<Assignment>("story-1").await;
    until("the Assignment's end", || async {
        server.namespaced::<Assignment>().get_opt("story-1").await.ok()?.is_none().then_some(())
    })
    .await;
    assert!(!alive(second.pid), "released while its process lives");

    server.create(assignment("node-life", "story-2", "builtin:tinybee")).await;
    let last = ready(&server, "story-2").await;
    hive.stop().await;
    assert!(!alive(last.pid), "a hive that stops takes its workers with it");
    assert!(leases.get_opt("hive-node-life").await.unwrap().is_none());
    let after = server.namespaced::<Assignment>().get("story-2").await.unwrap().status.unwrap();
    assert_eq!((after.state, after.pid), (Some(AssignmentState::Stopped), None));
    server.delete_finally("story-2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_hives_workers_are_taken_over_and_stay_ready() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let hive = Hiving::start(&server, "node-kill", dir.path()).await;
    server.worker_key("story", "s3cret").await;
    server.create(assignment("node-kill", "stays", "builtin:tinybee")).await;
    server.create(assignment("node-kill", "unwanted", "builtin:tinybee")).await;
    let (stays, unwanted) = (ready(&server, "stays").await, ready(&server, "unwanted").await);

    hive.vanish().await;
    assert!(alive(stays.pid) && alive(unwanted.pid));
    // Deleted and given up while no hive was there.
    server.delete_finally("unwanted").await;
    let begun = std::time::Instant::now();
    let hive = Hiving::start(&server, "node-kill", dir.path()).await;
    gone(unwanted.pid).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let after = ready(&server, "stays").await;
    assert_eq!((after.pid, &after.url, after.restarts), (stays.pid, &stays.url, 0));
    assert_eq!(after.version, stays.version, "nothing was written about a worker that did not change");

    // What was taken over is watched as well as a child.
    kill(stays.pid, libc::SIGKILL);
    let next = until("another process", || async {
        let now = ready(&server, "stays").await;
        (now.pid != stays.pid).then_some(now)
    })
    .await;
    assert_eq!(next.restarts, 1);
    hive.stop().await;
    server.delete_finally("stays").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_reported_and_their_absence_is_told() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let hive = Hiving::start(&server, "node-file", dir.path()).await;
    server.worker_key("story", "s3cret").await;
    let uri = format!("file://{}/later.gguf", dir.path().display());
    server
        .create(json!({
            "apiVersion": "rbee.dev/v1alpha1", "kind": "Model", "metadata": {"name": "bee", "namespace": "default"},
            "spec": {"uri": uri},
        }))
        .await;
    server.create(assignment("node-file", "filed", &uri)).await;
    cached(&server, "node-file", &uri, CacheState::Missing).await;
    let assignments: Api<Assignment> = server.namespaced();
    let failed = until("Failed", || async {
        assignments.get("filed").await.ok()?.status.filter(|s| s.state == Some(AssignmentState::Failed))
    })
    .await;
    let failure = failed.last_failure.unwrap();
    assert!(failure.reason == "ModelNotFound" && failure.message.contains("later.gguf"), "{failure:?}");

    std::fs::write(dir.path().join("later.gguf"), rbee_model::builtin::get("tinybee").unwrap().bytes).unwrap();
    cached(&server, "node-file", &uri, CacheState::Available).await;
    ready(&server, "filed").await;
    server.delete::<Assignment>("filed").await;
    server.delete::<Model>("bee").await;
    hive.stop().await;
    server.delete_finally("filed").await;
}

async fn cached(server: &Server, hive: &str, uri: &str, state: CacheState) {
    let hives: Api<Hive> = server.all();
    until(&format!("{uri} {state:?}"), || async {
        let status = hives.get(hive).await.ok()?.status?;
        let found = status.cache?.models.into_iter().find(|m| m.uri == uri)?;
        (found.state == state).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_api_is_open_for_health_alone() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let hive = Hiving::start(&server, "node-http", dir.path()).await;
    let http = reqwest::Client::new();
    let get = |path: &str, key: Option<&str>| {
        let request = http.get(format!("{}{path}", hive.url()));
        let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
        async move { request.send().await.unwrap() }
    };
    let health = get("/v1/health", None).await;
    assert_eq!(health.status(), 200);
    assert!(health.headers().contains_key("x-request-id"));
    for path in ["/v1/workers/list", "/v1/backends/list", "/metrics"] {
        for key in [None, Some("wrong")] {
            let refused = get(path, key).await;
            assert_eq!(refused.status(), 401, "{path} with {key:?}");
            let body: Value = refused.json().await.unwrap();
            assert_eq!(body["error"]["code"], "INVALID_API_KEY", "{body}");
        }
    }
    let callback = http.post(format!("{}/v1/workers/ready", hive.url())).bearer_auth("guess");
    let body = json!({"worker_id": "x", "url": "http://127.0.0.1:1", "model_ref": "m", "backend": "cpu", "device": 0, "memory_bytes": 0});
    assert_eq!(callback.json(&body).send().await.unwrap().status(), 401);
    if let Some(token) = server.admin_token() {
        let listed: Value = get("/v1/workers/list", Some(&token)).await.json().await.unwrap();
        assert!(listed["workers"].is_array(), "{listed}");
        let backends: BTreeMap<String, Value> = get("/v1/backends/list", Some(&token)).await.json().await.unwrap();
        assert_eq!(backends["backends"][0]["name"], "cpu");
        assert!(get("/metrics", Some(&token)).await.text().await.unwrap().contains("rbee_hive_device_memory_bytes"));
    }
    hive.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_be_run_says_which_path() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let hive = Hiving::with_worker(&server, "node-exec", dir.path(), Path::new("/no/such/rbee").to_owned()).await;
    server.worker_key("story", "s3cret").await;
    server.create(assignment("node-exec", "unstartable", "builtin:tinybee")).await;
    let assignments: Api<Assignment> = server.namespaced();
    let failure =
        until("a failure", || async { assignments.get("unstartable").await.ok()?.status?.last_failure }).await;
    assert!(failure.reason == "WorkerStartFailed" && failure.message.contains("/no/such/rbee"), "{failure:?}");
    let _ = assignments.delete("unstartable", &DeleteParams::default()).await.unwrap();
    until("the Assignment's end", || async { assignments.get_opt("unstartable").await.ok()?.is_none().then_some(()) })
        .await;
    hive.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_enough_to_join_and_then_the_hive_has_an_identity_of_its_own() {
    let server = Server::start().await;
    let Some(embedded) = &server.embedded else { return };
    let dir = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    let remote = |token: Option<Token>| ClientSource::Remote { queen_url: embedded.url.clone(), token };

    let refused = Hiving::with("joins", dir.path(), exe.clone(), remote(None)).await.failure().await;
    assert!(refused.contains("rbee token"), "{refused}");
    let other = Token::mint([1; 32], "other", [2; 32]).unwrap();
    let refused = Hiving::with("joins", dir.path(), exe.clone(), remote(Some(other))).await.failure().await;
    assert!(refused.contains("another queen"), "{refused}");
    let unknown = Token::mint(embedded.server.ca_spki_hash(), "unknown", [2; 32]).unwrap();
    let refused = Hiving::with("joins", dir.path(), exe.clone(), remote(Some(unknown))).await.failure().await;
    assert!(refused.contains("refuses the token"), "{refused}");

    let token = embedded.hive_token(&server.client).await;
    let hive = Hiving::with("joins", dir.path(), exe.clone(), remote(Some(token.clone()))).await;
    let hives: Api<Hive> = server.all();
    until("the Hive's status", || async { hives.get("joins").await.ok()?.status }).await;
    let identity = std::fs::read_to_string(dir.path().join("identity.json")).unwrap();
    assert!(!identity.contains(token.reveal()), "the bootstrap token is not kept");
    assert_eq!(std::fs::metadata(dir.path().join("identity.json")).unwrap().mode() & 0o777, 0o600);
    server.worker_key("story", "s3cret").await;
    server.create(assignment("joins", "remote-1", "builtin:tinybee")).await;
    ready(&server, "remote-1").await;
    hive.stop().await;

    let again = Hiving::with("joins", dir.path(), exe, remote(None)).await;
    let after = ready(&server, "remote-1").await;
    assert!(alive(after.pid));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hives_with_one_name_one_works() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hive = Hiving::start(&server, "node-twin", dir.path()).await;
    server.worker_key("story", "s3cret").await;
    server.create(assignment("node-twin", "twin-1", "builtin:tinybee")).await;
    let first = ready(&server, "twin-1").await;
    let leases: Api<Lease> = server.in_system();
    let holder = || async { leases.get_opt("hive-node-twin").await.unwrap()?.spec?.holder_identity };
    let held = holder().await.unwrap();

    let refused = Hiving::start(&server, "node-twin", other.path()).await.failure().await;
    assert!(refused.contains("--name") && refused.contains(&hive.url()), "{refused}");
    assert_eq!(holder().await.as_ref(), Some(&held), "the refused one leaves the lease alone");

    // Somebody else writes its status: the hive says again how it is.
    let foreign = json!({"status": {"state": "Stopped", "pid": null, "url": null}});
    let assignments: Api<Assignment> = server.namespaced();
    assignments.patch_status("twin-1", &PatchParams::default(), &Patch::Merge(foreign)).await.unwrap();
    let again = ready(&server, "twin-1").await;
    assert_eq!((again.pid, again.url), (first.pid, first.url));

    // The name is another's meanwhile, as after a long sleep of this machine.
    let taken = json!({"spec": {"holderIdentity": "node-twin_other", "renewTime": "2999-01-01T00:00:00.000000Z"}});
    leases.patch("hive-node-twin", &PatchParams::default(), &Patch::Merge(taken)).await.unwrap();
    let ended = hive.failure().await;
    assert!(ended.contains("--name"), "{ended}");
    assert!(!alive(first.pid), "its workers are not those of the name any more");
    assert_eq!(holder().await.as_deref(), Some("node-twin_other"));
    let status = assignments.get("twin-1").await.unwrap().status.unwrap();
    assert_eq!(status.state, Some(AssignmentState::Ready), "what is said of it is the other's to say");
    leases.delete("hive-node-twin", &DeleteParams::default()).await.unwrap();
    server.delete_finally("twin-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spawn_declares_in_the_callers_name() {
    let server = Server::start().await;
    let Some(token) = server.admin_token() else { return };
    let dir = tempfile::tempdir().unwrap();
    let hive = Hiving::start(&server, "spawns", dir.path()).await;
    let http = reqwest::Client::new();
    let url = format!("{}/v1/workers/spawn", hive.url());
    let post = |body: Value| http.post(&url).bearer_auth(&token).json(&body).send();
    for (body, field) in [
        (json!({"model_ref": "ftp://x"}), "model_ref"),
        (json!({"model_ref": "x/../y"}), "model_ref"),
        (json!({"model_ref": "builtin:tinybee", "backend": "tpu"}), "backend"),
        (json!({"model_ref": "builtin:tinybee", "backend": "cuda"}), "cuda"),
        (json!({"model_ref": "builtin:tinybee", "device": 99}), "99"),
        (json!({"model_ref": "builtin:tinybee", "slots": 0}), "slots"),
        (json!({"model_ref": "builtin:tinybee", "sluts": 1}), "sluts"),
    ] {
        let answer = post(body).await.unwrap();
        assert!(matches!(answer.status().as_u16(), 400 | 422), "{field}: {}", answer.status());
        let text = answer.text().await.unwrap();
        assert!(text.contains(field), "{text}");
    }
    assert_eq!(post(json!({"model_ref": "no-such"})).await.unwrap().status(), 404);
    let workers: Api<rbee_crds::Worker> = server.namespaced();
    let models: Api<Model> = server.namespaced();
    let left = (workers.list(&Default::default()).await.unwrap(), models.list(&Default::default()).await.unwrap());
    assert!(left.0.items.is_empty() && left.1.items.is_empty(), "what is refused leaves nothing behind: {left:?}");

    // The test plays the queen.
    let asked = tokio::spawn(post(json!({"model_ref": "builtin:tinybee", "worker_id": "spawned", "slots": 3})));
    let worker = until("the Worker", || async { workers.get_opt("spawned").await.ok()? }).await;
    assert_eq!((worker.spec.hive_name.as_deref(), worker.spec.slots), (Some("spawns"), Some(3)));
    server.worker_key("spawned", "s3cret").await;
    let mut replica = assignment("spawns", "spawned-1", "builtin:tinybee");
    replica["spec"]["workerName"] = "spawned".into();
    replica["metadata"]["ownerReferences"] = json!([{"apiVersion": "rbee.dev/v1alpha1", "kind": "Worker", "name": "spawned",
        "uid": worker.metadata.uid, "controller": true}]);
    server.create(replica).await;
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.status(), 201);
    let answer: Value = answer.json().await.unwrap();
    let now = ready(&server, "spawned-1").await;
    assert_eq!(answer, json!({"id": "spawned-1", "url": now.url, "state": "idle"}));
    hive.stop().await;
}
