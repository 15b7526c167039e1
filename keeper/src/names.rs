//! Which objects were named: `TYPE`, `TYPE NAME…`, `TYPE/NAME…`, `TYPE,TYPE`.

use clap::Args;

/// Kinds and names of a command line, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// All objects of these kinds.
    Kinds(Vec<String>),
    /// These objects: kind and name.
    Objects(Vec<(String, String)>),
}

/// Flags that choose among objects.
#[derive(Clone, Debug, Default, Args)]
pub struct SelectArgs {
    /// Label selector, as in key=value,other!=x,more in (a,b)
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Field selector, as in metadata.name=x
    #[arg(long, value_name = "SELECTOR")]
    pub field_selector: Option<String>,
}

impl SelectArgs {
    /// As query parameters.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        let label = self.selector.as_deref().map(|s| ("labelSelector", s));
        let field = self.field_selector.as_deref().map(|s| ("fieldSelector", s));
        label.into_iter().chain(field).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.selector.is_none() && self.field_selector.is_none()
    }
}

/// Reads the words of a command line.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn parse(words: &[String]) -> Result<Named, String> {
    let Some(first) = words.first() else {
        return Err("say which objects: TYPE, TYPE NAME or TYPE/NAME, as in `workers` or `worker/story`".into());
    };
    if words.iter().any(|w| w.contains('/')) {
        let pair = |word: &String| match word.split_once('/') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok((kind.to_owned(), name.to_owned()))
            }
            Some(_) => Err(format!("{word:?}: expected TYPE/NAME")),
            None => Err(format!("{word:?}: when one object is named TYPE/NAME, all must be")),
        };
        return words.iter().map(pair).collect::<Result<_, _>>().map(Named::Objects);
    }
    let kinds: Vec<String> = first.split(',').map(str::to_owned).collect();
    if kinds.iter().any(String::is_empty) {
        return Err(format!("{first:?}: expected TYPE or TYPE,TYPE"));
    }
    if words.len() == 1 {
        return Ok(Named::Kinds(kinds));
    }
    let each = |kind: &String| words[1..].iter().map(|name| (kind.clone(), name.clone())).collect::<Vec<_>>();
    Ok(Named::Objects(kinds.iter().flat_map(each).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn objects(pairs: &[(&str, &str)]) -> Named {
        Named::Objects(pairs.iter().map(|(k, n)| ((*k).to_owned(), (*n).to_owned())).collect())
    }

    #[test]
    fn the_four_forms() {
        assert_eq!(parse(&words("models,workers")), Ok(Named::Kinds(words("models workers"))));
        assert_eq!(parse(&words("worker a b")), Ok(objects(&[("worker", "a"), ("worker", "b")])));
        assert_eq!(parse(&words("worker/a model/b")), Ok(objects(&[("worker", "a"), ("model", "b")])));
        assert_eq!(parse(&words("a,b x")), Ok(objects(&[("a", "x"), ("b", "x")])));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in ["", "worker/a b", "worker/", "/a", "worker/a/b", "models,"] {
            assert!(parse(&words(line)).is_err(), "{line:?}");
        }
    }
}
