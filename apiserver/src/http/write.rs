//! Create, update and patch: from the request's body to a write that nobody else's write was lost by.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::Server;
use super::admit::{self, Incoming};
use super::change::{self, Context, Outcome, Part};
use super::encode::{self, Item};
use super::mechanism::{Changed, Mechanism, applied, made, problem, refuse_apply};
use super::meta;
use super::negotiate::{self, PatchType};
use super::path;
use super::query::{FieldValidation, WriteOptions};
use super::read;
use super::request::Call;
use super::scale;
use super::status::{ApiError, ApiResult, Qualified};
use super::views;
use crate::auth::Identity;
use crate::db::{Change, Expect, Key, Object, WriteError};
use crate::registry::{Builtin, Resource, definition};
use crate::schema::metadata;

/// Attempts at a change that races with others before the caller is told.
const ATTEMPTS: usize = 64;

/// What a change did.
pub struct Done {
    /// The object, in the form of the request's version.
    pub object: Value,
    /// It did not exist before.
    pub created: bool,
    /// Texts for Warning headers.
    pub warnings: Vec<String>,
}

/// POST to a collection.
pub async fn create(server: &Server, call: &Call, body: Body) -> ApiResult<Response> {
    let syntax = negotiate::content(call.content_type())?;
    let bytes = call.body(body).await?;
    let options = WriteOptions::parse(&call.query, "CreateOptions", false)?;
    let incoming = admit::decode(&call.resource, &bytes, syntax, options.field_validation)?;
    let manager = call.manager(&options.field_manager);
    let warnings = incoming.warnings.clone();
    let done = create_object(server, call, incoming, &options, &manager).await.map_err(|e| e.warning(&warnings))?;
    answer(server, call, StatusCode::CREATED, &done)
}

async fn create_object(
    server: &Server,
    call: &Call,
    incoming: Incoming,
    options: &WriteOptions,
    manager: &str,
) -> ApiResult<Done> {
    let Incoming { mut object, mut warnings } = incoming;
    meta::wipe_system_fields(&mut object);
    change::place(&call.resource, &mut object, &call.path.namespace)?;
    let generated = meta::name(&object).is_empty() && !meta::text(&object, "generateName").is_empty();
    let base = object.clone();
    for attempt in 0..8 {
        if generated {
            object = base.clone();
            admit::generate_name(&mut object, &server.suffix());
            admit::set_defaults(&call.resource, &mut object);
        }
        let named = (meta::name(&object).to_string(), server.now_text(), server.uid());
        check_namespace(server, call, &named.0)?;
        let ctx = context(call, Part::Main, manager, options.force, &named.1, &named.2);
        let ready = change::create(&ctx, object.clone(), false)?;
        warnings.extend(metadata::finalizer_warnings(&ready, None));
        authorize_object(&call.identity, call, &ready)?;
        match store_new(server, call, ready, options.dry_run).await {
            Ok(object) => return Ok(Done { object, created: true, warnings }),
            Err(e) if generated && e.reason == "AlreadyExists" && attempt < 7 => {}
            Err(e) => return Err(e),
        }
    }
    Err(ApiError::internal("no free name was found"))
}

fn context<'a>(call: &'a Call, part: Part, manager: &'a str, force: bool, now: &'a str, uid: &'a str) -> Context<'a> {
    Context { resource: &call.resource, part, manager, force, now, uid, namespace: call.namespace() }
}

/// A namespace must be there, and not be going away, for something to be created in it.
fn check_namespace(server: &Server, call: &Call, name: &str) -> ApiResult<()> {
    let resource = &call.resource;
    if resource.terminating {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(ApiError { message: why.into(), ..ApiError::method_not_supported(resource.qualified(), "create") });
    }
    if !resource.namespaced {
        return Ok(());
    }
    let namespace = &call.path.namespace;
    let Some(object) = server.db.get(&Key::new("namespaces", "", namespace.as_str())) else {
        return Err(ApiError::not_found(Qualified { group: "", name: "namespaces" }, namespace));
    };
    if meta::deleting(object.value()) {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = json!({"reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"), "field": "metadata.namespace"});
        return Err(ApiError::forbidden(resource.qualified(), name, &why).with_cause(cause));
    }
    Ok(())
}

