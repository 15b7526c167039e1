//! How many requests are where: the gateway's own counters, and the queue of each model. A leaf: its lock is never held
//! across an await, and nothing is called under it but pure routing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::route::{self, Decision, Load};
use crate::table::{Replica, Table, WorkerId};

/// Requests that may wait for one model.
pub const MAX_WAITING: usize = 512;
/// How long a replica that failed is left alone, unless its process changes before.
const EJECTED_FOR: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct State {
    replicas: HashMap<String, u32>,
    ejected: HashMap<String, Instant>,
    workers: BTreeMap<WorkerId, WorkerLoad>,
    /// Tickets of those who wait, the first in line first.
    queues: HashMap<String, BTreeSet<u64>>,
    next_ticket: u64,
}

/// What is told of a Worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerLoad {
    pub in_flight: u32,
    pub last_request: Option<Timestamp>,
}

/// The counters. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Loads {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Loads {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters stay usable even if a thread died while it held them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something changes after the call to `enable`.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// A ticket outside the queue, for a request that had its turn and failed through no fault of its own.
    pub fn again(&self, model: &str) -> Ticket {
        Ticket { loads: self.clone(), model: model.to_owned(), number: None }
    }

    /// Takes a place in the queue of a model, if there is one left.
    pub fn enqueue(&self, model: &str) -> Option<Ticket> {
        let mut state = self.lock();
        let number = state.next_ticket;
        let queue = state.queues.entry(model.to_owned()).or_default();
        if queue.len() >= MAX_WAITING {
            return None;
        }
        queue.insert(number);
        state.next_ticket += 1;
        drop(state);
        self.changed.notify_waiters();
        Some(Ticket { loads: self.clone(), model: model.to_owned(), number: Some(number) })
    }

    /// Decides for the holder of a ticket. The place at a replica is taken with the decision, so two never share one. Who is
    /// not first in line is told that all are busy.
    pub fn try_take(&self, table: &Table, ticket: &Ticket, avoid: &HashSet<String>, now: Timestamp) -> Taken {
        let mut state = self.lock();
        let instant = Instant::now();
        state.ejected.retain(|_, until| *until > instant);
        let decision = route::route(table, &ticket.model, |replica| Load {
            in_flight: state.replicas.get(&replica.id).copied().unwrap_or(0),
            avoid: avoid.contains(&replica.id) || state.ejected.contains_key(&replica.id),
        });
        let first = ticket.number.is_none_or(|n| state.queues.get(&ticket.model).and_then(|q| q.first()) == Some(&n));
        match decision {
            Decision::To(replica) if first => {
                *state.replicas.entry(replica.id.clone()).or_default() += 1;
                let worker = state.workers.entry(replica.worker.clone()).or_default();
                worker.in_flight += 1;
                worker.last_request = Some(now);
                Taken::Place(Place { loads: self.clone(), replica })
            }
            Decision::To(_) | Decision::Busy => Taken::Busy,
            Decision::Hold(text) => Taken::Hold(text),
            Decision::Refuse(error) => Taken::Refuse(error),
        }
    }

    /// Leaves a replica alone for a moment: it could not be reached, or it stopped in the middle.
    pub fn eject(&self, replica: &Replica) {
        self.lock().ejected.insert(replica.id.clone(), Instant::now() + EJECTED_FOR);
        self.changed.notify_waiters();
    }

    /// When the next replica that was left alone may be tried again.
    pub fn next_return(&self) -> Option<Instant> {
        self.lock().ejected.values().min().copied()
    }

    /// Load per Worker.
    pub fn workers(&self) -> BTreeMap<WorkerId, WorkerLoad> {
        self.lock().workers.clone()
    }

    /// How many wait for a model.
    pub fn waiting(&self, model: &str) -> u32 {
        self.lock().queues.get(model).map_or(0, |q| u32::try_from(q.len()).unwrap_or(u32::MAX))
    }

    /// Requests that are at a replica.
    #[cfg(test)]
    pub fn in_flight_total(&self) -> u32 {
        self.lock().workers.values().map(|w| w.in_flight).sum()
    }

    /// Forgets Workers that are gone and have nothing in flight.
    pub fn forget(&self, exists: impl Fn(&WorkerId) -> bool) {
        self.lock().workers.retain(|id, load| load.in_flight > 0 || exists(id));
    }
}

