//! Options in the query of a request, read and checked in Kubernetes' words.

use super::status::{ApiError, ApiResult};
use crate::registry::selector::{FieldSelector, LabelSelector};
use crate::schema::FieldError;

/// The pairs of a query, percent-decoded, in order.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the text after `?`.
    pub fn parse(text: Option<&str>) -> Self {
        Self(form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect()
    }

    fn text(&self, key: &str) -> String {
        self.get(key).unwrap_or_default().to_string()
    }

    /// Kubernetes' idea of a boolean here: everything but `false` and `0` is true.
    fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).map(|v| !(v.eq_ignore_ascii_case("false") || v == "0"))
    }

    fn integer(&self, key: &str) -> ApiResult<Option<i64>> {
        self.get(key).map(|v| v.parse::<i64>().map_err(|e| bad_integer("ParseInt", v, &e))).transpose()
    }

    /// Whether the query asks for a watch.
    pub fn watch(&self) -> bool {
        self.flag("watch").unwrap_or(false)
    }

    /// Whether JSON shall be indented, if the query says anything about it.
    pub fn pretty(&self) -> Option<bool> {
        self.get("pretty").map(|v| matches!(v, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }
}

fn bad_integer(function: &str, text: &str, error: &std::num::ParseIntError) -> ApiError {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let why = match error.kind() {
        PosOverflow | NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    ApiError::bad_request(format!("strconv.{function}: parsing {text:?}: {why}"))
}

/// A resource version in a query or precondition; none and `0` stay apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Not said: the newest.
    Unset,
    /// `0`: anything.
    Any,
    /// A version.
    At(u64),
}

impl Version {
    /// Reads a resource version; 400 when it is no number.
    pub fn parse(text: &str) -> ApiResult<Self> {
        match text {
            "" => Ok(Self::Unset),
            "0" => Ok(Self::Any),
            text if text.starts_with('+') => Err(Self::refused(text, "invalid syntax")),
            text => match text.parse::<u64>() {
                Ok(0) => Ok(Self::Any),
                Ok(n) => Ok(Self::At(n)),
                Err(e) if *e.kind() == std::num::IntErrorKind::PosOverflow => {
                    Err(Self::refused(text, "value out of range"))
                }
                Err(_) => Err(Self::refused(text, "invalid syntax")),
            },
        }
    }

    fn refused(text: &str, why: &str) -> ApiError {
        let detail = format!("strconv.ParseUint: parsing {text:?}: {why}");
        ApiError::bad_request(FieldError::invalid("resourceVersion", text, detail).to_string())
    }
}

/// `resourceVersionMatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// That version exactly.
    Exact,
    /// That version or a newer one.
    NotOlderThan,
}

/// What a list, a watch or a deletecollection selects.
#[derive(Debug, Clone)]
pub struct ListOptions {
    /// By labels.
    pub labels: LabelSelector,
    /// By fields.
    pub fields: FieldSelector,
    /// Where in the history.
    pub version: Version,
    /// How `version` is meant.
    pub version_match: Option<Match>,
    /// Objects per page; 0 is all of them.
    pub limit: usize,
    /// Where the next page begins.
    pub cont: String,
    /// `timeoutSeconds`.
    pub timeout_seconds: Option<u64>,
    /// `allowWatchBookmarks`.
    pub bookmarks: bool,
    /// `sendInitialEvents`.
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads and checks them. `watch`: the request is a watch.
    pub fn parse(query: &Query, watch: bool) -> ApiResult<Self> {
        let limit = query.integer("limit")?.unwrap_or(0);
        let timeout = query.integer("timeoutSeconds")?;
        let bad = |e: crate::registry::selector::SelectorError| ApiError::bad_request(e.to_string());
        let labels = LabelSelector::parse(&query.text("labelSelector")).map_err(bad)?;
        let fields = FieldSelector::parse(&query.text("fieldSelector")).map_err(bad)?;
        let send_initial_events = query.flag("sendInitialEvents");
        let options = Self {
            labels,
            fields,
            version: Version::Unset,
            version_match: match query.get("resourceVersionMatch") {
                Some("Exact") => Some(Match::Exact),
                Some("NotOlderThan") => Some(Match::NotOlderThan),
                _ => None,
            },
            limit: usize::try_from(limit).unwrap_or(0),
            cont: query.text("continue"),
            timeout_seconds: timeout.and_then(|t| u64::try_from(t).ok()).filter(|t| *t > 0),
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            send_initial_events,
        };
        let problems = if watch { options.watch_problems(query) } else { options.list_problems(query) };
        if !problems.is_empty() {
            return Err(ApiError::invalid_options("ListOptions", &problems));
        }
        let version = Version::parse(&query.text("resourceVersion")).map_err(|e| {
            // Kubernetes takes it for an error of its own where a watch asks.
            if watch {
                return ApiError::unknown(e.message);
            }
            ApiError::bad_request(format!("invalid resource version: {}", e.message))
        })?;
        Ok(Self { version, ..options })
    }

