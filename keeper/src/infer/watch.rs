//! Watching Model, Worker and Assignments until a replica answers or will not.

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use rbee_crds::{Assignment, Model, Worker, names::LABEL_WORKER};

use super::{
    declare::Source,
    progress::{Progress, Step, Wish, World},
};
use crate::{context::Context, error::Error};

enum Change {
    Model(Option<Model>),
    Worker(Option<Worker>),
    Assignment(Box<Assignment>),
    AssignmentGone(String),
    /// A list follows that holds all there are.
    AssignmentsAnew,
    /// Only time has passed.
    Nothing,
}

/// Hives look at the files of Models every ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// A Ready replica of the source; phases go to stderr as they happen. `progress` says afterwards what it waited on.
///
/// # Errors
/// [`Error::Failed`] where it will not come to that.
pub async fn ready_replica(
    client: &Client,
    namespace: &str,
    source: &Source,
    wish: &Wish,
    progress: &mut Progress,
    context: &Context,
) -> Result<Assignment, Error> {
    let mut changes = futures::stream::select_all([
        one::<Model>(client, namespace, &source.model, Change::Model),
        one::<Worker>(client, namespace, &source.worker, Change::Worker),
        replicas(client, namespace, &source.worker),
    ]);
    let mut world = World::default();
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = &mut patience, if progress.overlook.is_some() => {
                progress.overlook = None;
                Some(Change::Nothing)
            }
        };
        match change.ok_or_else(|| Error::failed("the watch on the API server ended"))? {
            Change::Nothing => {}
            Change::Model(model) => world.model = model,
            Change::Worker(worker) => world.worker = worker,
            Change::Assignment(replica) => {
                world.assignments.insert(replica.name_any(), *replica);
            }
            Change::AssignmentGone(name) => {
                world.assignments.remove(&name);
            }
            Change::AssignmentsAnew => world.assignments.clear(),
        }
        let (lines, step) = progress.look(&world, wish);
        lines.iter().for_each(|line| context.err.note(line));
        match step {
            Step::Wait => {}
            Step::Go(replica) => return Ok(*replica),
            Step::GiveUp(problem) => return Err(Error::failed(problem)),
        }
    }
}

fn one<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    change: impl Fn(Option<K>) -> Change + Send + 'static,
) -> BoxStream<'static, Change>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug + Send + 'static,
    K: serde::de::DeserializeOwned,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher(api, config).default_backoff();
    events
        .filter_map(move |event| {
            let change = match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => Some(change(Some(object))),
                Ok(Event::Delete(_)) => Some(change(None)),
                Ok(Event::Init | Event::InitDone) | Err(_) => None,
            };
            futures::future::ready(change)
        })
        .boxed()
}

fn replicas(client: &Client, namespace: &str, worker: &str) -> BoxStream<'static, Change> {
    let api: Api<Assignment> = Api::namespaced(client.clone(), namespace);
    let config = watcher::Config::default().labels(&format!("{LABEL_WORKER}={worker}"));
    let events = watcher(api, config).default_backoff();
    events
        .filter_map(|event| {
            let change = match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => Some(Change::Assignment(Box::new(object))),
                Ok(Event::Delete(object)) => Some(Change::AssignmentGone(object.name_any())),
                Ok(Event::Init) => Some(Change::AssignmentsAnew),
                Ok(Event::InitDone) | Err(_) => None,
            };
            futures::future::ready(change)
        })
        .boxed()
}
