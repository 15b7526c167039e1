//! A place for a request: taken at once, waited for in the model's queue, or held while a replica starts.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rbee_wire::ApiError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::load::{Loads, MAX_WAITING, Place, Taken, Ticket};
use crate::route;
use crate::table::Table;

/// How long a request waits for a slot while replicas are Ready and busy.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(300);

/// Gives places at replicas.
#[derive(Clone)]
pub struct Dispatcher {
    table: watch::Receiver<Arc<Table>>,
    loads: Loads,
    hold: Duration,
    /// Nobody waits any longer once this is cancelled.
    draining: CancellationToken,
}

impl Dispatcher {
    /// `hold` is how long a request is kept while no replica is Ready and one may become so.
    pub fn new(table: watch::Receiver<Arc<Table>>, loads: Loads, hold: Duration, draining: CancellationToken) -> Self {
        Self { table, loads, hold, draining }
    }

    pub fn loads(&self) -> &Loads {
        &self.loads
    }

    /// The table as it is.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.borrow())
    }

    /// Waits for a place at a replica of the model. Giving up the future gives up the place in line.
    ///
    /// # Errors
    /// 404 for a model that nobody serves; 503 with `Retry-After` when the queue is full, or nothing was Ready or free in time.
    pub async fn place(&self, model: &str) -> Result<Place, ApiError> {
        // Checked before the queue, so that names that nobody serves leave no trace in it.
        if !self.table.borrow().models.contains_key(model) {
            return Err(ApiError::model_not_found(model));
        }
        let ticket = match self.loads.enqueue(model) {
            Some(ticket) => ticket,
            None => return Err(route::all_busy(format!("{MAX_WAITING} requests wait for model '{model}' already"))),
        };
        self.wait(model, &ticket, &HashSet::new()).await
    }

    /// As [`Dispatcher::place`], for a request that failed at a replica and is tried again at one that is not in `avoid`.
    ///
    /// # Errors
    /// As [`Dispatcher::place`].
    pub async fn place_again(&self, model: &str, avoid: &HashSet<String>) -> Result<Place, ApiError> {
        self.wait(model, &self.loads.again(model), avoid).await
    }

    async fn wait(&self, model: &str, ticket: &Ticket, avoid: &HashSet<String>) -> Result<Place, ApiError> {
        let mut table = self.table.clone();
        let start = Instant::now();
        let mut held_since = None;
        loop {
            let changed = self.loads.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let current = Arc::clone(&table.borrow_and_update());
            let (deadline, error) = match self.loads.try_take(&current, ticket, avoid, Timestamp::now()) {
                Taken::Place(place) => return Ok(place),
                Taken::Refuse(error) => return Err(error),
                Taken::Busy => {
                    held_since = None;
                    let text = format!("no slot for model '{model}' became free in {} s", QUEUE_TIMEOUT.as_secs());
                    (start + QUEUE_TIMEOUT, route::all_busy(text))
                }
                Taken::Hold(text) => {
                    let since = *held_since.get_or_insert_with(Instant::now);
                    let text = format!("{text}; waited {} s", self.hold.as_secs_f64());
                    (since + self.hold, route::unavailable(text))
                }
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            let wake = self.loads.next_return().map_or(deadline, |at| at.min(deadline));
            tokio::select! {
                () = changed => {}
                () = sleep_until(wake) => {}
                () = self.draining.cancelled() => return Err(route::draining()),
                gone = table.changed() => if gone.is_err() {
                    return Err(route::draining());
                },
            }
        }
    }

    /// Whether a replica that is not in `avoid` is Ready.
    pub fn has_other(&self, model: &str, avoid: &HashSet<String>) -> bool {
        let table = self.table.borrow();
        table.models.get(model).is_some_and(|m| m.replicas().any(|r| !avoid.contains(&r.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bee_table, replica};

    fn dispatcher(table: Table, hold: u64) -> (watch::Sender<Arc<Table>>, Dispatcher) {
        let (sender, receiver) = watch::channel(Arc::new(table));
        (sender, Dispatcher::new(receiver, Loads::default(), Duration::from_secs(hold), CancellationToken::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_held_until_a_replica_is_ready() {
        let (sender, dispatcher) = dispatcher(bee_table(vec![]), 30);
        let waiter = dispatcher.clone();
        let waiting = tokio::spawn(async move { waiter.place("bee").await.map(|p| p.replica().id.clone()) });
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(dispatcher.loads().waiting("bee"), 1);
        sender.send_replace(Arc::new(bee_table(vec![replica("a", "w", "u", 1)])));
        assert_eq!(waiting.await.unwrap().unwrap(), "a");
        assert_eq!(dispatcher.loads().waiting("bee"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_ends_with_503_and_retry_after() {
        let (_sender, dispatcher) = dispatcher(bee_table(vec![]), 30);
        let start = Instant::now();
        let error = dispatcher.place("bee").await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), 30);
        assert_eq!((error.status, error.retry_after), (503, Some(route::RETRY_AFTER_SECONDS)));
        assert!(error.message.contains("bee") && error.message.contains("Ready"), "{}", error.message);
        assert_eq!(dispatcher.place("no-such").await.unwrap_err().status, 404);
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_handed_on_in_order() {
        let (_sender, dispatcher) = dispatcher(bee_table(vec![replica("a", "w", "u", 1)]), 30);
        let first = dispatcher.place("bee").await.unwrap();
        let (log, mut order) = tokio::sync::mpsc::unbounded_channel();
        for n in 0..3 {
            let (waiter, log) = (dispatcher.clone(), log.clone());
            tokio::spawn(async move {
                let place = waiter.place("bee").await.unwrap();
                log.send(n).unwrap();
                tokio::time::sleep(Duration::from_secs(40)).await;
                drop(place);
            });
            tokio::task::yield_now().await;
        }
        drop((first, log));
        let mut seen = Vec::new();
        while let Some(n) = order.recv().await {
            seen.push(n);
        }
        assert_eq!(seen, [0, 1, 2], "in order, though each waited longer than a hold");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_queue() {
        let (_sender, dispatcher) = dispatcher(bee_table(vec![]), 30);
        let waiter = dispatcher.clone();
        let waiting = tokio::spawn(async move { waiter.place("bee").await.is_ok() });
        tokio::time::sleep(Duration::from_secs(1)).await;
        waiting.abort();
        let _ = waiting.await;
        assert_eq!(dispatcher.loads().waiting("bee"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_held_while_the_gateway_drains() {
        let (_sender, dispatcher) = dispatcher(bee_table(vec![]), 30);
        let waiter = dispatcher.clone();
        let waiting = tokio::spawn(async move { waiter.place("bee").await.map(|_| ()) });
        tokio::time::sleep(Duration::from_secs(1)).await;
        dispatcher.draining.cancel();
        let start = Instant::now();
        assert_eq!(waiting.await.unwrap().unwrap_err().code, rbee_wire::ErrorCode::Draining);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
