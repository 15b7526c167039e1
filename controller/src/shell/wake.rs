//! Wake-ups: which objects are to be looked at again. They carry no data, so one that is set twice is set once.

use std::{
    collections::HashSet,
    convert::Infallible,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, stream};
use kube::{
    Resource,
    runtime::reflector::{Lookup, ObjectRef},
};
use tokio::sync::Notify;

/// The objects of one kind that wait to be looked at. Holds each at most once.
pub struct Wake<K: Lookup>(Arc<Inner<K>>);

struct Inner<K: Lookup> {
    due: Mutex<HashSet<ObjectRef<K>>>,
    set: Notify,
}

impl<K: Lookup> Clone for Wake<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Wake<K>
where
    K: Resource<DynamicType = ()>,
{
    fn default() -> Self {
        Self(Arc::new(Inner { due: Mutex::default(), set: Notify::new() }))
    }
}

impl<K> Wake<K>
where
    K: Resource<DynamicType = ()> + 'static,
    ObjectRef<K>: Hash + Eq,
{
    /// Has these looked at.
    pub fn set(&self, keys: impl IntoIterator<Item = ObjectRef<K>>) {
        let mut due = self.0.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.extend(keys);
        if !due.is_empty() {
            self.0.set.notify_one();
        }
    }

    fn take(&self) -> Vec<ObjectRef<K>> {
        let mut due = self.0.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.drain().collect()
    }

    /// What is due, as it becomes due. There shall be one reader.
    pub fn stream(self) -> impl Stream<Item = Result<ObjectRef<K>, Infallible>> + Send + 'static
    where
        K: Send + Sync,
    {
        stream::unfold((self, Vec::new()), |(wake, mut taken): (Self, Vec<ObjectRef<K>>)| async move {
            loop {
                if let Some(key) = taken.pop() {
                    return Some((Ok(key), (wake, taken)));
                }
                taken = wake.take();
                if taken.is_empty() {
                    wake.0.set.notified().await;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use rbee_crds::Model;

    #[tokio::test]
    async fn a_key_set_twice_comes_once_and_none_is_forgotten() {
        let wake: Wake<Model> = Wake::default();
        let key = |name: &str| ObjectRef::<Model>::new(name).within("default");
        wake.set([key("a"), key("b"), key("a")]);
        let stream = wake.clone().stream();
        futures::pin_mut!(stream);
        let mut got = vec![];
        for _ in 0..2 {
            got.push(stream.next().await.and_then(Result::ok).map(|k| k.name));
        }
        got.sort();
        assert_eq!(got, [Some("a".to_owned()), Some("b".to_owned())]);
        wake.set([key("c")]);
        assert_eq!(stream.next().await.and_then(Result::ok).map(|k| k.name), Some("c".to_owned()));
    }
}
