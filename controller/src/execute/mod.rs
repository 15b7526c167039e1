//! Carries plans out, in their order and without choices. Every write names the uid, or the version too, that it was decided for.

mod error;
mod events;
mod fence;
mod secret;

use std::fmt::Debug;

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::NamespaceResourceScope,
};
use rbee_crds::{Assignment, Hive, Model, Worker, names};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

pub use error::Error;
pub use fence::{Deposed, Fence, Lead};

use crate::{
    observe::{Caches, Change, Written},
    plan::{Target, assignment, hive, model, worker},
};

/// The hands of one leader.
#[derive(Clone)]
pub struct Executor {
    pub client: Client,
    pub caches: Caches,
    pub fence: Fence,
    pub events: events::Events,
    /// How long the caches may take to show a write.
    pub patience: std::time::Duration,
}

impl Executor {
    /// The executor of a leader; `instance` is her identity in Events.
    pub fn new(client: Client, caches: Caches, fence: Fence, instance: &str, patience: std::time::Duration) -> Self {
        let events = events::Events::new(client.clone(), instance);
        Self { client, caches, fence, events, patience }
    }

    /// Carries out a Model's plan.
    ///
    /// # Errors
    /// [`Error`]; what was written until then stays, and planning again goes on from there.
    pub async fn model(&self, model: &Model, plan: model::Plan) -> Result<(), Error> {
        let model::Plan { status, notes } = plan;
        if let Some(status) = status {
            let written: Option<Model> =
                self.apply_status(self.api(model.metadata.namespace.as_deref()), &Target::of(model), &status).await?;
            self.caches.models.settle(written.as_ref().map(Written::changed).as_slice(), self.patience).await?;
        }
        self.events.publish(model, notes).await;
        Ok(())
    }

    /// Carries out a Worker's plan.
    ///
    /// # Errors
    /// As [`Executor::model`].
    pub async fn worker(&self, worker: &Worker, plan: worker::Plan) -> Result<(), Error> {
        let worker::Plan { key, delete, create, status, retire, notes, again: _ } = plan;
        if let Some(step) = key {
            self.key(worker, step).await?;
        }
        let mut written = vec![];
        for target in &delete {
            written.push(self.delete::<Assignment>(target).await?);
        }
        for assignment in &create {
            written.push(self.create(assignment).await?);
        }
        self.caches.assignments.settle(&written, self.patience).await?;
        if let Some(status) = status {
            let written: Option<Worker> =
                self.apply_status(self.api(worker.metadata.namespace.as_deref()), &Target::of(worker), &status).await?;
            self.caches.workers.settle(written.as_ref().map(Written::changed).as_slice(), self.patience).await?;
        }
        if let Some(retire) = retire {
            let gone = self.delete::<Worker>(&retire.worker).await?;
            if let Some(model) = &retire.model {
                self.delete::<Model>(model).await?;
            }
            self.caches.workers.settle(&[gone], self.patience).await?;
        }
        self.events.publish(worker, notes).await;
        Ok(())
    }

    /// Carries out an Assignment's plan.
    ///
    /// # Errors
    /// As [`Executor::model`].
    pub async fn assignment(&self, assignment: &Assignment, plan: assignment::Plan) -> Result<(), Error> {
        let assignment::Plan { step, notes, again: _ } = plan;
        let written = match &step {
            None => None,
            Some(assignment::Step::Release { assignment, finalizers }) => self.release(assignment, finalizers).await?,
            Some(assignment::Step::Collect { assignment, owner_name, owner_uid }) => {
                // A cache can lag; what runs is ended only when the API server itself says that its owner is gone.
                let owners: Api<Worker> = self.api(assignment.namespace.as_deref());
                let owner =
                    owners.get_opt(owner_name).await.map_err(|e| Error::api("look for the owner of", assignment, e))?;
                match owner {
                    Some(owner) if owner.uid().as_ref() == Some(owner_uid) => None,
                    _ => Some(self.delete::<Assignment>(assignment).await?),
                }
            }
        };
        self.caches.assignments.settle(written.as_slice(), self.patience).await?;
        self.events.publish(assignment, notes).await;
        Ok(())
    }

    /// Carries out a Hive's plan.
    ///
    /// # Errors
    /// As [`Executor::model`].
    pub async fn hive(&self, hive: &Hive, plan: hive::Plan) -> Result<(), Error> {
        let hive::Plan { ready, notes, again: _ } = plan;
        if let Some(ready) = ready {
            let written: Option<Hive> = self
                .apply_status(Api::all(self.client.clone()), &Target::of(hive), &json!({"conditions": [ready]}))
                .await?;
            self.caches.hives.settle(written.as_ref().map(Written::changed).as_slice(), self.patience).await?;
        }
        self.events.publish(hive, notes).await;
        Ok(())
    }

    fn api<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace.unwrap_or(names::DEFAULT_NAMESPACE))
    }

    /// Applies the queen's share of a status. An object that is gone, or another of its name, needs none.
    async fn apply_status<K>(&self, api: Api<K>, target: &Target, status: &impl Serialize) -> Result<Option<K>, Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        self.fence.check()?;
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": target.name, "uid": target.uid},
            "status": status,
        });
        let params = PatchParams::apply(names::MANAGER_QUEEN).force();
        match api.patch_status(&target.name, &params, &Patch::Apply(body)).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(source) => Err(Error::api("write the status of", target, source)),
        }
    }

    async fn create(&self, assignment: &Assignment) -> Result<Written, Error> {
        self.fence.check()?;
        let api: Api<Assignment> = self.api(assignment.metadata.namespace.as_deref());
        let params = PostParams { field_manager: Some(names::MANAGER_QUEEN.into()), ..PostParams::default() };
        let made = api.create(&params, assignment).await;
        made.map(|a| Written::made(&a)).map_err(|e| Error::api("create assignment", &Target::of(assignment), e))
    }

    /// Deletes the object if it is still the one that was decided about, in the version that was looked at.
    async fn delete<K>(&self, target: &Target) -> Result<Written, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        self.fence.check()?;
        let preconditions =
            Preconditions { uid: Some(target.uid.clone()), resource_version: target.resource_version.clone() };
        let params = DeleteParams::background().preconditions(preconditions);
        match self.api::<K>(target.namespace.as_deref()).delete(&target.name, &params).await {
            // What finalizers hold is answered as it is now; what is gone is answered as it was, or by a Status.
            Ok(answer) => Ok(answer
                .left()
                .filter(|object| !object.finalizers().is_empty())
                .map_or_else(|| Written::removed(target), |object| Written::changed(&object))),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Written::removed(target)),
            Err(source) => Err(Error::api("delete", target, source)),
        }
    }

    /// Leaves only these finalizers on the Assignment.
    async fn release(&self, target: &Target, finalizers: &[String]) -> Result<Option<Written>, Error> {
        self.fence.check()?;
        let body = json!({"metadata": {
            "uid": target.uid,
            "resourceVersion": target.resource_version,
            "finalizers": finalizers,
        }});
        let params = PatchParams { field_manager: Some(names::MANAGER_QUEEN.into()), ..PatchParams::default() };
        let api: Api<Assignment> = self.api(target.namespace.as_deref());
        match api.patch(&target.name, &params, &Patch::Merge(body)).await {
            Ok(object) if finalizers.is_empty() => {
                Ok(Some(Written { change: Change::Removed, ..Written::changed(&object) }))
            }
            Ok(object) => Ok(Some(Written::changed(&object))),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(source) => Err(Error::api("release", target, source)),
        }
    }
}
