//! What a create, an update or a delete makes of the stored object: pure functions from old to new.

use serde_json::Value;

use super::admit;
use super::meta;
use super::rules;
use super::status::{ApiError, ApiResult};
use crate::apply;
use crate::registry::{Builtin, Resource};
use crate::schema::{FieldError, Structural};

/// Which part of an object a request writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status.
    Main,
    /// The status alone.
    Status,
    /// The replicas alone.
    Scale,
    /// `finalize` of a Namespace: `spec.finalizers` alone.
    Finalize,
}

impl Part {
    /// The subresource's name, empty for the object itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Finalize => "finalize",
        }
    }
}

/// What every change needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The resource, in the version of the request.
    pub resource: &'a Resource,
    /// What is written.
    pub part: Part,
    /// Who writes.
    pub manager: &'a str,
    /// `force` of an apply.
    pub force: bool,
    /// RFC 3339 in seconds.
    pub now: &'a str,
    /// A new uid, for creates.
    pub uid: &'a str,
    /// Namespace of the path, empty for cluster-scoped kinds.
    pub namespace: &'a str,
}

/// What to do with the stored object.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Nothing: it is as it shall be.
    Unchanged,
    /// It becomes this.
    Store(Value),
    /// It goes; this is its last state.
    Delete(Value),
}

impl<'a> Context<'a> {
    /// For server-side apply and managed fields.
    pub fn apply<T>(&self, run: impl FnOnce(&apply::Context<'_>) -> T) -> T {
        static ANYTHING: std::sync::LazyLock<Structural> = std::sync::LazyLock::new(Default::default);
        let api_version = self.resource.api_version();
        run(&apply::Context {
            schema: self.resource.schema.as_deref().unwrap_or(&ANYTHING),
            manager: self.manager,
            force: self.force,
            now: self.now,
            subresource: self.part.name(),
            api_version: &api_version,
            has_status: self.resource.status,
        })
    }
}

/// The namespace of an object must be the path's; an empty one is filled in.
pub fn place(resource: &Resource, object: &mut Value, namespace: &str) -> ApiResult<()> {
    let wanted = if resource.namespaced { namespace } else { "" };
    let own = meta::namespace(object);
    if own == wanted {
        return Ok(());
    }
    if own.is_empty() && !wanted.is_empty() {
        meta::of_mut(object).insert("namespace".into(), wanted.into());
        return Ok(());
    }
    if wanted.is_empty() {
        // Kubernetes forgives the namespace of a cluster-scoped object.
        meta::of_mut(object).remove("namespace");
        return Ok(());
    }
    let why = "the namespace of the provided object does not match the namespace sent on the request";
    Err(ApiError::bad_request(why))
}

/// An object that a client wants created, ready to be stored. `tracked`: its managed fields were written already.
pub fn create(ctx: &Context<'_>, mut object: Value, tracked: bool) -> ApiResult<Value> {
    if !tracked {
        let blank = ctx.resource.builtin.map(|builtin| {
            let mut blank = rules::blank(builtin);
            for key in ["apiVersion", "kind"] {
                blank[key] = object[key].clone();
            }
            blank
        });
        ctx.apply(|apply| apply::track_update(blank.as_ref(), &mut object, apply));
    }
    let resource = ctx.resource;
    if resource.is_custom()
        && resource.status
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
    }
    if let Some(builtin) = resource.builtin {
        rules::prepare_create(builtin, &mut object);
    }
    if !meta::text(&object, "resourceVersion").is_empty() {
        return Err(ApiError::unknown("resourceVersion should not be set on objects to be created"));
    }
    let metadata = meta::of_mut(&mut object);
    metadata.insert("uid".into(), ctx.uid.into());
    metadata.insert("creationTimestamp".into(), ctx.now.into());
    metadata.remove("generation");
    if resource.generation {
        metadata.insert("generation".into(), 1.into());
    }
    let errors = admit::validate(resource, &object, None, false);
    if !errors.is_empty() {
        return Err(ApiError::invalid(admit::kind_of(resource, &object), meta::name(&object), &errors));
    }
    Ok(object)
}

