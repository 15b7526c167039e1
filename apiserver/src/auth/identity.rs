//! Identities: a user name, its groups, and the role that decides.

use serde::{Deserialize, Serialize};

/// What a caller may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// What a hive needs; once it joined, bound to its name.
    Hive,
    /// Reading, Secrets left out.
    Viewer,
}

/// A caller that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    username: String,
    groups: Vec<String>,
    role: Role,
    /// The Hive that a joined hive is.
    hive: Option<String>,
}

impl Identity {
    /// A part of the server's own process; may do everything.
    pub fn system(name: &str) -> Self {
        Self::of(format!("system:{name}"), Role::Admin, None)
    }

    /// The hive with this name.
    pub fn hive(name: &str) -> Self {
        Self::of(format!("system:hive:{name}"), Role::Hive, Some(name.to_owned()))
    }

    /// Who holds a token: `subject` is the Hive that it is bound to.
    pub fn of_token(id: &str, role: Role, subject: Option<&str>) -> Self {
        match (role, subject) {
            (Role::Hive, Some(name)) => Self::hive(name),
            (Role::Hive, None) => Self::of(format!("system:bootstrap:{id}"), Role::Hive, None),
            (Role::Admin, _) => Self::of("rbee:admin".to_owned(), Role::Admin, None),
            (Role::Viewer, _) => Self::of(format!("rbee:viewer:{id}"), Role::Viewer, None),
        }
    }

    fn of(username: String, role: Role, hive: Option<String>) -> Self {
        let group = match (&role, &hive) {
            (Role::Admin, _) => "system:masters",
            (Role::Hive, Some(_)) => "system:hives",
            (Role::Hive, None) => "system:bootstrappers",
            (Role::Viewer, _) => "rbee:viewers",
        };
        Self { username, groups: vec![group.to_owned(), "system:authenticated".to_owned()], role, hive }
    }

    pub fn username(&self) -> &str {
        &self.username
    }

    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The Hive that this caller is, if it is one that joined.
    pub fn hive_name(&self) -> Option<&str> {
        self.hive.as_deref()
    }

    /// The caller with these names, as a SubjectAccessReview gives them.
    pub fn from_review(username: &str, groups: &[String]) -> Option<Self> {
        let has = |group: &str| groups.iter().any(|g| g == group);
        if has("system:masters") {
            return Some(Self::of(username.to_owned(), Role::Admin, None));
        }
        if let Some(name) = username.strip_prefix("system:hive:").filter(|_| has("system:hives")) {
            return Some(Self::hive(name));
        }
        has("rbee:viewers").then(|| Self::of(username.to_owned(), Role::Viewer, None))
    }
}