/// A hive may only write what is its own, whatever the path says.
fn authorize_object(identity: &Identity, call: &Call, object: &Value) -> ApiResult<()> {
    use crate::auth::{Attributes, Decision};
    let what = Attributes {
        verb: call.verb.name(),
        group: &call.resource.group,
        resource: &call.resource.plural,
        subresource: &call.path.subresource,
        namespace: &call.path.namespace,
        name: meta::name(object),
    };
    match crate::auth::authorize_object(identity, &what, object) {
        Decision::Allow => Ok(()),
        Decision::Deny(why) => Err(ApiError::denied(call.resource.qualified(), meta::name(object), why)),
    }
}

async fn store_new(server: &Server, call: &Call, object: Value, dry_run: bool) -> ApiResult<Value> {
    let resource = &call.resource;
    let key = Key::new(resource.stored_as.clone(), call.namespace(), meta::name(&object));
    if dry_run {
        return match server.db.get(&key) {
            Some(_) => Err(exists(server, call, meta::name(&object))),
            None => Ok(object),
        };
    }
    let mut stored = object;
    views::to_stored(resource, &mut stored);
    settle_definition(server, resource, &mut stored);
    let name = meta::name(&stored).to_string();
    match server.db.write(key, Expect::Absent, Change::Put(stored)).await {
        Ok(written) => {
            server.settled(resource, written.revision).await;
            Ok(owned(resource, &written.object))
        }
        Err(WriteError::AlreadyExists) => Err(exists(server, call, &name)),
        Err(e) => Err(refused(resource, &name, &e)),
    }
}

/// 409, which says when the object there is about to go.
fn exists(server: &Server, call: &Call, name: &str) -> ApiError {
    let resource = &call.resource;
    let error = ApiError::already_exists(resource.qualified(), name);
    let live = server.db.get(&Key::new(resource.stored_as.clone(), call.namespace(), name));
    if live.is_some_and(|o| meta::deleting(o.value())) {
        return ApiError { message: format!("object is being deleted: {}", error.message), ..error };
    }
    error
}

/// Conditions and accepted names of a definition follow from its spec and the other definitions.
fn settle_definition(server: &Server, resource: &Resource, object: &mut Value) {
    if resource.builtin == Some(Builtin::Definition) {
        let registry = server.registry();
        let others: Vec<&Value> = registry.definitions().collect();
        definition::settle(object, &others, &server.now_text());
    }
}

fn owned(resource: &Resource, object: &Object) -> Value {
    read::in_version(resource, object.value())
}

/// The answer for a write that the database refused.
pub fn refused(resource: &Resource, name: &str, error: &WriteError) -> ApiError {
    match error {
        WriteError::AlreadyExists => ApiError::already_exists(resource.qualified(), name),
        WriteError::NotFound => ApiError::not_found(resource.qualified(), name),
        WriteError::Conflict { .. } => ApiError::modified(resource.qualified(), name),
        WriteError::Storage(_) => ApiError::unavailable("the server cannot store anything now"),
    }
}

/// PUT of an object, its status or its scale.
pub async fn update(server: &Server, call: &Call, body: Body) -> ApiResult<Response> {
    let part = part_of(call)?;
    path::check_name(&call.path.name)?;
    let syntax = negotiate::content(call.content_type())?;
    let bytes = call.body(body).await?;
    let options = WriteOptions::parse(&call.query, "UpdateOptions", false)?;
    let mechanism = if part == Part::Scale {
        Mechanism::ReplaceScale(decode_scale(&bytes, syntax)?)
    } else {
        let mut incoming = admit::decode(&call.resource, &bytes, syntax, options.field_validation)?;
        let warnings = incoming.warnings.clone();
        change::place(&call.resource, &mut incoming.object, &call.path.namespace)
            .and_then(|()| change::check_name(&incoming.object, &call.path.name, call.namespace()))
            .map_err(|e| e.warning(&warnings))?;
        Mechanism::Replace(incoming)
    };
    let done = carry_out(server, call, part, &mechanism, &options).await?;
    answer_part(server, call, part, &done)
}

