//! The kinds that a server has, and finding one by any of its names.

/// One kind of objects at a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    /// As in URLs: `workers`.
    pub plural: String,
    pub kind: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub verbs: Vec<String>,
    /// Names of its subresources: `status`, `scale`.
    pub subresources: Vec<String>,
    /// Whether the server prefers this version of the group.
    pub preferred: bool,
}

impl Resource {
    /// `rbee.dev/v1alpha1`, `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `worker.rbee.dev`, `secret`: how answers name a kind.
    pub fn qualified(&self) -> String {
        let kind = self.kind.to_lowercase();
        if self.group.is_empty() { kind } else { format!("{kind}.{}", self.group) }
    }

    /// `workers.rbee.dev`.
    pub fn qualified_plural(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(group: &str, version: &str, plural: &str, kind: &str, namespaced: bool) -> Self {
        let word = |t: &str| t.to_owned();
        Self {
            group: word(group),
            version: word(version),
            plural: word(plural),
            kind: word(kind),
            namespaced,
            short_names: Vec::new(),
            categories: Vec::new(),
            verbs: ["get", "list", "watch", "patch", "delete"].map(word).to_vec(),
            subresources: Vec::new(),
            preferred: true,
        }
    }
}

/// All kinds of a server, those of the core group first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog(pub Vec<Resource>);

impl Catalog {
    /// The kind with that plural, singular, kind or short name, alone or followed by `.GROUP` or `.VERSION.GROUP`.
    pub fn find(&self, word: &str) -> Option<&Resource> {
        let word = word.to_lowercase();
        let (name, rest) = word.split_once('.').unwrap_or((&word, ""));
        let fits = |r: &&Resource| match rest {
            "" => r.preferred,
            rest if rest == r.group => r.preferred,
            rest => rest == format!("{}.{}", r.version, r.group).trim_end_matches('.'),
        };
        let names: [&dyn Fn(&Resource) -> bool; 3] =
            [&|r| r.plural == name, &|r| r.kind.to_lowercase() == name, &|r| r.short_names.iter().any(|s| s == name)];
        names.iter().find_map(|is_named| self.0.iter().filter(fits).find(|r| is_named(r)))
    }

    /// The kinds that a word stands for: one, or all of a category such as `rbee` or `all`.
    pub fn expand(&self, word: &str) -> Vec<&Resource> {
        if let Some(one) = self.find(word) {
            return vec![one];
        }
        let listed = |r: &&Resource| {
            r.preferred && r.verbs.iter().any(|v| v == "list") && r.categories.iter().any(|c| c == word)
        };
        self.0.iter().filter(listed).collect()
    }

    /// The kind of an object.
    pub fn of_object(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        self.0.iter().find(|r| r.kind == kind && r.api_version() == api_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let mut worker = Resource::for_tests("rbee.dev", "v1alpha1", "workers", "Worker", true);
        worker.short_names = vec!["wkr".into()];
        worker.categories = vec!["rbee".into()];
        let event = Resource::for_tests("", "v1", "events", "Event", true);
        let other = Resource::for_tests("events.k8s.io", "v1", "events", "Event", true);
        Catalog(vec![event, other, worker])
    }

    #[test]
    fn a_kind_has_many_names() {
        let catalog = catalog();
        for word in ["workers", "worker", "Worker", "wkr", "workers.rbee.dev", "worker.v1alpha1.rbee.dev"] {
            assert_eq!(catalog.find(word).map(|r| r.plural.as_str()), Some("workers"), "{word}");
        }
        for word in ["hornets", "workers.example.org", "work"] {
            assert_eq!(catalog.find(word), None, "{word}");
        }
        assert_eq!(catalog.expand("rbee").len(), 1);
    }

    #[test]
    fn the_core_group_comes_first_unless_another_is_named() {
        let catalog = catalog();
        assert_eq!(catalog.find("events").unwrap().group, "");
        assert_eq!(catalog.find("events.events.k8s.io").unwrap().group, "events.k8s.io");
        assert_eq!(catalog.of_object("events.k8s.io/v1", "Event").unwrap().group, "events.k8s.io");
    }

    #[test]
    fn answers_name_kind_and_group() {
        let catalog = catalog();
        assert_eq!(catalog.find("wkr").unwrap().qualified(), "worker.rbee.dev");
        assert_eq!(catalog.find("events").unwrap().qualified(), "event");
    }
}
