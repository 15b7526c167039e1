//! What this machine computes with: backends, their devices, their memory.

pub mod cpu;
pub mod memory;

use rbee_crds::hive::HiveBackend;

/// Why the devices of a backend cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what}")]
pub struct InventoryError {
    pub what: &'static str,
    #[source]
    pub source: std::io::Error,
}

/// One backend's devices. CUDA and Metal are further implementations.
pub trait Inventory: Send + Sync {
    /// The devices with their memory as it is now; None where the machine has no such backend.
    ///
    /// # Errors
    /// The devices may be there, and cannot be asked.
    fn read(&self) -> Result<Option<HiveBackend>, InventoryError>;
}

/// Every backend that this build knows.
pub fn all() -> Vec<Box<dyn Inventory>> {
    vec![Box::new(cpu::Cpu::new())]
}

/// What the machine has now. A backend that cannot be asked is left out, with a warning.
pub fn read(inventories: &[Box<dyn Inventory>]) -> Vec<HiveBackend> {
    let read = |inventory: &dyn Inventory| match inventory.read() {
        Ok(backend) => backend,
        Err(e) => {
            let source = &e.source;
            tracing::warn!("{e}: {source}");
            None
        }
    };
    inventories.iter().filter_map(|inventory| read(inventory.as_ref())).collect()
}
