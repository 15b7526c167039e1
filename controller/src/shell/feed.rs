//! Watches that fill the caches and wake whoever depends on what changed.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store, store::Writer},
        watcher::{self, watcher},
    },
};
use rbee_crds::{Assignment, Hive, Model, Worker, condition, names, worker::SCHEDULED};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::JoinSet};

use super::{setup::chain, wake::Wake};
use crate::{
    config::Config,
    observe::{Cache, Caches, hive_of, key},
};

/// The wake-ups of the four controllers.
#[derive(Clone, Default)]
pub struct Wakes {
    pub models: Wake<Model>,
    pub workers: Wake<Worker>,
    pub assignments: Wake<Assignment>,
    pub hives: Wake<Hive>,
}

/// What a watch said.
enum Touch<'a, K> {
    Set(&'a K),
    Gone(&'a K),
    /// Everything was listed anew; what is not there any more was not told one by one.
    Listed,
}

impl<K> Touch<'_, K> {
    fn object(&self) -> Option<&K> {
        match self {
            Self::Set(object) | Self::Gone(object) => Some(object),
            Self::Listed => None,
        }
    }
}

/// Starts all watches in `tasks`. The caches are empty until they are ready.
pub fn start(config: &Config, tasks: &mut JoinSet<()>) -> (Caches, Wakes) {
    let client = &config.client;
    let everything = watcher::Config::default;
    let (models, models_feed) = feed::<Model>();
    let (workers, workers_feed) = feed::<Worker>();
    let (assignments, assignments_feed) = feed::<Assignment>();
    let (hives, hives_feed) = feed::<Hive>();
    let (leases, leases_feed) = feed::<Lease>();
    let (secrets, secrets_feed) = feed::<Secret>();
    let system_namespace = config.system_namespace.clone();
    let caches = Caches { models, workers, assignments, hives, leases, secrets, system_namespace };
    let wakes = Wakes::default();
    let routes = Arc::new(Routes { caches: caches.clone(), wakes: wakes.clone() });

    let route = routes.clone();
    tasks.spawn(drive(Api::all(client.clone()), everything(), models_feed, move |touch| route.model(touch)));
    let route = routes.clone();
    tasks.spawn(drive(Api::all(client.clone()), everything(), workers_feed, move |touch| route.worker(touch)));
    let route = routes.clone();
    tasks.spawn(drive(Api::all(client.clone()), everything(), assignments_feed, move |touch| route.assignment(touch)));
    let route = routes.clone();
    tasks.spawn(drive(Api::all(client.clone()), everything(), hives_feed, move |touch| route.hive(touch)));
    let route = routes.clone();
    let system = Api::namespaced(client.clone(), &config.system_namespace);
    tasks.spawn(drive(system, everything(), leases_feed, move |touch| route.lease(touch)));
    let keys = everything().labels(names::LABEL_WORKER);
    tasks.spawn(drive(Api::all(client.clone()), keys, secrets_feed, move |touch| routes.secret(touch)));
    (caches, wakes)
}

/// Waits until every cache holds what there is.
///
/// # Errors
/// If a watch has ended.
pub async fn ready(caches: &Caches) -> anyhow::Result<()> {
    let Caches { models, workers, assignments, hives, leases, secrets, system_namespace: _ } = caches;
    tokio::try_join!(
        models.store.wait_until_ready(),
        workers.store.wait_until_ready(),
        assignments.store.wait_until_ready(),
        hives.store.wait_until_ready(),
        leases.store.wait_until_ready(),
        secrets.store.wait_until_ready(),
    )?;
    Ok(())
}

struct Feed<K: Resource<DynamicType = ()> + Clone + 'static> {
    writer: Writer<K>,
    changes: watch::Sender<u64>,
}

fn feed<K>() -> (Cache<K>, Feed<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let (store, writer): (Store<K>, Writer<K>) = store();
    let (changes, receiver) = watch::channel(0);
    (Cache { store, changes: receiver }, Feed { writer, changes })
}

