//! `rbee crds`: the definitions of the kinds, for `kubectl apply -f -`.

use crate::{
    context::Context,
    error::{Error, Exit},
};

/// The definitions as YAML documents with `---` between them, in the order of their names.
pub fn text() -> String {
    rbee_yaml::to_string_multiple(rbee_crds::to_json().iter())
}

/// Prints them.
///
/// # Errors
/// A stdout that takes nothing.
pub fn run(context: &Context) -> Result<Exit, Error> {
    context.out.text(&text())?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    #[test]
    fn four_documents_that_read_back() {
        let documents = rbee_yaml::parse_documents(&super::text(), "crds").unwrap();
        let values: Vec<_> = documents.into_iter().map(|d| d.value).collect();
        assert_eq!(values, rbee_crds::to_json());
    }
}
