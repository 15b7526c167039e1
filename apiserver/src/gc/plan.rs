//! What the collector does about one object. Pure.

use serde_json::Value;

use super::graph::{FOREGROUND, ORPHAN, Owner, waits};
use crate::http::meta;
use crate::http::query::Propagation;

/// How an owner reference stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The owner is there.
    Present,
    /// The owner is there, deleted, and waits for its dependents to go.
    Waiting,
    /// There is no such owner.
    Absent,
    /// Its kind is not served here: nobody can say.
    Unknown,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Delete the object this way.
    Delete(Propagation),
    /// Remove the owner references with these uids.
    Disown(Vec<String>),
    /// Remove this finalizer of the collector's.
    Release(&'static str),
    /// Remove the owner reference from each dependent, then the finalizer.
    OrphanDependents,
}

/// What to do about an object, given how each of its owners stands, and whether dependents block its deletion or exist.
pub fn plan(object: &Value, owners: &[(Owner, Standing)], blocked: bool, has_dependents: bool) -> Action {
    if waits(object) {
        let finalizers = meta::finalizers(object);
        if finalizers.contains(&ORPHAN) {
            return Action::OrphanDependents;
        }
        return if blocked { Action::Nothing } else { Action::Release(FOREGROUND) };
    }
    if meta::deleting(object) || owners.is_empty() {
        return Action::Nothing;
    }
    let with = |standing: Standing| owners.iter().filter(move |(_, s)| *s == standing).map(|(o, _)| o.uid.clone());
    let solid = owners.iter().any(|(_, s)| matches!(s, Standing::Present | Standing::Unknown));
    let gone: Vec<String> = with(Standing::Absent).collect();
    if solid {
        return if gone.is_empty() { Action::Nothing } else { Action::Disown(gone) };
    }
    if with(Standing::Waiting).next().is_some() && has_dependents {
        return Action::Delete(Propagation::Foreground);
    }
    let finalizers = meta::finalizers(object);
    Action::Delete(if finalizers.contains(&ORPHAN) {
        Propagation::Orphan
    } else if finalizers.contains(&FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner(uid: &str, standing: Standing) -> (Owner, Standing) {
        let owner =
            Owner { api_version: "v1".into(), kind: "X".into(), name: uid.into(), uid: uid.into(), blocks: true };
        (owner, standing)
    }

    #[test]
    fn an_object_lives_as_long_as_one_owner() {
        let object = json!({"metadata": {}});
        let plan = |owners: &[(Owner, Standing)]| plan(&object, owners, false, false);
        assert_eq!(plan(&[]), Action::Nothing);
        assert_eq!(plan(&[owner("a", Standing::Present)]), Action::Nothing);
        assert_eq!(plan(&[owner("a", Standing::Unknown)]), Action::Nothing);
        assert_eq!(plan(&[owner("a", Standing::Absent)]), Action::Delete(Propagation::Background));
        assert_eq!(
            plan(&[owner("a", Standing::Absent), owner("b", Standing::Present)]),
            Action::Disown(vec!["a".into()])
        );
        assert_eq!(plan(&[owner("a", Standing::Waiting)]), Action::Delete(Propagation::Background));
    }

    #[test]
    fn a_dependent_with_dependents_waits_for_them_too() {
        let object = json!({"metadata": {}});
        assert_eq!(
            plan(&object, &[owner("a", Standing::Waiting)], false, true),
            Action::Delete(Propagation::Foreground)
        );
    }

    #[test]
    fn finalizers_of_the_collector() {
        let waiting = |f: &str| json!({"metadata": {"deletionTimestamp": "2001-02-03T04:05:06Z", "finalizers": [f]}});
        assert_eq!(plan(&waiting(FOREGROUND), &[], true, true), Action::Nothing);
        assert_eq!(plan(&waiting(FOREGROUND), &[], false, true), Action::Release(FOREGROUND));
        assert_eq!(plan(&waiting(ORPHAN), &[], true, true), Action::OrphanDependents);
        assert_eq!(plan(&waiting("x.dev/hold"), &[owner("a", Standing::Absent)], false, false), Action::Nothing);
    }
}
