//! The cases, by what they are about. A case may not depend on another, nor on what else is on the server.

mod apply;
mod builtin;
mod definitions;
mod delete;
mod objects;
mod read;
mod validation;
mod watch;

use std::pin::Pin;

use crate::script::Script;

pub type Run = for<'a, 'b> fn(&'a mut Script<'b>) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! cases {
    ($(#[$doc:meta])* $list:ident: $($name:literal => $case:path,)*) => {
        $(#[$doc])*
        pub fn $list() -> Vec<(&'static str, Run)> {
            vec![$(($name, |script| Box::pin($case(script)))),*]
        }
    };
}

cases! {
    /// What a kube-apiserver does not show here; recorded from the embedded server.
    embedded_alone:
    "watch-streamed" => watch::streamed_list,
    "watch-expired" => watch::expired,
}

cases! {
    /// Names and cases; the name is the case's namespace and its file in `recorded/`.
    shared:
    "create-read-delete" => objects::create_read_delete,
    "replace" => objects::replace,
    "merge-patch" => objects::merge_patch,
    "json-patch" => objects::json_patch,
    "status" => objects::status,
    "scale" => objects::scale,
    "names" => objects::names,
    "dry-run" => objects::dry_run,
    "models" => validation::models,
    "workers" => validation::workers,
    "assignments" => validation::assignments,
    "unknown-fields" => validation::unknown_fields,
    "metadata" => validation::metadata,
    "apply-create" => apply::create_and_update,
    "apply-conflict" => apply::conflict,
    "apply-remove" => apply::remove,
    "apply-status" => apply::status,
    "apply-errors" => apply::errors,
    "finalizers" => delete::finalizers,
    "preconditions" => delete::preconditions,
    "collection" => delete::collection,
    "paging" => read::paging,
    "selectors" => read::selectors,
    "tables" => read::tables,
    "discovery" => read::discovery,
    "watch-from" => watch::from_a_version,
    "watch-selected" => watch::selected,
    "watch-initial" => watch::initial_events,
    "watch-errors" => watch::errors,
    "events" => builtin::events,
    "secrets" => builtin::secrets,
    "leases" => builtin::leases,
    "namespaces" => builtin::namespaces,
    "owners" => delete::owners,
    "definitions" => definitions::protobuf,
    "reviews" => definitions::reviews,
}
