//! A store that keeps nothing: for one-shot runs and tests.

use super::{Batch, Loaded, Store, StoreError};

/// Keeps nothing; the database's own memory is all there is.
#[derive(Debug, Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        Ok(Loaded::default())
    }

    fn commit(&mut self, _: Batch<'_>) -> Result<(), StoreError> {
        Ok(())
    }
}