/// PATCH of an object, its status or its scale.
pub async fn patch(server: &Server, call: &Call, body: Body) -> ApiResult<Response> {
    let part = part_of(call)?;
    let builtin = !call.resource.is_custom() || part == Part::Scale;
    let kind = negotiate::patch_type(call.content_type(), builtin)?;
    path::check_name(&call.path.name)?;
    let bytes = call.body(body).await?;
    let options = WriteOptions::parse(&call.query, "PatchOptions", kind == PatchType::Apply)?;
    let mechanism = match kind {
        PatchType::Apply => Mechanism::Apply(decode_apply(call, part, &bytes, &options)?),
        kind => Mechanism::Patch(kind, bytes),
    };
    let done = carry_out(server, call, part, &mechanism, &options).await?;
    answer_part(server, call, part, &done)
}

fn part_of(call: &Call) -> ApiResult<Part> {
    match call.path.subresource.as_str() {
        "" => Ok(Part::Main),
        "status" => Ok(Part::Status),
        "scale" => Ok(Part::Scale),
        "finalize" => Ok(Part::Finalize),
        _ => Err(ApiError::not_found(call.resource.qualified(), &call.path.name)),
    }
}

fn decode_scale(bytes: &[u8], syntax: negotiate::Syntax) -> ApiResult<Value> {
    let document = admit::parse(bytes, syntax).map_err(ApiError::bad_request)?;
    let kind = document.value["kind"].as_str().unwrap_or("Scale");
    if kind != "Scale" {
        let why = format!(
            "{kind} in version \"v1\" cannot be handled as a Scale: no kind {kind:?} is registered for version \"autoscaling/v1\""
        );
        return Err(ApiError::bad_request(why));
    }
    Ok(document.value)
}

/// The configuration of a server-side apply, checked against the path.
fn decode_apply(call: &Call, part: Part, bytes: &[u8], options: &WriteOptions) -> ApiResult<Incoming> {
    let bad = |why: &str| ApiError::bad_request(format!("error decoding YAML: {why}"));
    let document = admit::parse_yaml(bytes).map_err(|why| bad(&format!("error converting YAML to JSON: {why}")))?;
    let twice = document.duplicates;
    if options.field_validation == FieldValidation::Strict && !twice.is_empty() {
        let why = admit::in_yaml(&twice);
        return Err(ApiError::bad_request(format!("error strict decoding YAML: error converting YAML to JSON: {why}")));
    }
    let warnings = if options.field_validation == FieldValidation::Warn { twice } else { Vec::new() };
    let mut config = document.value;
    if !config.is_object() {
        let why = "json: cannot unmarshal value into Go value of type map[string]interface {}";
        return Err(bad(&format!("error unmarshaling JSON: while decoding JSON: {why}")));
    }
    if part != Part::Scale {
        let expected = call.resource.api_version();
        let given = config["apiVersion"].as_str().unwrap_or_default();
        if given.is_empty() && config["kind"].as_str().unwrap_or_default().is_empty() {
            return Err(ApiError::bad_request("invalid object type: /, Kind="));
        }
        if given != expected {
            let why = format!(
                "Incorrect version specified in apply patch. Specified patch version: {given}, expected: {expected}"
            );
            return Err(ApiError::bad_request(why));
        }
    }
    let own = meta::name(&config).to_string();
    match own.as_str() {
        "" => {
            meta::of_mut(&mut config).insert("name".into(), call.path.name.as_str().into());
        }
        own if own != call.path.name => {
            let name = &call.path.name;
            let why = format!("the name of the object ({own}) does not match the name on the URL ({name})");
            return Err(ApiError::bad_request(why));
        }
        _ => {}
    }
    let own = meta::namespace(&config);
    if !own.is_empty() && own != call.namespace() {
        change::place(&call.resource, &mut config, &call.path.namespace)?;
    }
    Ok(Incoming { object: config, warnings })
}

