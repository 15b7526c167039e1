//! The queen against an API server: from a Worker to its replicas and back, a restart in between.
//!
//! The server is rbee's own, in memory; `RBEE_TEST_KUBECONFIG` names another one, for example of `tests/cluster/up`.

use std::{fmt::Debug, future::Future, time::Duration};

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Secret,
        events::v1::Event,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, Config as KubeConfig, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use rbee_apiserver::{ApiServer, Identity};
use rbee_controller::{Config, run};
use rbee_crds::{Assignment, ConditionStatus, Hive, Model, Worker, condition, names};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";

/// An API server, and a client of it that may do everything.
async fn server() -> (Client, Option<ApiServer>) {
    if let Some(path) = std::env::var_os("RBEE_TEST_KUBECONFIG") {
        let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = KubeConfig::from_custom_kubeconfig(kubeconfig, &options).await.expect("a context");
        return (Client::try_from(config).expect("a client"), None);
    }
    let config = rbee_apiserver::Config {
        data_dir: None,
        crds: rbee_crds::all(),
        names: Default::default(),
        version: "0.1.0".into(),
    };
    let server = ApiServer::open(config).await.expect("a server in memory");
    let client = Client::new(server.router_for(Identity::system("test")), NAMESPACE);
    (client, Some(server))
}

/// Asks until the answer is there; fails after 30 s with the last one.
async fn until<T, A: Debug, F: Future<Output = Result<T, A>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(other) if tokio::time::Instant::now() > deadline => panic!("{what}: still {other:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn install(client: &Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in rbee_crds::to_json() {
        let name = crd["metadata"]["name"].as_str().expect("a name").to_owned();
        let applied = crds.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(crd)).await;
        applied.expect("an installed kind");
    }
    until("established kinds", || async {
        Api::<Hive>::all(client.clone()).list(&ListParams::default()).await.map(drop)
    })
    .await;
}

/// The tests share one server, its hives and its leader lease: one runs at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

type Queen = (CancellationToken, tokio::task::JoinHandle<anyhow::Result<()>>);

fn queen(client: &Client) -> Queen {
    crown(Config::new(client.clone(), "test-queen", "0.1.0"))
}

fn crown(config: Config) -> Queen {
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(config, stop.clone()));
    (stop, task)
}

async fn end((stop, task): Queen) {
    stop.cancel();
    task.await.expect("no panic").expect("an orderly end");
}