/// A new state of a stored object. `tracked`: its managed fields were written already.
pub fn update(ctx: &Context<'_>, mut object: Value, live: &Value, tracked: bool) -> ApiResult<Outcome> {
    let resource = ctx.resource;
    if meta::text(&object, "resourceVersion").is_empty() {
        let version = meta::text(live, "resourceVersion").to_string();
        meta::of_mut(&mut object).insert("resourceVersion".into(), version.into());
    }
    if !tracked {
        ctx.apply(|apply| apply::track_update(Some(live), &mut object, apply));
    }
    if ctx.part == Part::Scale {
        forget_scale_time(&mut object);
    }
    prepare(ctx, &mut object, live);
    carry_metadata(&mut object, live);
    let errors = admit::validate(resource, &object, Some(live), ctx.part == Part::Status);
    if !errors.is_empty() {
        return Err(ApiError::invalid(admit::kind_of(resource, &object), meta::name(&object), &errors));
    }
    if meta::deleting(live) && may_go(resource, &object) {
        return Ok(Outcome::Delete(object));
    }
    if same_but_times(&object, live) {
        return Ok(Outcome::Unchanged);
    }
    Ok(Outcome::Store(object))
}

/// Kubernetes keeps no time of writes of the scale.
fn forget_scale_time(object: &mut Value) {
    for entry in meta::of_mut(object).get_mut("managedFields").and_then(Value::as_array_mut).into_iter().flatten() {
        if entry["subresource"] == "scale" && entry["operation"] == "Update" {
            entry.as_object_mut().map(|e| e.remove("time"));
        }
    }
}

/// Nothing holds a deleted object any more.
fn may_go(resource: &Resource, object: &Value) -> bool {
    let held = resource.builtin == Some(Builtin::Namespace)
        && object["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    meta::finalizers(object).is_empty() && !held
}

/// Takes back what this part of the object may not write, and counts the generation.
fn prepare(ctx: &Context<'_>, object: &mut Value, live: &Value) {
    let resource = ctx.resource;
    match ctx.part {
        Part::Main | Part::Scale => {
            if resource.is_custom() && resource.status {
                keep(object, live, "status");
            }
            if let Some(builtin) = resource.builtin {
                rules::prepare_update(builtin, object, live);
            }
        }
        Part::Status => only(object, live, &["status"]),
        Part::Finalize => only(object, live, &["spec"]),
    }
    let generation = meta::generation(live);
    let metadata = meta::of_mut(object);
    if generation == 0 {
        metadata.remove("generation");
        return;
    }
    metadata.insert("generation".into(), generation.into());
    let counts = resource.generation && matches!(ctx.part, Part::Main | Part::Scale);
    if counts && !same_content(object, live) {
        meta::of_mut(object).insert("generation".into(), (generation + 1).into());
    }
}

fn keep(object: &mut Value, live: &Value, key: &str) {
    let Some(map) = object.as_object_mut() else { return };
    match live.get(key) {
        Some(value) => {
            map.insert(key.into(), value.clone());
        }
        None => {
            map.remove(key);
        }
    }
}

/// The live object with these fields and the managed fields of the new one.
fn only(object: &mut Value, live: &Value, keys: &[&str]) {
    let mut result = live.clone();
    for key in keys {
        keep(&mut result, object, key);
    }
    let managed = meta::of(object).get("managedFields").cloned();
    let version = meta::of(object).get("resourceVersion").cloned();
    let metadata = meta::of_mut(&mut result);
    for (key, value) in [("managedFields", managed), ("resourceVersion", version)] {
        match value {
            Some(value) => metadata.insert(key.into(), value),
            None => metadata.remove(key),
        };
    }
    *object = result;
}

/// Equal but for the metadata.
fn same_content(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let others = |map: &serde_json::Map<String, Value>| map.keys().filter(|k| *k != "metadata").count();
    others(a) == others(b) && a.iter().all(|(k, v)| k == "metadata" || b.get(k) == Some(v))
}

/// What an update cannot change by leaving it out.
fn carry_metadata(object: &mut Value, live: &Value) {
    let old = meta::of(live).clone();
    let metadata = meta::of_mut(object);
    if metadata.get("uid").and_then(Value::as_str).unwrap_or_default().is_empty()
        && let Some(uid) = old.get("uid")
    {
        metadata.insert("uid".into(), uid.clone());
    }
    for key in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(value) = old.get(key) {
            metadata.insert(key.into(), value.clone());
        }
    }
    if let (Some(value), None) = (old.get("deletionGracePeriodSeconds"), metadata.get("deletionGracePeriodSeconds")) {
        metadata.insert("deletionGracePeriodSeconds".into(), value.clone());
    }
    metadata.remove("selfLink");
}

/// Equal but for resource versions and the times of managed fields.
fn same_but_times(a: &Value, b: &Value) -> bool {
    if !same_content(a, b) {
        return false;
    }
    let (a, b) = (meta::of(a), meta::of(b));
    let plain = |map: &serde_json::Map<String, Value>| {
        let mut map = map.clone();
        map.remove("resourceVersion");
        for entry in map.get_mut("managedFields").and_then(Value::as_array_mut).into_iter().flatten() {
            entry.as_object_mut().map(|e| e.remove("time"));
        }
        map
    };
    plain(a) == plain(b)
}

