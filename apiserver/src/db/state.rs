//! The whole content at one revision, with the watch history up to it: an immutable value that shares structure.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::{HashMap, OrdMap, Vector};

use super::{Change, Event, EventKind, Expect, Gone, Key, Object, WriteError, Written};
use crate::store::{Loaded, Record};

/// How much watch history is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Number of events.
    pub events: usize,
    /// Bytes of JSON of the objects in the events.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: 10_000, bytes: 64 << 20 }
    }
}

/// Events of one resource, oldest first.
#[derive(Debug, Clone, Default)]
struct Log {
    events: Vector<Arc<Event>>,
    /// Revision of the newest event that is not kept any more.
    trimmed: u64,
}

/// Content and history at one revision.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    revision: u64,
    /// Newest revision whose event is not kept any more.
    floor: u64,
    /// The floor when this content was loaded: no log reaches below it.
    loaded_floor: u64,
    objects: OrdMap<Key, Arc<Object>>,
    history: Vector<Arc<Event>>,
    history_bytes: usize,
    logs: HashMap<Arc<str>, Log>,
}

impl State {
    /// The content of a store.
    pub(crate) fn restore(loaded: Loaded) -> Result<Self, String> {
        let mut state = Self { floor: loaded.floor, loaded_floor: loaded.floor, ..Self::default() };
        for record in loaded.records {
            let Record { revision, key, previous, json } = record;
            let object = match json {
                Some(json) => Object::from_json(key.clone(), revision, json)
                    .map(Some)
                    .map_err(|error| format!("revision {revision} ({key}) is not JSON: {error}"))?,
                None => None,
            };
            let before = state.objects.get(&key).map(|object| object.revision());
            if revision > state.floor && before != previous {
                return Err(format!("revision {revision} ({key}) follows {previous:?}, but {before:?} is there"));
            }
            state.put(&key, revision, object);
        }
        state.revision = loaded.revision;
        Ok(state)
    }

    /// Number of objects.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// Objects of a resource (in one namespace), in order of namespace and name, behind `after` if given.
    pub(crate) fn list<'a>(
        &'a self,
        resource: &'a str,
        namespace: Option<&'a str>,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        let start = match after {
            Some((namespace, name)) => Bound::Excluded(Key::new(resource, namespace, name)),
            None => Bound::Included(Key::new(resource, namespace.unwrap_or_default(), "")),
        };
        let wanted = move |key: &Key| key.resource() == resource && namespace.is_none_or(|n| key.namespace() == n);
        self.objects.range((start, Bound::Unbounded)).take_while(move |(key, _)| wanted(key)).map(|(_, object)| object)
    }

    /// Revisions of this resource from which a watch can be continued begin here.
    pub(crate) fn oldest(&self, resource: &str) -> u64 {
        self.logs.get(resource).map_or(self.loaded_floor, |log| log.trimmed.max(self.loaded_floor))
    }

    /// The first event of a resource (in one namespace) after a revision.
    pub(crate) fn event_after(
        &self,
        resource: &str,
        namespace: Option<&str>,
        after: u64,
    ) -> Result<Option<Arc<Event>>, Gone> {
        let oldest = self.oldest(resource);
        if after < oldest {
            return Err(Gone { oldest });
        }
        let Some(log) = self.logs.get(resource) else { return Ok(None) };
        let start = log.events.binary_search_by(|event| event.revision.cmp(&after)).map_or_else(|at| at, |at| at + 1);
        let wanted = |event: &&Arc<Event>| namespace.is_none_or(|n| event.object.key().namespace() == n);
        Ok(log.events.focus().narrow(start..).into_iter().find(wanted).cloned())
    }

    /// Carries out one write, or says why not. Returns what to tell the writer and what to store.
    pub(crate) fn write(&mut self, key: &Key, expect: Expect, change: Change) -> Result<(Written, Record), WriteError> {
        let current = self.objects.get(key).cloned();
        match (expect, &current) {
            (Expect::Absent, Some(_)) => return Err(WriteError::AlreadyExists),
            (Expect::Revision(_), None) => return Err(WriteError::NotFound),
            (Expect::Revision(revision), Some(object)) if object.revision() != revision => {
                return Err(WriteError::Conflict { current: object.clone() });
            }
            _ => {}
        }
        let revision = self.revision + 1;
        let new = match change {
            Change::Put(value) => Some(Object::at(key.clone(), revision, value)),
            Change::Delete if current.is_none() => return Err(WriteError::NotFound),
            Change::Delete => None,
        };
        let json: Option<Bytes> = new.as_ref().map(|object| object.json().clone());
        let object = self.put(key, revision, new);
        let previous = current.map(|object| object.revision());
        let record = Record { revision, key: key.clone(), previous, json };
        Ok((Written { revision, object }, record))
    }

    /// Puts an object in place, or takes it away; returns what the event shows.
    fn put(&mut self, key: &Key, revision: u64, object: Option<Object>) -> Arc<Object> {
        let (previous, shown, kind) = match object {
            Some(object) => {
                let object = Arc::new(object);
                let previous = self.objects.insert(key.clone(), object.clone());
                let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
                (previous, object, kind)
            }
            None => {
                let previous = self.objects.remove(key);
                let last = match &previous {
                    Some(object) => object.deleted_at(revision),
                    None => Object::at(key.clone(), revision, serde_json::Value::Null),
                };
                (previous, Arc::new(last), EventKind::Deleted)
            }
        };
        self.revision = revision;
        if revision > self.floor {
            let event = Arc::new(Event { kind, revision, object: shown.clone(), previous });
            self.history_bytes += event.object.json().len();
            self.history.push_back(event.clone());
            self.logs.entry(key.resource_arc().clone()).or_default().events.push_back(event);
        }
        shown
    }

    /// Drops the oldest events beyond the limits; returns the revisions whose records nobody needs any more.
    pub(crate) fn trim(&mut self, limits: Limits) -> Vec<u64> {
        let mut forget = Vec::new();
        while self.history.len() > limits.events || (self.history_bytes > limits.bytes && self.history.len() > 1) {
            let Some(event) = self.history.pop_front() else { break };
            self.history_bytes -= event.object.json().len();
            self.floor = event.revision;
            if let Some(log) = self.logs.get_mut(event.object.key().resource()) {
                log.events.pop_front();
                log.trimmed = event.revision;
            }
            forget.extend(event.previous.as_ref().map(|object| object.revision()));
            if event.kind == EventKind::Deleted {
                forget.push(event.revision);
            }
        }
        forget
    }
}
