//! The table of what each role may do. Pure.

use serde_json::Value;

use super::identity::{Identity, Role};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes<'a> {
    /// get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: &'a str,
    /// Empty for the core group.
    pub group: &'a str,
    /// Plural name.
    pub resource: &'a str,
    pub subresource: &'a str,
    /// Empty for cluster-scoped kinds and for all namespaces.
    pub namespace: &'a str,
    /// Empty for lists and creates.
    pub name: &'a str,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// Why not, in Kubernetes' words.
    Deny(String),
}

impl Decision {
    pub fn allowed(&self) -> bool {
        *self == Self::Allow
    }
}

const RBEE: &str = "rbee.dev";
const SYSTEM: &str = "rbee-system";
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch"];

/// Whether `who` may do `what`.
pub fn authorize(who: &Identity, what: &Attributes<'_>) -> Decision {
    let allowed = match (who.role(), who.hive_name()) {
        (Role::Admin, _) => true,
        (Role::Viewer, _) => {
            is_own_review(what)
                || (is(READ, what.verb)
                    && (what.group, what.resource) != ("", "secrets")
                    && what.subresource != "token")
        }
        (Role::Hive, Some(name)) => is_own_review(what) || hive_may(name, what),
        (Role::Hive, None) => is_own_review(what) || bootstrap_may(what),
    };
    if allowed { Decision::Allow } else { Decision::Deny(forbidden(who, what)) }
}

/// Whether a hive may write this object: its own Hive, its own Lease, the Assignments of its own. Others decide by name alone.
pub fn authorize_object(who: &Identity, what: &Attributes<'_>, object: &Value) -> Decision {
    let Some(hive) = who.hive_name().filter(|_| !is(READ, what.verb)) else { return Decision::Allow };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let own = match (what.group, what.resource) {
        (RBEE, "assignments") => object["spec"]["hiveName"].as_str() == Some(hive),
        (RBEE, "hives") => name == hive,
        ("coordination.k8s.io", "leases") => name.strip_prefix("hive-") == Some(hive),
        _ => true,
    };
    if own { Decision::Allow } else { Decision::Deny(forbidden(who, what)) }
}

fn is(verbs: &[&str], verb: &str) -> bool {
    verbs.contains(&verb)
}

/// Questions about oneself.
fn is_own_review(what: &Attributes<'_>) -> bool {
    let reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"];
    what.verb == "create"
        && matches!(what.group, "authorization.k8s.io" | "authentication.k8s.io")
        && reviews.contains(&what.resource)
}

fn bootstrap_may(what: &Attributes<'_>) -> bool {
    (what.verb, what.group, what.resource, what.subresource) == ("create", "", "serviceaccounts", "token")
        && what.namespace == SYSTEM
        && what.name.strip_prefix("hive-").is_some_and(|name| !name.is_empty())
}

fn hive_may(hive: &str, what: &Attributes<'_>) -> bool {
    let own_name = what.name == hive;
    match (what.group, what.resource, what.subresource) {
        (RBEE, "models" | "workers" | "assignments" | "hives", "") if is(READ, what.verb) => true,
        ("", "namespaces" | "configmaps", "") => is(READ, what.verb),
        // One by one and by name: no hive lists Secrets. Access tokens of the API are no business of a hive.
        ("", "secrets", "") => what.verb == "get" && what.namespace != SYSTEM,
        // A create names its object in the body, which the object check looks at.
        (RBEE, "hives", "" | "status") => {
            is(WRITE, what.verb) && (own_name || (what.verb == "create" && what.name.is_empty()))
        }
        (RBEE, "assignments", "" | "status" | "finalizers") => is(&["update", "patch"], what.verb),
        ("coordination.k8s.io", "leases", "") => {
            what.namespace == SYSTEM
                && (what.name.strip_prefix("hive-") == Some(hive)
                    && is(&["get", "update", "patch", "delete", "watch"], what.verb)
                    || (what.verb == "create" && what.name.is_empty()))
        }
        ("" | "events.k8s.io", "events", "") => is(WRITE, what.verb) || is(READ, what.verb),
        ("authentication.k8s.io", "tokenreviews", "") | ("authorization.k8s.io", "subjectaccessreviews", "") => {
            what.verb == "create"
        }
        ("", "serviceaccounts", "token") => {
            what.verb == "create" && what.namespace == SYSTEM && what.name.strip_prefix("hive-") == Some(hive)
        }
        _ => false,
    }
}

