//! What PUT, PATCH and server-side apply make of the live object: pure functions from old to new.

use bytes::Bytes;
use serde_json::{Value, json};

use super::admit::{self, Incoming, Problem};
use super::change::{self, Context, Outcome, Part};
use super::meta;
use super::negotiate::PatchType;
use super::query::{FieldValidation, WriteOptions};
use super::request::Call;
use super::scale;
use super::status::{ApiError, ApiResult, Qualified};
use crate::apply::ApplyError;
use crate::patch::{self, PatchError};
use crate::registry::Resource;
use crate::schema::{FieldError, metadata};

/// What a request changes about the live object.
pub enum Mechanism {
    /// PUT: this object takes its place.
    Replace(Incoming),
    /// PUT of a Scale.
    ReplaceScale(Value),
    /// PATCH.
    Patch(PatchType, Bytes),
    /// Server-side apply of this configuration.
    Apply(Incoming),
}

/// What a change does, and what there is to warn of.
pub struct Changed {
    /// What to do with the stored object.
    pub outcome: Outcome,
    /// Texts for Warning headers.
    pub warnings: Vec<String>,
}

/// What a server-side apply makes of the live object.
pub fn applied(ctx: &Context<'_>, incoming: &Incoming, live: &Value) -> ApiResult<Changed> {
    let (resource, config) = (ctx.resource, &incoming.object);
    let mut warnings = incoming.warnings.clone();
    let object = match (&resource.scale, ctx.part) {
        (Some(paths), Part::Scale) => {
            let mut wanted = json!({"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": {"name": meta::name(live)}});
            scale::write(&mut wanted, config, paths)?;
            ctx.apply(|apply| crate::apply::apply(Some(live), &wanted, apply))
        }
        _ => ctx.apply(|apply| crate::apply::apply(Some(live), config, apply)),
    };
    let object = object.map_err(refuse_apply)?;
    check_given(resource, &object, live)?;
    let incoming =
        admit::settle(resource, object, Vec::new(), FieldValidation::Ignore).map_err(|p| problem(resource, p))?;
    warnings.extend(metadata::finalizer_warnings(&incoming.object, Some(live)));
    Ok(Changed { outcome: change::update(ctx, incoming.object, live, true)?, warnings })
}

/// A resource version or uid that an apply or patch names is a precondition.
fn check_given(resource: &Resource, object: &Value, live: &Value) -> ApiResult<()> {
    let given = meta::text(object, "resourceVersion");
    if !given.is_empty() && given != meta::text(live, "resourceVersion") {
        return Err(ApiError::modified(resource.qualified(), meta::name(live)));
    }
    Ok(())
}

/// What a PUT or PATCH makes of the live object.
pub fn made(
    ctx: &Context<'_>,
    call: &Call,
    mechanism: &Mechanism,
    live: &Value,
    options: &WriteOptions,
) -> ApiResult<Changed> {
    let resource = ctx.resource;
    let (object, mut warnings) = match mechanism {
        Mechanism::Replace(incoming) => {
            change::expected_version(resource, &incoming.object, live)?;
            (incoming.object.clone(), incoming.warnings.clone())
        }
        Mechanism::ReplaceScale(scale) => (with_scale(resource, live, scale)?, Vec::new()),
        Mechanism::Patch(kind, bytes) if ctx.part == Part::Scale => {
            let Some(paths) = &resource.scale else { return Err(ApiError::no_such_path()) };
            let before = scale::read(live, paths);
            let after = patched(*kind, "autoscaling", "Scale", &before, bytes, options)?.0;
            (with_scale(resource, live, &after)?, Vec::new())
        }
        Mechanism::Patch(kind, bytes) => patch_object(ctx, call, *kind, bytes, live, options)?,
        Mechanism::Apply(_) => return Err(ApiError::internal("an apply is no update")),
    };
    warnings.extend(metadata::finalizer_warnings(&object, Some(live)));
    match change::update(ctx, object, live, false) {
        Ok(outcome) => Ok(Changed { outcome, warnings }),
        Err(e) => Err(e.warning(&warnings)),
    }
}