/// What became of an attempt to get a place.
#[derive(Debug)]
pub enum Taken {
    Place(Place),
    Busy,
    Hold(String),
    Refuse(rbee_wire::ApiError),
}

/// A place in the queue of a model; given up when dropped.
#[derive(Debug)]
pub struct Ticket {
    loads: Loads,
    model: String,
    /// None: not in the queue.
    number: Option<u64>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut state = self.loads.lock();
        if let Some(queue) = state.queues.get_mut(&self.model) {
            queue.remove(&number);
            if queue.is_empty() {
                state.queues.remove(&self.model);
            }
        }
        drop(state);
        self.loads.changed.notify_waiters();
    }
}

/// A request's place at a replica; given up when dropped.
#[derive(Debug)]
pub struct Place {
    loads: Loads,
    replica: Arc<Replica>,
}

impl Place {
    pub fn replica(&self) -> &Replica {
        &self.replica
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.loads.lock();
        if let Some(count) = state.replicas.get_mut(&self.replica.id) {
            *count -= 1;
            if *count == 0 {
                state.replicas.remove(&self.replica.id);
            }
        }
        if let Some(worker) = state.workers.get_mut(&self.replica.worker) {
            worker.in_flight -= 1;
        }
        drop(state);
        self.loads.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bee_table, replica, worker_id};

    fn take(loads: &Loads, table: &Table, ticket: &Ticket) -> Taken {
        loads.try_take(table, ticket, &HashSet::new(), Timestamp::UNIX_EPOCH)
    }

    fn place(taken: Taken) -> Place {
        match taken {
            Taken::Place(place) => place,
            other => panic!("no place: {other:?}"),
        }
    }

    #[test]
    fn places_are_taken_in_the_order_of_the_queue_and_given_back() {
        let (loads, table) = (Loads::default(), bee_table(vec![replica("a", "w", "u", 1)]));
        let (first, second) = (loads.enqueue("bee").unwrap(), loads.enqueue("bee").unwrap());
        assert_eq!(loads.waiting("bee"), 2);
        assert!(matches!(take(&loads, &table, &second), Taken::Busy), "the second must not overtake");
        let taken = place(take(&loads, &table, &first));
        drop(first);
        assert!(matches!(take(&loads, &table, &second), Taken::Busy));
        assert_eq!(loads.workers()[&worker_id("w")].in_flight, 1);
        drop(taken);
        let taken = place(take(&loads, &table, &second));
        drop((second, taken));
        assert_eq!((loads.waiting("bee"), loads.in_flight_total()), (0, 0));
    }

    #[test]
    fn the_queue_of_a_model_is_bounded() {
        let loads = Loads::default();
        let tickets: Vec<Ticket> = (0..MAX_WAITING).map(|_| loads.enqueue("bee").unwrap()).collect();
        assert!(loads.enqueue("bee").is_none());
        assert!(loads.enqueue("other").is_some());
        drop(tickets);
        assert!(loads.enqueue("bee").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_failed_is_left_alone_for_a_moment() {
        let (loads, table) = (Loads::default(), bee_table(vec![replica("a", "w", "u", 1)]));
        let ticket = loads.enqueue("bee").unwrap();
        loads.eject(&replica("a", "w", "u", 1));
        assert!(matches!(take(&loads, &table, &ticket), Taken::Hold(_)));
        tokio::time::sleep_until(loads.next_return().unwrap()).await;
        place(take(&loads, &table, &ticket));
    }
}
