//! The models that are part of the executable.

/// A GGUF file that is part of the executable.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// What stands behind `builtin:`.
    pub name: &'static str,
    /// The whole file.
    pub bytes: &'static [u8],
    /// Hex sha256 of `bytes`.
    pub sha256: &'static str,
}

static ALL: [Builtin; 1] = [Builtin {
    name: "tinybee",
    bytes: include_bytes!("../builtin/tinybee.gguf"),
    sha256: "96301f3ec18882f83695b37cc279ef2d72e6cf227628165d8395269cec899d96",
}];

/// The built-in model of that name.
pub fn get(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|b| b.name == name)
}

/// The names that `builtin:` knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|b| b.name)
}

/// What to tell somebody who asked for a built-in model that does not exist.
pub fn unknown(name: &str) -> String {
    let known: Vec<&str> = names().collect();
    format!("there is no built-in model {name:?}; built in: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn tinybee_is_the_file_whose_hash_is_stated() {
        let tinybee = get("tinybee").expect("tinybee is built in");
        assert_eq!(hex::encode(Sha256::digest(tinybee.bytes)), tinybee.sha256);
        assert!(get("no-such").is_none());
        assert_eq!(unknown("no-such"), "there is no built-in model \"no-such\"; built in: tinybee");
    }
}