fn with_scale(resource: &Resource, live: &Value, scale: &Value) -> ApiResult<Value> {
    let Some(paths) = &resource.scale else { return Err(ApiError::no_such_path()) };
    let own = meta::name(scale);
    if !own.is_empty() && own != meta::name(live) {
        change::check_name(scale, meta::name(live), "")?;
    }
    let mut object = live.clone();
    scale::write(&mut object, scale, paths)?;
    check_given(resource, &object, live)?;
    Ok(object)
}

/// Applies a patch to a document; answers it and strict decoding errors of the patch itself.
fn patched(
    kind: PatchType,
    group: &str,
    object_kind: &str,
    live: &Value,
    bytes: &[u8],
    options: &WriteOptions,
) -> ApiResult<(Value, Vec<String>)> {
    let strict = options.field_validation != FieldValidation::Ignore;
    let prefix = if strict && kind != PatchType::Strategic { "error decoding patch: " } else { "" };
    let document = super::json::parse(bytes).map_err(|e| {
        let why = if e.is_eof() { "unexpected end of JSON input".into() } else { format!("json: {e}") };
        ApiError::bad_request(format!("{prefix}{why}"))
    })?;
    if kind != PatchType::Json && !document.value.is_object() {
        return Err(ApiError::bad_request(format!(
            "{prefix}json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            patch::go_kind(&document.value)
        )));
    }
    let result = match kind {
        PatchType::Json => patch::json(live, &document.value),
        PatchType::Merge => patch::merge(live, &document.value),
        _ => patch::strategic(group, object_kind, live, &document.value),
    };
    let object = result.map_err(|e| match e {
        PatchError::BadRequest(why) => ApiError::bad_request(format!("{prefix}{why}")),
        PatchError::Invalid(why) => {
            tracing::debug!(%why, "a patch was not applied");
            ApiError::unprocessable()
        }
        PatchError::TooLarge(why) => ApiError::too_large_because(&why),
        PatchError::Unsupported(why) => ApiError::unsupported(why),
    })?;
    Ok((object, document.duplicates))
}

fn patch_object(
    ctx: &Context<'_>,
    call: &Call,
    kind: PatchType,
    bytes: &[u8],
    live: &Value,
    options: &WriteOptions,
) -> ApiResult<(Value, Vec<String>)> {
    let resource = ctx.resource;
    let (object, twice) = patched(kind, &resource.group, &resource.kind, live, bytes, options)?;
    let shown = object.clone();
    let wrong = |why: String| {
        let error = FieldError::invalid("patch", shown.to_string(), why);
        ApiError::invalid(Qualified { group: "", name: "" }, "", &[error])
    };
    if !object.is_object() || object["kind"].as_str().unwrap_or_default().is_empty() {
        return Err(wrong(format!("Object 'Kind' is missing in '{object}'")));
    }
    let incoming = match admit::settle(resource, object, twice, options.field_validation) {
        Ok(incoming) => incoming,
        Err(Problem::Strict(problems)) => return Err(wrong(format!("strict decoding error: {}", problems.join(", ")))),
        Err(Problem::Wrong(why)) => return Err(wrong(why)),
    };
    let mut object = incoming.object;
    change::place(resource, &mut object, &call.path.namespace)?;
    change::check_name(&object, &call.path.name, call.namespace())?;
    check_given(resource, &object, live)?;
    Ok((object, incoming.warnings))
}

/// The answer for an apply that was refused.
pub fn refuse_apply(error: ApplyError) -> ApiError {
    match error {
        ApplyError::Conflict { message, conflicts } => {
            let causes = conflicts
                .iter()
                .map(|c| json!({"reason": "FieldManagerConflict", "message": format!("conflict with {}", c.manager), "field": c.field}))
                .collect();
            ApiError::apply_conflict(message, causes)
        }
        ApplyError::BadRequest(why) => ApiError::bad_request(why),
        ApplyError::Typed(why) => ApiError::unknown(why),
        ApplyError::Unsupported(why) => ApiError::unsupported(why),
    }
}

/// The answer for what an apply made that cannot be taken.
pub fn problem(resource: &Resource, problem: Problem) -> ApiError {
    let kind = &resource.kind;
    match problem {
        Problem::Strict(problems) => ApiError::bad_request(format!("strict decoding error: {}", problems.join(", "))),
        Problem::Wrong(why) => ApiError::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {why}",
            resource.version
        )),
    }
}