    fn list_problems(&self, query: &Query) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let version = query.text("resourceVersion");
        let rule = query.text("resourceVersionMatch");
        let forbid = |why: &str| FieldError::forbidden("resourceVersionMatch", why);
        if !rule.is_empty() {
            if version.is_empty() {
                problems.push(forbid("resourceVersionMatch is forbidden unless resourceVersion is provided"));
            }
            if !self.cont.is_empty() {
                problems.push(forbid("resourceVersionMatch is forbidden when continue is provided"));
            }
            if self.version_match.is_none() {
                let known = ["Exact", "NotOlderThan", ""];
                problems.push(FieldError::not_supported("resourceVersionMatch", rule, &known));
            }
            if self.version_match == Some(Match::Exact) && version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                problems.push(forbid(why));
            }
        }
        if self.send_initial_events.is_some() {
            let why = "sendInitialEvents is forbidden for list";
            problems.push(FieldError::forbidden("sendInitialEvents", why));
        }
        problems
    }

    fn watch_problems(&self, query: &Query) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let rule = query.text("resourceVersionMatch");
        let forbid = |why: &str| FieldError::forbidden("resourceVersionMatch", why);
        if self.send_initial_events.is_some() && self.version_match != Some(Match::NotOlderThan) {
            problems.push(forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
        }
        if !rule.is_empty() {
            if self.send_initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                problems.push(forbid(why));
            }
            if self.version_match != Some(Match::NotOlderThan) {
                problems.push(FieldError::not_supported("resourceVersionMatch", rule, &["NotOlderThan"]));
            }
        }
        if !self.cont.is_empty() {
            problems.push(forbid("resourceVersionMatch is forbidden when continue is provided"));
        }
        problems
    }
}

/// `fieldValidation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    /// Unknown and duplicate fields are dropped silently.
    Ignore,
    /// They are dropped with a Warning header.
    Warn,
    /// They are an error.
    Strict,
}

/// Options of create, update and patch.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Everything but the write itself.
    pub dry_run: bool,
    /// Who writes, if the query says so.
    pub field_manager: String,
    /// What happens to fields that the schema does not know.
    pub field_validation: FieldValidation,
    /// `force` of an apply.
    pub force: bool,
}

impl WriteOptions {
    /// Reads and checks them. `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`; `apply`: the request is a
    /// server-side apply.
    pub fn parse(query: &Query, kind: &str, apply: bool) -> ApiResult<Self> {
        let force = query.flag("force");
        let field_manager = query.text("fieldManager");
        let mut problems = Vec::new();
        if apply && field_manager.is_empty() {
            problems.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if !apply && kind == "PatchOptions" && force.is_some() {
            problems.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        problems.extend(manager_problems(&field_manager));
        let dry_run = dry_run(query.all("dryRun"), &mut problems);
        let validation = query.text("fieldValidation");
        let field_validation = match validation.as_str() {
            "Strict" => FieldValidation::Strict,
            "Ignore" => FieldValidation::Ignore,
            "" | "Warn" => FieldValidation::Warn,
            _ => {
                let known = ["", "Ignore", "Strict", "Warn"];
                problems.push(FieldError::not_supported("fieldValidation", validation, &known));
                FieldValidation::Warn
            }
        };
        if !problems.is_empty() {
            return Err(ApiError::invalid_options(kind, &problems));
        }
        Ok(Self { dry_run, field_manager, field_validation, force: force.unwrap_or(false) })
    }
}

fn dry_run(values: Vec<String>, problems: &mut Vec<FieldError>) -> bool {
    if values.iter().any(|v| v != "All") {
        problems.push(FieldError::not_supported("dryRun", values.clone(), &["All"]));
    }
    !values.is_empty()
}

fn manager_problems(manager: &str) -> Vec<FieldError> {
    let mut problems = Vec::new();
    if manager.len() > 128 {
        problems.push(FieldError::too_long("fieldManager", 128));
    }
    for (i, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
        let why = format!("invalid character U+{:04X} (at position {i})", c as u32);
        problems.push(FieldError::invalid("fieldManager", manager, why));
    }
    problems
}

/// `propagationPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents go afterwards.
    Background,
    /// Dependents go first.
    Foreground,
    /// Dependents stay.
    Orphan,
}

/// Options of a delete.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Everything but the write itself.
    pub dry_run: bool,
    /// What happens to dependents, if said.
    pub propagation: Option<Propagation>,
    /// The uid the object must have.
    pub uid: Option<String>,
    /// The resource version the object must have.
    pub version: Option<String>,
    /// `orphanDependents: false` was said, which is answered with 202.
    pub orphan_false: bool,
}

