//! One controller per kind: wake-ups in, observe, plan, execute; failures are tried again with growing waits.

use std::{
    collections::HashMap,
    fmt::Debug,
    future::Future,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::bail;
use futures::{StreamExt, future::BoxFuture};
use kube::{
    Resource,
    runtime::{
        controller::{self, Action, applier},
        reflector::ObjectRef,
    },
};
use rbee_crds::{Assignment, Hive, Model, Worker};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{feed, setup::chain, wake::Wake};
use crate::{
    config::{Clock, Config},
    execute::{Error, Executor, Fence, Lead},
    observe::{Cache, Caches, Term},
    plan,
};

/// How long reconciles that run may take to end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What every reconcile has at hand.
struct Context {
    caches: Caches,
    executor: Executor,
    term: Term,
    clock: Clock,
    chance: RandomState,
    failures: Failures,
}

/// Runs the four controllers for one term of leadership, until `stop`.
///
/// # Errors
/// If one of them ends by itself.
pub async fn run(
    config: &Config,
    epoch: i64,
    lead: watch::Receiver<Option<Lead>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut watches = JoinSet::new();
    let (caches, wakes) = feed::start(config, &mut watches);
    tokio::select! {
        ready = feed::ready(&caches) => ready?,
        () = stop.cancelled() => return Ok(()),
    }
    let lost_after = config.periods.hive_lost_after;
    let term = Term {
        epoch,
        judge_from: plan::later(config.clock.now(), lost_after),
        lost_after,
        version: config.version.clone(),
    };
    let fence = Fence::new(epoch, lead);
    let executor = Executor::new(config.client.clone(), caches.clone(), fence, &config.identity, config.periods.echo);
    let context = Arc::new(Context {
        caches: caches.clone(),
        executor,
        term,
        clock: config.clock.clone(),
        chance: RandomState::new(),
        failures: Failures::default(),
    });
    let feed::Wakes { models, workers, assignments, hives } = wakes;
    let mut controllers = JoinSet::new();
    controllers.spawn(control(&caches.models, models, Width::Many, &context, &stop, model));
    // One at a time: two that plan from the same snapshot would give the same memory away twice.
    controllers.spawn(control(&caches.workers, workers, Width::One, &context, &stop, worker));
    controllers.spawn(control(&caches.assignments, assignments, Width::Many, &context, &stop, assignment));
    controllers.spawn(control(&caches.hives, hives, Width::Many, &context, &stop, hive));
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(END_WITHIN).await;
    };
    tokio::pin!(overdue);
    loop {
        tokio::select! {
            ended = controllers.join_next() => match ended {
                None => return Ok(()),
                Some(ended) => ended?,
            },
            () = &mut overdue => {
                tracing::warn!("a reconcile did not end within {END_WITHIN:?}; it is left where it is");
                return Ok(());
            }
        }
        if !stop.is_cancelled() {
            bail!("a controller ended by itself");
        }
    }
}

async fn model(model: Arc<Model>, context: Arc<Context>) -> Result<Action, Error> {
    let observed = context.caches.model(&model);
    let plan = plan::model::plan(&observed, context.clock.now(), context.seed(&model));
    context.executor.model(&observed.model, plan).await?;
    Ok(Action::await_change())
}

async fn worker(worker: Arc<Worker>, context: Arc<Context>) -> Result<Action, Error> {
    let observed = context.caches.worker(&worker, &context.term);
    let plan = plan::worker::plan(&observed, context.clock.now(), context.seed(&worker));
    let again = plan.again;
    context.executor.worker(&observed.worker, plan).await?;
    Ok(action(again))
}

async fn assignment(assignment: Arc<Assignment>, context: Arc<Context>) -> Result<Action, Error> {
    let observed = context.caches.assignment(&assignment, &context.term);
    let plan = plan::assignment::plan(&observed, context.clock.now(), context.seed(&assignment));
    let again = plan.again;
    context.executor.assignment(&observed.assignment, plan).await?;
    Ok(action(again))
}

async fn hive(hive: Arc<Hive>, context: Arc<Context>) -> Result<Action, Error> {
    let observed = context.caches.hive(&hive, &context.term);
    let plan = plan::hive::plan(&observed, context.clock.now(), context.seed(&hive));
    let again = plan.again;
    context.executor.hive(&observed.hive, plan).await?;
    Ok(action(again))
}

fn action(again: Option<Duration>) -> Action {
    again.map_or_else(Action::await_change, Action::requeue)
}

impl Context {
    fn seed<K: Resource<DynamicType = ()>>(&self, object: &Arc<K>) -> u64 {
        self.chance.hash_one(&object.meta().uid)
    }
}

/// How many objects of a kind are reconciled at once.
#[derive(Clone, Copy)]
enum Width {
    One,
    Many,
}

fn control<K, R, F>(
    cache: &Cache<K>,
    wake: Wake<K>,
    width: Width,
    context: &Arc<Context>,
    stop: &CancellationToken,
    reconcile: R,
) -> impl Future<Output = ()> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    R: Fn(Arc<K>, Arc<Context>) -> F + Send + 'static,
    F: Future<Output = Result<Action, Error>> + Send + 'static,
    ObjectRef<K>: Hash + Eq,
{
    let concurrency = match width {
        Width::One => 1,
        Width::Many => 16,
    };
    let kind = K::kind(&()).into_owned();
    let queue = wake.stream().take_until(stop.clone().cancelled_owned());
    let labelled = kind.clone();
    let reconcile = move |object: Arc<K>, context: Arc<Context>| -> BoxFuture<'static, Result<Action, Error>> {
        let begun = tokio::time::Instant::now();
        let work = reconcile(object.clone(), context.clone());
        let kind = labelled.clone();
        Box::pin(async move {
            let outcome = work.await;
            measure(kind, &outcome, begun.elapsed());
            if outcome.is_ok() {
                context.failures.forget(&key_of(object.as_ref()));
            }
            outcome
        })
    };
    let retry = |object: Arc<K>, error: &Error, context: Arc<Context>| {
        let failures = context.failures.count(key_of(object.as_ref()));
        let wait = error.retry_after(failures);
        let key = ObjectRef::from_obj(object.as_ref());
        if error.is_conflict() {
            tracing::debug!(%key, ?wait, "somebody else wrote first; planning again");
        } else {
            tracing::warn!(%key, ?wait, failures, "{}; trying again", chain(error));
        }
        Action::requeue(wait)
    };
    let config = controller::Config::default().concurrency(concurrency);
    // Failures are told by the policy above; an object that is gone before its turn is none.
    applier(reconcile, retry, context.clone(), cache.store.clone(), queue, config).for_each(|_| std::future::ready(()))
}

fn measure(kind: String, outcome: &Result<Action, Error>, took: Duration) {
    let result = match outcome {
        Ok(_) => "done",
        Err(error) if error.is_conflict() => "conflict",
        Err(_) => "failed",
    };
    metrics::counter!("rbee_reconciles_total", "kind" => kind.clone(), "result" => result).increment(1);
    metrics::histogram!("rbee_reconcile_duration_seconds", "kind" => kind).record(took.as_secs_f64());
}

fn key_of<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let meta = object.meta();
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}/{}", K::kind(&()), part(&meta.namespace), part(&meta.name))
}

/// Failures in a row, by object.
#[derive(Default)]
struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    fn count(&self, key: String) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn forget(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
