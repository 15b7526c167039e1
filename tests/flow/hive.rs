//! A simulated hive: it does at the API what a hive does, through `kube::Client` alone, and has a [`Machine`] for processes.

use std::{collections::BTreeMap, fmt::Debug, future, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use rbee_controller::Clock;
use rbee_crds::{Assignment, Hive as HiveObject, HiveStatus, Model, hive::CacheState, names};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, interval, sleep, sleep_until},
};

use super::machine::{Machine, manager};

const HEARTBEAT: Duration = Duration::from_secs(10);

/// What happens to a hive.
#[derive(Debug)]
pub enum Happening {
    /// The process of this Assignment ends by a signal.
    Crash(String),
    /// Looking at the file of this URI finds something else.
    File(String, CacheState),
    /// The hive's process vanishes; what it started lives on.
    Vanish,
}

/// The handle of a hive, running or lost.
pub struct Hive {
    happenings: mpsc::Sender<Happening>,
    task: JoinHandle<Machine>,
}

/// A machine whose hive is lost.
pub struct Lost {
    pub machine: Machine,
    since: Instant,
}

impl Hive {
    /// Starts the hive of a machine.
    pub fn start(machine: Machine, client: Client, clock: Clock) -> Self {
        let (happenings, receiver) = mpsc::channel(16);
        Self { happenings, task: tokio::spawn(run(machine, client, clock, receiver)) }
    }

    pub async fn happens(&self, happening: Happening) {
        self.happenings.send(happening).await.expect("the hive runs");
    }

    pub async fn lose(self) -> Lost {
        self.happens(Happening::Vanish).await;
        Lost { machine: self.task.await.expect("a hive that ends in good order"), since: Instant::now() }
    }
}

impl Lost {
    pub fn back(mut self, client: Client, clock: Clock) -> Hive {
        self.machine.was_alone(self.since, Instant::now());
        Hive::start(self.machine, client, clock)
    }
}

async fn run(machine: Machine, client: Client, clock: Clock, mut happenings: mpsc::Receiver<Happening>) -> Machine {
    let here = watcher::Config::default().fields(&format!("spec.hiveName={}", machine.name));
    let mut assigned = Mirror::<Assignment>::new(Api::all(client.clone()), here);
    let mut models = Mirror::<Model>::new(Api::all(client.clone()), watcher::Config::default());
    let mut heartbeat = interval(HEARTBEAT);
    let mut agent = Agent { machine, client, clock, told: None };
    loop {
        let mut again = None;
        if assigned.complete {
            agent.machine.follow(&assigned.objects, Instant::now());
            again = agent.report(&assigned.objects).await.err();
        }
        if models.complete {
            again = agent.describe(&models.objects).await.err().or(again);
        }
        let due = agent.machine.due();
        tokio::select! {
            () = assigned.next() => {}
            () = models.next() => {}
            happening = happenings.recv() => match happening {
                None | Some(Happening::Vanish) => return agent.machine,
                Some(Happening::Crash(name)) => agent.machine.crash(&name, Instant::now(), agent.clock.now()),
                Some(Happening::File(uri, state)) => drop(agent.machine.files.insert(uri, state)),
            },
            _ = heartbeat.tick() => {
                // What fails is tried again at the next beat.
                let _ = agent.declare().await;
                let _ = agent.beat().await;
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            () = sleep(Duration::from_secs(1)), if again.is_some() => {}
        }
    }
}

/// The objects of a watch, by uid.
struct Mirror<K> {
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    objects: BTreeMap<String, K>,
    coming: BTreeMap<String, K>,
    complete: bool,
}

impl<K> Mirror<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    fn new(api: Api<K>, config: watcher::Config) -> Self {
        let events = watcher(api, config).default_backoff().boxed();
        Self { events, objects: BTreeMap::new(), coming: BTreeMap::new(), complete: false }
    }

    async fn next(&mut self) {
        let key = |object: &K| object.uid().unwrap_or_default();
        match self.events.next().await {
            None => future::pending().await,
            Some(Ok(Event::Apply(object))) => drop(self.objects.insert(key(&object), object)),
            Some(Ok(Event::Delete(object))) => drop(self.objects.remove(&key(&object))),
            Some(Ok(Event::Init)) => self.coming.clear(),
            Some(Ok(Event::InitApply(object))) => drop(self.coming.insert(key(&object), object)),
            Some(Ok(Event::InitDone)) => {
                self.objects = std::mem::take(&mut self.coming);
                self.complete = true;
            }
            Some(Err(error)) => eprintln!("a simulated hive's watch broke: {error}"),
        }
    }
}