/// A hive that renews its Lease and does with its Assignments what it should, without processes.
async fn hive(client: Client, name: &'static str) {
    let hives: Api<Hive> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let assignments: Api<Assignment> = Api::all(client.clone());
    let apply = PatchParams::apply(&names::manager_hive(name)).force();
    let object = json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Hive", "metadata": {"name": name}, "spec": {}});
    hives.patch(name, &apply, &Patch::Apply(&object)).await.expect("a hive");
    let status = json!({"version": "0.1.0", "backends": [{"name": "cpu", "devices": [{"index": 0, "name": "cpu", "memoryBytes": 8_000_000_000_i64}]}]});
    let object =
        json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Hive", "metadata": {"name": name}, "status": status});
    hives.patch_status(name, &apply, &Patch::Apply(&object)).await.expect("its status");
    loop {
        let mut lease = Lease { spec: Some(LeaseSpec::default()), ..Lease::default() };
        lease.metadata.name = Some(names::hive_lease(name));
        lease.spec.get_or_insert_default().holder_identity = Some(name.into());
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        let _ = leases.patch(&names::hive_lease(name), &apply, &Patch::Apply(&lease)).await;
        for mine in assignments
            .list(&ListParams::default().labels(&format!("{}={name}", names::LABEL_HIVE)))
            .await
            .expect("a list")
        {
            let here: Api<Assignment> = Api::namespaced(client.clone(), &mine.namespace().unwrap_or_default());
            if mine.metadata.deletion_timestamp.is_some() {
                let _ = here
                    .patch(
                        &mine.name_any(),
                        &PatchParams::default(),
                        &Patch::Merge(json!({"metadata": {"finalizers": null}})),
                    )
                    .await;
            } else if mine.status.is_none() {
                let ready = json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Assignment", "metadata": {"name": mine.name_any()}, "status": {"state": "Ready"}});
                let _ = here.patch_status(&mine.name_any(), &apply, &Patch::Apply(ready)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn apply(client: &Client, kind: &str, name: &str, spec: Value) {
    let object = json!({"apiVersion": "rbee.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let params = PatchParams::apply("test").force();
    match kind {
        "Model" => drop(
            Api::<Model>::namespaced(client.clone(), NAMESPACE)
                .patch(name, &params, &Patch::Apply(object))
                .await
                .expect("a model"),
        ),
        _ => drop(
            Api::<Worker>::namespaced(client.clone(), NAMESPACE)
                .patch(name, &params, &Patch::Apply(object))
                .await
                .expect("a worker"),
        ),
    }
}

/// The Worker once it has so many Ready replicas and nothing else.
async fn settled(client: &Client, name: &str, count: i32) -> (Worker, Vec<Assignment>) {
    let workers: Api<Worker> = Api::namespaced(client.clone(), NAMESPACE);
    let assignments: Api<Assignment> = Api::namespaced(client.clone(), NAMESPACE);
    until(&format!("{count} replicas of {name}"), || async {
        let worker = workers.get(name).await.map_err(|e| e.to_string())?;
        let status = worker.status.clone().unwrap_or_default();
        let of = ListParams::default().labels(&format!("{}={name}", names::LABEL_WORKER));
        let mine = assignments.list(&of).await.map_err(|e| e.to_string())?.items;
        let complete =
            condition::find(&status.conditions, "Progressing").is_some_and(|c| c.status == ConditionStatus::False);
        let good = status.observed_generation == worker.metadata.generation
            && status.ready_replicas == Some(count)
            && complete
            && mine.len() == usize::try_from(count).unwrap_or(0);
        if good { Ok((worker, mine)) } else { Err(format!("{status:?} with {} assignments", mine.len())) }
    })
    .await
}

fn uids(assignments: &[Assignment]) -> Vec<Option<String>> {
    let mut uids: Vec<_> = assignments.iter().map(ResourceExt::uid).collect();
    uids.sort();
    uids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_worker_to_its_replicas_and_back_with_a_restart_in_between() {
    let _turn = TURN.lock().await;
    let (client, server) = server().await;
    // She may come before the kinds, and waits for them.
    let first = queen(&client);
    if server.is_none() {
        install(&client).await;
    }
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    until("the system namespace", || async { namespaces.get(names::SYSTEM_NAMESPACE).await.map(drop) }).await;
    let bees = [tokio::spawn(hive(client.clone(), "hive-a")), tokio::spawn(hive(client.clone(), "hive-b"))];
    let fleet: Api<rbee_crds::Hive> = Api::all(client.clone());
    let is_ready = |h: &rbee_crds::Hive| h.status.as_ref().is_some_and(|s| condition::is_true(&s.conditions, "Ready"));
    let both_ready = async {
        while fleet
            .list(&kube::api::ListParams::default())
            .await
            .map_or(0, |l| l.items.iter().filter(|h| is_ready(h)).count())
            < 2
        {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), both_ready)
        .await
        .expect("both hives are Ready within 30 s");

    let began = tokio::time::Instant::now();
    apply(&client, "Model", "bee", json!({"uri": "builtin:tinybee"})).await;
    apply(&client, "Worker", "story", json!({"modelRef": {"name": "bee"}, "replicas": 4})).await;
    let (worker, four) = settled(&client, "story", 4).await;
    eprintln!("4 replicas Ready after {:?}", began.elapsed());
    assert!(condition::is_true(&worker.status.as_ref().expect("a status").conditions, "Ready"));
    let on = |hive: &str| four.iter().filter(|a| a.spec.hive_name == hive).count();
    assert_eq!((on("hive-a"), on("hive-b")), (2, 2), "they spread");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let key = secrets.get("worker-story-key").await.expect("the key").data.expect("data").remove("key").expect("a key");
    assert_eq!(key.0.len(), 43);

    // At rest nothing is written.
    let workers: Api<Worker> = Api::namespaced(client.clone(), NAMESPACE);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(workers.get("story").await.expect("the worker").resource_version(), worker.resource_version());

    // The queen restarts: a higher epoch, nothing started anew, nothing written.
    end(first).await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let before = leases.get(names::QUEEN_LEASE).await.expect("the lease").spec.unwrap_or_default();
    assert_eq!(before.holder_identity.as_deref(), Some(""), "the lease was given up");
    let second = queen(&client);
    until("a queen who leads again", || async {
        let lease = leases.get(names::QUEEN_LEASE).await.map_err(|e| e.to_string())?.spec.unwrap_or_default();
        if lease.lease_transitions > before.lease_transitions { Ok(()) } else { Err(format!("{lease:?}")) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (again, same) = settled(&client, "story", 4).await;
    assert_eq!(again.resource_version(), worker.resource_version());
    assert_eq!(uids(&same), uids(&four));

    // A changed spec replaces all, scaling keeps what is good.
    apply(&client, "Worker", "story", json!({"modelRef": {"name": "bee"}, "replicas": 4, "slots": 2})).await;
    let (_, replaced) = settled(&client, "story", 4).await;
    assert!(replaced.iter().all(|a| a.spec.slots == 2 && a.spec.epoch >= 1), "{replaced:?}");
    apply(&client, "Worker", "story", json!({"modelRef": {"name": "bee"}, "replicas": 2, "slots": 2})).await;
    let (_, two) = settled(&client, "story", 2).await;
    assert!(uids(&two).iter().all(|uid| uids(&replaced).contains(uid)), "a good replica was moved");

    let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
    let reasons: Vec<_> =
        events.list(&ListParams::default()).await.expect("events").into_iter().filter_map(|e| e.reason).collect();
    for reason in ["Scheduled", "SuccessfulCreate", "SuccessfulDelete"] {
        assert!(reasons.iter().any(|r| r == reason), "no Event {reason} in {reasons:?}");
    }

    workers.delete("story", &DeleteParams::background()).await.expect("a deletion");
    no_assignments(&client).await;
    models(&client).delete("bee", &DeleteParams::default()).await.expect("a deletion");
    end(second).await;
    bees.iter().for_each(|bee| bee.abort());
}

fn models(client: &Client) -> Api<Model> {
    Api::namespaced(client.clone(), NAMESPACE)
}

async fn no_assignments(client: &Client) {
    let assignments: Api<Assignment> = Api::namespaced(client.clone(), NAMESPACE);
    until("no assignments", || async {
        let left = assignments.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        if left.is_empty() { Ok(()) } else { Err(format!("{} left", left.len())) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_hive_is_replaced_and_a_second_queen_takes_over() {
    let _turn = TURN.lock().await;
    let (client, server) = server().await;
    if server.is_none() {
        install(&client).await;
    }
    let config = |identity: &str| {
        let mut config = Config::new(client.clone(), identity, "0.1.0");
        config.periods.hive_lost_after = Duration::from_secs(2);
        config.periods.leader_lease = Duration::from_secs(3);
        config.periods.leader_renew = Duration::from_millis(500);
        config
    };
    let first = crown(config("queen-1"));
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    until("the system namespace", || async { namespaces.get(names::SYSTEM_NAMESPACE).await.map(drop) }).await;
    let (lost, kept) = (tokio::spawn(hive(client.clone(), "hive-a")), tokio::spawn(hive(client.clone(), "hive-b")));
    let hives: Api<Hive> = Api::all(client.clone());
    until("two Ready hives", || async {
        let all = hives.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        let ready = all.iter().filter(|h| rbee_controller::plan::fleet::is_ready(h)).count();
        if ready == 2 { Ok(()) } else { Err(format!("{ready} of {}", all.len())) }
    })
    .await;
    apply(&client, "Model", "bee", json!({"uri": "builtin:tinybee"})).await;
    let spec = json!({"modelRef": {"name": "bee"}, "replicas": 2, "hiveLostTimeout": "1s"});
    apply(&client, "Worker", "lost", spec).await;
    let (_, before) = settled(&client, "lost", 2).await;
    assert!(before.iter().any(|a| a.spec.hive_name == "hive-a"));

    lost.abort();
    let assignments: Api<Assignment> = Api::namespaced(client.clone(), NAMESPACE);
    until("both replicas on the hive that is left", || async {
        let all = assignments.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        let there = all.iter().filter(|a| a.spec.hive_name == "hive-b").count();
        if there == 2 && all.len() == 2 { Ok(()) } else { Err(format!("{there} of {}", all.len())) }
    })
    .await;
    let (_, after) = settled(&client, "lost", 2).await;
    let stayed = before.iter().filter(|a| a.spec.hive_name == "hive-b").all(|a| uids(&after).contains(&a.uid()));
    assert!(stayed, "the replica on the good hive was moved");
    let conditions = hives.get("hive-a").await.expect("the hive").status.expect("a status").conditions;
    assert_eq!(condition::find(&conditions, "Ready").map(|c| c.reason.as_str()), Some("HiveLost"));

    // Two queens: one leads and the other waits; then the other leads and changes nothing.
    let second = crown(config("queen-2"));
    let leases: Api<Lease> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    let lease = || async {
        let lease = leases.get(names::QUEEN_LEASE).await.map_err(|e| e.to_string())?;
        Ok::<_, String>(lease.spec.unwrap_or_default())
    };
    tokio::time::sleep(Duration::from_secs(4)).await;
    let held = lease().await.expect("the lease");
    assert_eq!(held.holder_identity.as_deref(), Some("queen-1"), "a lease that is renewed is not taken");
    end(first).await;
    until("the second queen leads", || async {
        let now = lease().await?;
        let taken = now.holder_identity.as_deref() == Some("queen-2") && now.lease_transitions > held.lease_transitions;
        if taken { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, same) = settled(&client, "lost", 2).await;
    assert_eq!(uids(&same), uids(&after));

    let workers: Api<Worker> = Api::namespaced(client.clone(), NAMESPACE);
    workers.delete("lost", &DeleteParams::background()).await.expect("a deletion");
    no_assignments(&client).await;
    models(&client).delete("bee", &DeleteParams::default()).await.expect("a deletion");
    end(second).await;
    kept.abort();
}
