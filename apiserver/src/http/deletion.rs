//! What a delete makes of the stored object: pure functions from old to new.

use serde_json::Value;

use super::change::Outcome;
use super::meta;
use super::query::{DeleteOptions, Propagation};
use super::status::{ApiError, ApiResult, Qualified};
use crate::registry::{Builtin, Resource, definition};

/// What a delete does to the stored object.
pub fn delete(resource: &Resource, live: &Value, options: &DeleteOptions, now: &str) -> ApiResult<Outcome> {
    check_preconditions(resource, live, options)?;
    if resource.builtin == Some(Builtin::Namespace) {
        return Ok(delete_namespace(live, now));
    }
    let mut object = live.clone();
    let mut finalizers = gc_finalizers(live, options.propagation);
    if resource.builtin == Some(Builtin::Definition) && !meta::deleting(live) {
        if !finalizers.iter().any(|f| f == definition::CLEANUP_FINALIZER) {
            finalizers.push(definition::CLEANUP_FINALIZER.into());
        }
        let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        definition::set_condition(&mut object, "Terminating", "True", "InstanceDeletionPending", message, now);
    }
    meta::set_finalizers(&mut object, &finalizers);
    if finalizers.is_empty() {
        return Ok(Outcome::Delete(object));
    }
    meta::mark_deleting(&mut object, now);
    Ok(if object == *live { Outcome::Unchanged } else { Outcome::Store(object) })
}

fn check_preconditions(resource: &Resource, live: &Value, options: &DeleteOptions) -> ApiResult<()> {
    let kind = Qualified { group: &resource.group, name: &resource.kind };
    let name = meta::name(live);
    if let Some(uid) = options.uid.as_deref().filter(|u| *u != meta::uid(live)) {
        let own = meta::uid(live);
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({own}). The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(kind, name, &why));
    }
    let own = meta::text(live, "resourceVersion");
    if let Some(version) = options.version.as_deref().filter(|v| *v != own) {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({own}). The object might have been modified"
        );
        return Err(ApiError::conflict(kind, name, &why));
    }
    Ok(())
}

/// The finalizers of an object that is deleted with this policy.
fn gc_finalizers(live: &Value, policy: Option<Propagation>) -> Vec<String> {
    let own = meta::finalizers(live);
    let collector = |f: &&str| matches!(*f, "orphan" | "foregroundDeletion");
    let mut finalizers: Vec<String> = own.iter().filter(|f| !collector(f)).map(ToString::to_string).collect();
    let wanted = match policy {
        Some(Propagation::Orphan) => Some("orphan"),
        Some(Propagation::Foreground) => Some("foregroundDeletion"),
        Some(Propagation::Background) => None,
        None => own.iter().copied().find(collector),
    };
    finalizers.extend(wanted.map(ToString::to_string));
    finalizers
}

fn delete_namespace(live: &Value, now: &str) -> Outcome {
    let mut object = live.clone();
    if meta::deleting(live) {
        return if may_go_namespace(live) { Outcome::Delete(object) } else { Outcome::Unchanged };
    }
    meta::of_mut(&mut object).insert("deletionTimestamp".into(), now.into());
    object["status"]["phase"] = "Terminating".into();
    Outcome::Store(object)
}

fn may_go_namespace(live: &Value) -> bool {
    live["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty) && meta::finalizers(live).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use serde_json::json;

    const NOW: &str = "2001-02-03T04:05:06Z";

    fn live() -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default", "uid": "u1", "resourceVersion": "5"}})
    }

    fn try_delete(options: &DeleteOptions) -> ApiResult<Outcome> {
        let registry = Registry::builtin();
        delete(registry.find("", "v1", "configmaps").unwrap(), &live(), options, NOW)
    }

    #[test]
    fn policies_become_finalizers() {
        let finalizers = |policy| gc_finalizers(&live(), policy);
        assert_eq!(finalizers(Some(Propagation::Foreground)), ["foregroundDeletion"]);
        assert_eq!(finalizers(Some(Propagation::Orphan)), ["orphan"]);
        assert!(finalizers(None).is_empty());
        let options = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
        let Outcome::Store(marked) = try_delete(&options).unwrap() else { panic!("it was not marked") };
        assert!(meta::deleting(&marked));
        assert!(matches!(try_delete(&DeleteOptions::default()).unwrap(), Outcome::Delete(_)));
    }

    #[test]
    fn preconditions_hold() {
        for wrong in [
            DeleteOptions { uid: Some("other".into()), ..DeleteOptions::default() },
            DeleteOptions { version: Some("4".into()), ..DeleteOptions::default() },
        ] {
            assert_eq!(try_delete(&wrong).unwrap_err().code.as_u16(), 409);
        }
        let right = DeleteOptions { uid: Some("u1".into()), version: Some("5".into()), ..DeleteOptions::default() };
        assert!(try_delete(&right).is_ok());
    }

    #[test]
    fn a_namespace_ends_when_its_content_is_gone() {
        let live =
            json!({"metadata": {"name": "x"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let Outcome::Store(terminating) = delete_namespace(&live, "2001-02-03T04:05:06Z") else { panic!() };
        assert_eq!(terminating["status"]["phase"], "Terminating");
        assert_eq!(delete_namespace(&terminating, "2001-02-03T04:05:06Z"), Outcome::Unchanged);
    }
}