struct Agent {
    machine: Machine,
    client: Client,
    clock: Clock,
    /// The status of the Hive as it was written last.
    told: Option<HiveStatus>,
}

impl Agent {
    fn params(&self) -> PatchParams {
        PatchParams::apply(&manager(&self.machine)).force()
    }

    /// The Hive object, also when somebody deleted it.
    async fn declare(&mut self) -> kube::Result<()> {
        let api: Api<HiveObject> = Api::all(self.client.clone());
        let name = self.machine.name.clone();
        if api.get_opt(&name).await?.is_none() {
            self.told = None;
        }
        let object = json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Hive",
            "metadata": {"name": name, "labels": self.machine.labels}, "spec": {}});
        api.patch(&name, &self.params(), &Patch::Apply(object)).await.map(drop)
    }

    async fn beat(&self) -> kube::Result<()> {
        let name = names::hive_lease(&self.machine.name);
        let mut lease = Lease::default();
        lease.metadata.name = Some(name.clone());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.machine.name.clone()),
            lease_duration_seconds: Some(40),
            renew_time: Some(MicroTime(self.clock.now())),
            ..LeaseSpec::default()
        });
        let api: Api<Lease> = Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE);
        api.patch(&name, &self.params(), &Patch::Apply(lease)).await.map(drop)
    }

    /// The Hive's status, when it changed.
    async fn describe(&mut self, models: &BTreeMap<String, Model>) -> kube::Result<()> {
        let status = self.machine.status(models);
        if self.told.as_ref() == Some(&status) {
            return Ok(());
        }
        let api: Api<HiveObject> = Api::all(self.client.clone());
        let object = json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Hive", "metadata": {"name": self.machine.name}, "status": status});
        api.patch_status(&self.machine.name, &self.params(), &Patch::Apply(object)).await?;
        self.told = Some(status);
        Ok(())
    }

    /// Statuses that changed, and finalizers of what is gone.
    async fn report(&mut self, assigned: &BTreeMap<String, Assignment>) -> kube::Result<()> {
        let params = self.params();
        for (uid, assignment) in assigned {
            let api: Api<Assignment> =
                Api::namespaced(self.client.clone(), &assignment.namespace().unwrap_or_default());
            let ends = assignment.metadata.deletion_timestamp.is_some();
            let process = self.machine.processes.get_mut(uid);
            if ends && process.as_ref().is_none_or(|p| p.is_gone()) {
                release(&api, assignment).await?;
                continue;
            }
            let Some(process) = process else { continue };
            let status = process.status();
            if process.told.as_ref() == Some(&status) {
                continue;
            }
            let object = json!({"apiVersion": "rbee.dev/v1alpha1", "kind": "Assignment",
                "metadata": {"name": process.name, "uid": uid}, "status": status});
            match api.patch_status(&process.name, &params, &Patch::Apply(object)).await {
                Ok(_) => {}
                Err(kube::Error::Api(refusal)) if refusal.code == 404 || refusal.code == 409 => {}
                Err(error) => return Err(error),
            }
            process.told = Some(status);
        }
        Ok(())
    }
}

async fn release(api: &Api<Assignment>, assignment: &Assignment) -> kube::Result<()> {
    let Some(at) = assignment.finalizers().iter().position(|f| f == names::FINALIZER_PROCESS) else { return Ok(()) };
    let path = format!("/metadata/finalizers/{at}");
    let patch: Value = json!([
        {"op": "test", "path": "/metadata/uid", "value": assignment.uid()},
        {"op": "test", "path": path, "value": names::FINALIZER_PROCESS},
        {"op": "remove", "path": path},
    ]);
    let patch = Patch::Json::<()>(serde_json::from_value(patch).expect("a JSON patch"));
    match api.patch(&assignment.name_any(), &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409 | 422) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}