fn forbidden(who: &Identity, what: &Attributes<'_>) -> String {
    let qualified =
        if what.group.is_empty() { what.resource.to_owned() } else { format!("{}.{}", what.resource, what.group) };
    let resource = if what.subresource.is_empty() {
        what.resource.to_owned()
    } else {
        format!("{}/{}", what.resource, what.subresource)
    };
    let name = if what.name.is_empty() { String::new() } else { format!(" {:?}", what.name) };
    let place = if what.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", what.namespace)
    };
    format!(
        "{qualified}{name} is forbidden: User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
        who.username(),
        what.verb,
        what.group
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask<'a>(verb: &'a str, group: &'a str, resource: &'a str, namespace: &'a str, name: &'a str) -> Attributes<'a> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes { verb, group, resource, subresource, namespace, name }
    }

    #[test]
    fn each_role_may_what_the_table_says() {
        let (admin, viewer) = (Identity::system("rbee:queen"), Identity::of_token("v", Role::Viewer, None));
        let (hive, bootstrap) = (Identity::hive("a"), Identity::of_token("b", Role::Hive, None));
        for (who, what, allowed) in [
            (&admin, ask("delete", RBEE, "models", "default", "m"), true),
            (&viewer, ask("list", RBEE, "models", "", ""), true),
            (&viewer, ask("get", "", "secrets", "default", "s"), false),
            (&viewer, ask("create", RBEE, "models", "default", ""), false),
            (&hive, ask("watch", RBEE, "assignments", "", ""), true),
            (&hive, ask("patch", RBEE, "assignments/status", "default", "x"), true),
            (&hive, ask("delete", RBEE, "assignments", "default", "x"), false),
            (&hive, ask("patch", RBEE, "hives/status", "", "a"), true),
            (&hive, ask("patch", RBEE, "hives/status", "", "b"), false),
            (&hive, ask("patch", "coordination.k8s.io", "leases", SYSTEM, "hive-a"), true),
            (&hive, ask("patch", "coordination.k8s.io", "leases", SYSTEM, "hive-b"), false),
            (&hive, ask("get", "", "secrets", "default", "worker-w-key"), true),
            (&hive, ask("list", "", "secrets", "default", ""), false),
            (&hive, ask("get", "", "secrets", SYSTEM, "token-admin"), false),
            (&hive, ask("create", RBEE, "workers", "default", ""), false),
            (&hive, ask("create", "authentication.k8s.io", "tokenreviews", "", ""), true),
            (&bootstrap, ask("create", "", "serviceaccounts/token", SYSTEM, "hive-a"), true),
            (&bootstrap, ask("create", "", "serviceaccounts/token", SYSTEM, "admin"), false),
            (&bootstrap, ask("list", RBEE, "models", "", ""), false),
        ] {
            assert_eq!(authorize(who, &what).allowed(), allowed, "{} {what:?}", who.username());
        }
    }

    #[test]
    fn a_hive_writes_only_its_own_assignments() {
        let hive = Identity::hive("a");
        let what = ask("patch", RBEE, "assignments/status", "default", "x");
        assert!(authorize_object(&hive, &what, &json!({"spec": {"hiveName": "a"}})).allowed());
        assert!(!authorize_object(&hive, &what, &json!({"spec": {"hiveName": "b"}})).allowed());
        let create = ask("create", RBEE, "hives", "", "");
        assert!(authorize_object(&hive, &create, &json!({"metadata": {"name": "a"}})).allowed());
        assert!(!authorize_object(&hive, &create, &json!({"metadata": {"name": "b"}})).allowed());
    }

    #[test]
    fn a_refusal_has_kubernetes_words() {
        let viewer = Identity::of_token("v", Role::Viewer, None);
        let Decision::Deny(why) = authorize(&viewer, &ask("delete", RBEE, "models", "default", "m")) else {
            panic!("allowed")
        };
        assert_eq!(
            why,
            "models.rbee.dev \"m\" is forbidden: User \"rbee:viewer:v\" cannot delete resource \"models\" in API group \"rbee.dev\" in the namespace \"default\""
        );
    }
}