impl DeleteOptions {
    /// From the query, when there is no body.
    pub fn from_query(query: &Query) -> ApiResult<Self> {
        query.integer("gracePeriodSeconds")?;
        let policy = query.get("propagationPolicy").map(ToString::to_string);
        Self::checked(query.all("dryRun"), policy, query.flag("orphanDependents"), None, None)
    }

    /// From a body that was decoded.
    pub fn from_body(body: &serde_json::Value) -> ApiResult<Self> {
        let text = |v: &serde_json::Value| v.as_str().map(ToString::to_string);
        let list = |v: &serde_json::Value| v.as_array().into_iter().flatten().filter_map(text).collect();
        Self::checked(
            list(&body["dryRun"]),
            text(&body["propagationPolicy"]),
            body["orphanDependents"].as_bool(),
            text(&body["preconditions"]["uid"]),
            text(&body["preconditions"]["resourceVersion"]),
        )
    }

    fn checked(
        dry: Vec<String>,
        policy: Option<String>,
        orphan: Option<bool>,
        uid: Option<String>,
        version: Option<String>,
    ) -> ApiResult<Self> {
        let mut problems = Vec::new();
        if let (Some(policy), true) = (&policy, orphan.is_some()) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            problems.push(FieldError::invalid("propagationPolicy", policy.as_str(), why));
        }
        let propagation = match policy.as_deref() {
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                problems.push(FieldError::not_supported("propagationPolicy", other, &known));
                None
            }
            None => orphan.map(|o| if o { Propagation::Orphan } else { Propagation::Background }),
        };
        let dry_run = dry_run(dry, &mut problems);
        if !problems.is_empty() {
            return Err(ApiError::invalid_options("DeleteOptions", &problems));
        }
        Ok(Self { dry_run, propagation, uid, version, orphan_false: orphan == Some(false) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str, watch: bool) -> ApiResult<ListOptions> {
        ListOptions::parse(&Query::parse(Some(text)), watch)
    }

    #[test]
    fn versions() {
        assert_eq!(list("resourceVersion=5", false).unwrap().version, Version::At(5));
        assert_eq!(list("resourceVersion=0", false).unwrap().version, Version::Any);
        assert_eq!(list("", false).unwrap().version, Version::Unset);
        for bad in ["abc", "-1", "99999999999999999999", "%2B5"] {
            let error = list(&format!("resourceVersion={bad}"), true).unwrap_err();
            assert_eq!(error.code.as_u16(), 500, "{bad}");
        }
    }

    #[test]
    fn words_of_wrong_options() {
        for (text, watch, words) in [
            (
                "resourceVersionMatch=Exact",
                false,
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "sendInitialEvents=true",
                false,
                "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
            ),
            (
                "sendInitialEvents=true",
                true,
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            ("limit=x", false, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ] {
            assert_eq!(list(text, watch).unwrap_err().message, words);
        }
    }

    #[test]
    fn writes() {
        let parse = |text: &str, kind: &str, apply| WriteOptions::parse(&Query::parse(Some(text)), kind, apply);
        assert!(parse("dryRun=All&fieldManager=x", "CreateOptions", false).unwrap().dry_run);
        assert!(
            parse("dryRun=Some", "CreateOptions", false).unwrap_err().message.contains("dryRun: Unsupported value")
        );
        assert!(
            parse("", "PatchOptions", true)
                .unwrap_err()
                .message
                .contains("fieldManager: Required value: is required for apply patch")
        );
        assert!(parse("fieldManager=x&force=true", "PatchOptions", false).is_err());
        assert!(
            parse("fieldManager=a%09b", "PatchOptions", false)
                .unwrap_err()
                .message
                .contains("invalid character U+0009")
        );
    }

    #[test]
    fn deletes() {
        let body = serde_json::json!({"propagationPolicy": "Foreground", "preconditions": {"uid": "u", "resourceVersion": "7"}});
        let options = DeleteOptions::from_body(&body).unwrap();
        assert_eq!(options.propagation, Some(Propagation::Foreground));
        assert_eq!((options.uid.as_deref(), options.version.as_deref()), (Some("u"), Some("7")));
        let wrong = DeleteOptions::from_query(&Query::parse(Some("propagationPolicy=Sideways"))).unwrap_err();
        assert!(wrong.message.contains("supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""));
    }
}
