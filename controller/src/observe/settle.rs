//! Waiting until the caches show what was just written, so that the next plan starts from it.

use std::{fmt::Debug, time::Duration};

use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};

use super::{Cache, key};
use crate::plan::Target;

/// One write that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub namespace: Option<String>,
    pub name: String,
    pub uid: Option<String>,
    pub change: Change,
}

/// What a write did, with the version that it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Made(Option<u64>),
    Changed(Option<u64>),
    Removed,
}

impl Written {
    /// The object that the API server answered a create with.
    pub fn made<K: Resource>(object: &K) -> Self {
        Self::new(object, Change::Made(version(object)))
    }

    /// The object that it answered another write with.
    pub fn changed<K: Resource>(object: &K) -> Self {
        Self::new(object, Change::Changed(version(object)))
    }

    /// The object that it removed.
    pub fn removed(target: &Target) -> Self {
        let Target { namespace, name, uid, .. } = target.clone();
        Self { namespace, name, uid: Some(uid), change: Change::Removed }
    }

    fn new<K: Resource>(object: &K, change: Change) -> Self {
        Self { namespace: object.namespace(), name: object.name_any(), uid: object.uid(), change }
    }
}

/// A cache that does not show a write.
#[derive(Debug, thiserror::Error)]
#[error(
    "the watch of {kind} has not shown {name} as it was written within {waited:?}: it is slow or broken, and nothing is planned until it has"
)]
pub struct Behind {
    kind: String,
    name: String,
    waited: Duration,
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
{
    /// Waits until the cache shows `written` or something newer.
    ///
    /// # Errors
    /// [`Behind`] after `patience`.
    pub async fn settle(&self, written: &[Written], patience: Duration) -> Result<(), Behind> {
        for write in written {
            let mut changes = self.changes.clone();
            let seen = changes.wait_for(|_| self.shows(write));
            if !matches!(tokio::time::timeout(patience, seen).await, Ok(Ok(_))) {
                return Err(Behind { kind: K::plural(&()).into_owned(), name: write.name.clone(), waited: patience });
            }
        }
        Ok(())
    }

    fn shows(&self, write: &Written) -> bool {
        let key: ObjectRef<K> = key(write.namespace.as_deref(), &write.name);
        let cached = self.store.get(&key);
        let Some(object) = cached else {
            // What was made and is not there has not come yet; anything else has been removed since.
            return !matches!(write.change, Change::Made(_));
        };
        match write.change {
            _ if object.uid() != write.uid => true,
            Change::Removed => false,
            Change::Made(written) | Change::Changed(written) => version(object.as_ref()) >= written,
        }
    }
}

/// Kubernetes documents resource versions as numbers that grow. One that is no number is taken for the newest.
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}