async fn drive<K>(api: Api<K>, config: watcher::Config, feed: Feed<K>, route: impl Fn(Touch<'_, K>))
where
    K: Resource<DynamicType = ()> + Slim + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let Feed { writer, changes } = feed;
    let events = watcher(api, config).modify(Slim::slim).default_backoff().reflect(writer);
    events
        .inspect_err(|error| {
            tracing::warn!("the watch of {} broke and is taken up again: {}", K::plural(&()), chain(error))
        })
        .for_each(|event| {
            if let Ok(event) = event {
                changes.send_modify(|n| *n = n.wrapping_add(1));
                match &event {
                    watcher::Event::Apply(object) => route(Touch::Set(object)),
                    watcher::Event::Delete(object) => route(Touch::Gone(object)),
                    watcher::Event::InitDone => route(Touch::Listed),
                    watcher::Event::Init | watcher::Event::InitApply(_) => {}
                }
            }
            std::future::ready(())
        })
        .await;
}

/// Drops what the queen never looks at before it is cached.
trait Slim: ResourceExt {
    fn slim(&mut self) {
        self.managed_fields_mut().clear();
    }
}

impl Slim for Model {}
impl Slim for Worker {}
impl Slim for Assignment {}
impl Slim for Hive {}
impl Slim for Lease {}
impl Slim for Secret {
    /// Keys are none of the queen's business once they are made.
    fn slim(&mut self) {
        self.managed_fields_mut().clear();
        self.annotations_mut().clear();
        self.data = None;
        self.string_data = None;
    }
}

/// Who has to look again when something changed.
struct Routes {
    caches: Caches,
    wakes: Wakes,
}

fn keys<K>(objects: &[Arc<K>], which: impl Fn(&K) -> bool) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone,
    ObjectRef<K>: Hash + Eq,
{
    objects.iter().filter(|o| which(o)).map(|o| ObjectRef::from_obj(o.as_ref())).collect()
}

impl Routes {
    fn everything(&self) {
        self.wakes.models.set(keys(&self.caches.models.store.state(), |_| true));
        self.wakes.workers.set(keys(&self.caches.workers.store.state(), |_| true));
        self.wakes.assignments.set(keys(&self.caches.assignments.store.state(), |_| true));
        self.wakes.hives.set(keys(&self.caches.hives.store.state(), |_| true));
    }

    fn workers(&self, which: impl Fn(&Worker) -> bool) {
        self.wakes.workers.set(keys(&self.caches.workers.store.state(), which));
    }

    fn assignments(&self, which: impl Fn(&Assignment) -> bool) {
        self.wakes.assignments.set(keys(&self.caches.assignments.store.state(), which));
    }

    fn model(&self, touch: Touch<'_, Model>) {
        let Some(model) = touch.object() else { return self.everything() };
        self.wakes.models.set([ObjectRef::from_obj(model)]);
        let name = model.name_any();
        self.workers(|w| w.spec.model_ref.name == name && w.metadata.namespace == model.metadata.namespace);
    }

    fn worker(&self, touch: Touch<'_, Worker>) {
        let Some(worker) = touch.object() else { return self.everything() };
        self.wakes.workers.set([ObjectRef::from_obj(worker)]);
        if matches!(touch, Touch::Gone(_)) {
            let name = worker.name_any();
            self.assignments(|a| a.spec.worker_name == name && a.metadata.namespace == worker.metadata.namespace);
        }
    }

    fn assignment(&self, touch: Touch<'_, Assignment>) {
        let Some(assignment) = touch.object() else { return self.everything() };
        self.wakes.assignments.set([ObjectRef::from_obj(assignment)]);
        self.wakes.workers.set([key(assignment.metadata.namespace.as_deref(), &assignment.spec.worker_name)]);
        if matches!(touch, Touch::Gone(_)) {
            self.workers(without_place);
        }
    }

    fn hive(&self, touch: Touch<'_, Hive>) {
        let Some(hive) = touch.object() else { return self.everything() };
        let name = hive.name_any();
        self.wakes.hives.set([ObjectRef::from_obj(hive)]);
        self.wakes.models.set(keys(&self.caches.models.store.state(), |_| true));
        self.workers(without_place);
        let here: Vec<Arc<Assignment>> = self.caches.assignments.store.state_filter(|a| a.spec.hive_name == name);
        let workers = here.iter().map(|a| key(a.metadata.namespace.as_deref(), &a.spec.worker_name));
        self.wakes.workers.set(workers);
        self.wakes.assignments.set(keys(&here, |_| true));
    }

    fn lease(&self, touch: Touch<'_, Lease>) {
        let Some(lease) = touch.object() else { return self.everything() };
        let Some(hive) = hive_of(lease) else { return };
        if self.caches.hives.get(None, &hive).is_some() {
            self.wakes.hives.set([key(None, &hive)]);
        } else {
            self.assignments(|a| a.spec.hive_name == hive);
        }
    }

    fn secret(&self, touch: Touch<'_, Secret>) {
        let Some(secret) = touch.object() else { return self.everything() };
        let owner = secret.labels().get(names::LABEL_WORKER);
        self.wakes.workers.set(owner.map(|worker| key(secret.metadata.namespace.as_deref(), worker)));
    }
}

/// Whether the Worker waits for a place: somebody else's end may make one.
fn without_place(worker: &Worker) -> bool {
    !worker.status.as_ref().is_some_and(|s| condition::is_true(&s.conditions, SCHEDULED))
}