/// Reads, changes, writes; again when somebody else wrote in between.
async fn carry_out(
    server: &Server,
    call: &Call,
    part: Part,
    mechanism: &Mechanism,
    options: &WriteOptions,
) -> ApiResult<Done> {
    let resource = &call.resource;
    let name = &call.path.name;
    let manager = call.manager(&options.field_manager);
    let key = Key::new(resource.stored_as.clone(), call.namespace(), name.as_str());
    for _ in 0..ATTEMPTS {
        let Some(live) = server.db.get(&key) else {
            match create_instead(server, call, part, mechanism, options, &manager).await {
                Err(e) if e.reason == "AlreadyExists" => continue,
                other => return other,
            }
        };
        let (now, uid) = (server.now_text(), server.uid());
        let ctx = context(call, part, &manager, options.force, &now, &uid);
        let value = owned(resource, &live);
        authorize_object(&call.identity, call, &value)?;
        let changed = match mechanism {
            Mechanism::Apply(config) => applied(&ctx, config, &value)?,
            other => made(&ctx, call, other, &value, options)?,
        };
        let Changed { outcome, warnings } = changed;
        let expect = Expect::Revision(live.revision());
        let (change, object) = match outcome {
            Outcome::Unchanged => return Ok(Done { object: value, created: false, warnings }),
            Outcome::Store(object) => {
                authorize_object(&call.identity, call, &object)?;
                let mut stored = object.clone();
                views::to_stored(resource, &mut stored);
                if part == Part::Main {
                    settle_definition(server, resource, &mut stored);
                }
                (Change::Put(stored), object)
            }
            Outcome::Delete(object) => (Change::Delete, object),
        };
        if options.dry_run {
            return Ok(Done { object, created: false, warnings });
        }
        let deleted = matches!(change, Change::Delete);
        match server.db.write(key.clone(), expect, change).await {
            Ok(written) => {
                server.settled(resource, written.revision).await;
                let object = if deleted { object } else { owned(resource, &written.object) };
                return Ok(Done { object, created: false, warnings });
            }
            Err(WriteError::Conflict { .. } | WriteError::NotFound) => {}
            Err(e) => return Err(refused(resource, name, &e)),
        }
    }
    Err(ApiError::modified(resource.qualified(), name))
}

/// What a request makes of what is not there: an apply creates it, a PUT of some built-in kinds too.
async fn create_instead(
    server: &Server,
    call: &Call,
    part: Part,
    mechanism: &Mechanism,
    options: &WriteOptions,
    manager: &str,
) -> ApiResult<Done> {
    let resource = &call.resource;
    let missing = || ApiError::not_found(resource.qualified(), &call.path.name);
    let (now, uid) = (server.now_text(), server.uid());
    let ctx = context(call, part, manager, options.force, &now, &uid);
    let (object, tracked, mut warnings) = match mechanism {
        Mechanism::Apply(_) if part != Part::Main => return Err(missing()),
        Mechanism::Apply(incoming) => {
            let config = &incoming.object;
            let given = meta::uid(config);
            if !given.is_empty() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {given}, and no existing object was found"
                );
                return Err(ApiError::conflict(resource.qualified(), &call.path.name, &why));
            }
            let object = ctx.apply(|apply| crate::apply::apply(None, config, apply)).map_err(refuse_apply)?;
            (object, true, incoming.warnings.clone())
        }
        Mechanism::Replace(incoming)
            if part == Part::Main && resource.builtin.is_some_and(|b| super::rules::update_policy(b).1) =>
        {
            (incoming.object.clone(), false, incoming.warnings.clone())
        }
        _ => return Err(missing()),
    };
    check_namespace(server, call, &call.path.name)?;
    let mut incoming =
        admit::settle(resource, object, Vec::new(), FieldValidation::Ignore).map_err(|p| problem(resource, p))?;
    change::place(resource, &mut incoming.object, &call.path.namespace)?;
    meta::of_mut(&mut incoming.object).remove("resourceVersion");
    let ready = change::create(&ctx, incoming.object, tracked)?;
    warnings.extend(metadata::finalizer_warnings(&ready, None));
    authorize_object(&call.identity, call, &ready)?;
    let object = store_new(server, call, ready, options.dry_run).await?;
    Ok(Done { object, created: true, warnings })
}

fn answer_part(server: &Server, call: &Call, part: Part, done: &Done) -> ApiResult<Response> {
    if let (Part::Scale, Some(paths)) = (part, &call.resource.scale) {
        let scale = scale::shown(scale::read(&done.object, paths));
        return encode::scale(&scale, &call.accepted, call.include, server.now().as_second());
    }
    let code = if done.created { StatusCode::CREATED } else { StatusCode::OK };
    answer(server, call, code, done)
}

fn answer(server: &Server, call: &Call, code: StatusCode, done: &Done) -> ApiResult<Response> {
    let item = Item::Made(read::dressed(&call.resource, done.object.clone()));
    let now = server.now().as_second();
    let mut response = encode::object(code, &call.resource, &item, &call.accepted, call.include, now)?;
    encode::warn(&mut response, &done.warnings);
    Ok(response)
}
