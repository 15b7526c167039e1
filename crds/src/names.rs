//! Names that several parts must agree on: labels, finalizers, namespaces, leases, derived object names.

/// The namespace of rbee's own leases and tokens.
pub const SYSTEM_NAMESPACE: &str = "rbee-system";
/// The namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";
/// The queen's leader lease in [`SYSTEM_NAMESPACE`].
pub const QUEEN_LEASE: &str = "rbee-queen";

/// On Assignments: the Worker they are a replica of.
pub const LABEL_WORKER: &str = "rbee.dev/worker";
/// On Assignments: the Hive they run on.
pub const LABEL_HIVE: &str = "rbee.dev/hive";
/// On objects that a command declared on its own.
pub const LABEL_CREATED_BY: &str = "rbee.dev/created-by";

/// Holds an Assignment until its process is gone.
pub const FINALIZER_PROCESS: &str = "rbee.dev/process";

/// Field managers of the writers of status.
pub const MANAGER_QUEEN: &str = "rbee-queen";
pub const MANAGER_GATEWAY: &str = "rbee-gateway";

/// The field manager of one hive.
pub fn manager_hive(hive: &str) -> String {
    format!("rbee-hive-{hive}")
}

/// The heartbeat Lease of one hive, in the system namespace.
pub fn hive_lease(hive: &str) -> String {
    format!("hive-{hive}")
}

/// The Secret with the key that a Worker's processes want.
pub fn worker_key_secret(worker: &str) -> String {
    format!("worker-{worker}-key")
}

/// The field of that Secret which holds the key.
pub const WORKER_KEY_FIELD: &str = "key";

/// A Model's id in the OpenAI API: its name in namespace `default`, else `namespace/name`.
pub fn openai_id(namespace: &str, name: &str) -> String {
    if namespace == DEFAULT_NAMESPACE { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// Whether a text can be an object's name: a DNS-1123 subdomain.
pub fn is_object_name(text: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_subdomains() {
        for good in ["a", "tiny-bee.v1", &"a".repeat(253)] {
            assert!(is_object_name(good), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a..b", "a/b", "../a", &"a".repeat(254)] {
            assert!(!is_object_name(bad), "{bad}");
        }
    }
}