/// The name in the body must be the path's.
pub fn check_name(object: &Value, name: &str, namespace: &str) -> ApiResult<()> {
    let own = meta::name(object);
    if own.is_empty() {
        let why = format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
        return Err(ApiError::bad_request(why));
    }
    if own != name {
        let why = format!("the name of the object ({own}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(why));
    }
    let own = meta::namespace(object);
    if !namespace.is_empty() && !own.is_empty() && own != namespace {
        let why =
            format!("the namespace of the object ({own}) does not match the namespace on the request ({namespace})");
        return Err(ApiError::bad_request(why));
    }
    Ok(())
}

/// The resource version that an update expects the live object to have, or none for any.
pub fn expected_version(resource: &Resource, object: &Value, live: &Value) -> ApiResult<()> {
    let name = meta::name(live);
    let given = meta::text(object, "resourceVersion");
    let given = match given {
        "" => 0,
        text => text
            .parse::<u64>()
            .map_err(|_| ApiError::unknown(format!("strconv.ParseUint: parsing {text:?}: invalid syntax")))?,
    };
    if given == 0 {
        let unconditional = resource.builtin.is_some_and(|b| rules::update_policy(b).0);
        if unconditional {
            return Ok(());
        }
        let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
        return Err(ApiError::invalid(resource.qualified(), name, &[error]));
    }
    if meta::text(live, "resourceVersion") != given.to_string() {
        return Err(ApiError::modified(resource.qualified(), name));
    }
    check_uid(resource, object, live)
}

/// A uid in the body is a precondition.
pub fn check_uid(resource: &Resource, object: &Value, live: &Value) -> ApiResult<()> {
    let (given, own) = (meta::uid(object), meta::uid(live));
    if given.is_empty() || given == own {
        return Ok(());
    }
    let key = registry_key(resource, live);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object meta: {own}"
    );
    Err(ApiError::conflict(resource.qualified(), meta::name(live), &why))
}

/// The name of an object as Kubernetes' errors have it.
fn registry_key(resource: &Resource, object: &Value) -> String {
    let parts = [resource.group.as_str(), &resource.plural, meta::namespace(object), meta::name(object)];
    let parts: Vec<&str> = parts.into_iter().filter(|p| !p.is_empty()).collect();
    format!("/registry/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use serde_json::json;

    fn with<T>(plural: &str, part: Part, run: impl FnOnce(&Context<'_>) -> T) -> T {
        let registry = Registry::builtin();
        let resource = registry.find("", "v1", plural).unwrap();
        let now = "2001-02-03T04:05:06Z";
        run(&Context { resource, part, manager: "t", force: false, now, uid: "u1", namespace: "default" })
    }

    fn map(version: &str, data: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default", "uid": "u1",
            "creationTimestamp": "2001-02-03T04:05:06Z", "resourceVersion": version}, "data": data})
    }

    #[test]
    fn an_update_that_changes_nothing_is_none() {
        let live = map("5", &json!({"a": "1"}));
        with("configmaps", Part::Main, |ctx| {
            assert_eq!(update(ctx, live.clone(), &live, true).unwrap(), Outcome::Unchanged);
            let changed = map("5", &json!({"a": "2"}));
            assert!(matches!(update(ctx, changed, &live, true).unwrap(), Outcome::Store(_)));
        });
    }

    #[test]
    fn the_last_finalizer_lets_go() {
        let mut live = map("5", &json!({}));
        live["metadata"]["deletionTimestamp"] = "2001-02-03T04:05:06Z".into();
        live["metadata"]["finalizers"] = json!(["x.dev/hold"]);
        let mut free = live.clone();
        meta::set_finalizers(&mut free, &[]);
        with("configmaps", Part::Main, |ctx| {
            assert!(matches!(update(ctx, free, &live, true).unwrap(), Outcome::Delete(_)));
        });
    }

    #[test]
    fn a_stale_version_is_a_conflict() {
        let live = map("5", &json!({}));
        with("configmaps", Part::Main, |ctx| {
            let stale = map("4", &json!({}));
            assert_eq!(expected_version(ctx.resource, &stale, &live).unwrap_err().code.as_u16(), 409);
            expected_version(ctx.resource, &map("5", &json!({})), &live).unwrap();
        });
    }

    #[test]
    fn names_must_match_the_path() {
        let object = map("5", &json!({}));
        check_name(&object, "c", "default").unwrap();
        assert!(
            check_name(&object, "d", "default").unwrap_err().message.contains("does not match the name on the URL (d)")
        );
        let nameless = json!({"metadata": {}});
        assert!(check_name(&nameless, "a", "").unwrap_err().message.contains("was undeterminable"));
    }
}
