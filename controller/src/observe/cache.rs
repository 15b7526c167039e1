//! Watch caches: what the API server last said of every kind that the queen looks at.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::{
    Resource, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};
use rbee_crds::{Assignment, Hive, Model, Worker};
use tokio::sync::watch;

/// The caches of all kinds.
#[derive(Clone)]
pub struct Caches {
    pub models: Cache<Model>,
    pub workers: Cache<Worker>,
    pub assignments: Cache<Assignment>,
    pub hives: Cache<Hive>,
    /// Leases of the system namespace.
    pub leases: Cache<Lease>,
    /// Keys of Workers, without what is in them.
    pub secrets: Cache<Secret>,
    pub system_namespace: String,
}

/// The cache of one kind, and a signal of its changes.
#[derive(Clone)]
pub struct Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    pub store: Store<K>,
    /// Changes whenever the store may have.
    pub changes: watch::Receiver<u64>,
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
    ObjectRef<K>: Hash + Eq,
{
    /// Every object, in the order of namespace and name.
    pub fn all(&self) -> Vec<Arc<K>> {
        let mut all = self.store.state();
        all.sort_by(|a, b| (&a.meta().namespace, &a.meta().name).cmp(&(&b.meta().namespace, &b.meta().name)));
        all
    }

    /// One object.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>> {
        self.store.get(&super::key(namespace, name))
    }

    /// The object as it is cached, if it is still there.
    pub fn newest(&self, object: &Arc<K>) -> Arc<K> {
        self.get(object.namespace().as_deref(), &object.name_any()).unwrap_or_else(|| object.clone())
    }
}
