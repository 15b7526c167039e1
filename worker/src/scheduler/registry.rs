//! Requests by id, for cancelling from outside.

use super::Shared;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// The requests that somebody waits for.
#[derive(Default)]
pub(super) struct Registry(Mutex<HashMap<String, Vec<Arc<Shared>>>>);

impl Registry {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, Vec<Arc<Shared>>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends every request with this id at the next token.
    pub fn cancel(&self, id: &str) {
        self.with(|map| map.get(id).into_iter().flatten().for_each(|s| s.canceled.store(true, Ordering::Relaxed)));
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.with(|map| map.is_empty())
    }
}

/// A request in the registry. Dropping it takes the request out and cancels it.
pub(super) struct Entry {
    pub shared: Arc<Shared>,
    id: String,
    registry: Arc<Registry>,
}

impl Entry {
    pub fn new(registry: &Arc<Registry>, id: String) -> Self {
        let shared = Arc::new(Shared::default());
        registry.with(|map| map.entry(id.clone()).or_default().push(shared.clone()));
        Self { shared, id, registry: registry.clone() }
    }
}

impl Entry {
    pub fn canceled(&self) -> bool {
        self.shared.canceled.load(Ordering::Relaxed)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.canceled.store(true, Ordering::Relaxed);
        self.registry.with(|map| {
            if let Some(list) = map.get_mut(&self.id) {
                list.retain(|s| !Arc::ptr_eq(s, &self.shared));
                if list.is_empty() {
                    map.remove(&self.id);
                }
            }
        });
    }
}
