//! The key of a Worker's processes: 32 random bytes in a Secret that the Worker owns.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Resource, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use rand::RngCore;
use rbee_crds::{Worker, names};

use super::{Error, Executor};
use crate::{
    observe::Written,
    plan::{Target, worker::KeyStep},
};

/// The type of the Secret.
const KEY_TYPE: &str = "rbee.dev/worker-key";

impl Executor {
    /// Makes the key, after the one of an earlier Worker of this name has been removed.
    pub(super) async fn key(&self, worker: &Worker, step: KeyStep) -> Result<(), Error> {
        if let KeyStep::Replace(old) = &step {
            let removed = self.delete::<Secret>(old).await?;
            self.caches.secrets.settle(&[removed], self.patience).await?;
        }
        self.fence.check()?;
        let secret = new_key(worker, &random_key());
        let api: Api<Secret> = self.api(worker.metadata.namespace.as_deref());
        let params = PostParams { field_manager: Some(names::MANAGER_QUEEN.into()), ..PostParams::default() };
        match api.create(&params, &secret).await {
            Ok(made) => Ok(self.caches.secrets.settle(&[Written::made(&made)], self.patience).await?),
            // Somebody provides the key: theirs is used.
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            Err(source) => Err(Error::api("create secret", &Target::of(&secret), source)),
        }
    }
}

fn random_key() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn new_key(worker: &Worker, key: &str) -> Secret {
    let name = worker.name_any();
    Secret {
        metadata: ObjectMeta {
            name: Some(names::worker_key_secret(&name)),
            namespace: worker.namespace(),
            labels: Some(BTreeMap::from([(names::LABEL_WORKER.to_owned(), name)])),
            owner_references: worker.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(KEY_TYPE.to_owned()),
        immutable: Some(true),
        data: Some(BTreeMap::from([(names::WORKER_KEY_FIELD.to_owned(), ByteString(key.as_bytes().to_vec()))])),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_random_and_owned_by_their_worker() {
        let (a, b) = (random_key(), random_key());
        assert!(a != b && a.len() == 43, "two keys of 32 bytes");
        let mut worker: Worker = serde_json::from_value(serde_json::json!({
            "apiVersion": "rbee.dev/v1alpha1", "kind": "Worker",
            "metadata": {"name": "story", "namespace": "default", "uid": "u1"},
            "spec": {"modelRef": {"name": "bee"}},
        }))
        .expect("a Worker");
        worker.spec.replicas = Some(1);
        let secret = new_key(&worker, &a);
        assert_eq!(secret.name_any(), "worker-story-key");
        assert_eq!(secret.owner_references()[0].uid, "u1");
    }
}
