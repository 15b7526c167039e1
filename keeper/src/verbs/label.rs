//! `rbee label`: sets and removes labels.

use serde_json::{Map, Value, json};

use crate::{
    context::Context,
    error::{Error, Exit},
    names::{self, Named, SelectArgs},
    server::path::Place,
    session::Session,
    target::{ConnectArgs, NamespaceArg},
    verbs::apply::MANAGER,
};

#[derive(Clone, Debug, clap::Args)]
pub struct LabelArgs {
    /// TYPE/NAME… or TYPE NAME…, then KEY=VALUE to set and KEY- to remove
    #[arg(required = true, value_name = "TYPE/NAME KEY=VALUE|KEY-")]
    pub words: Vec<String>,
    /// Change labels that have another value
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Splits the words into objects and changes.
fn split(words: &[String]) -> (Vec<String>, Vec<(String, Option<String>)>) {
    let change = |word: &String| match (word.split_once('='), word.strip_suffix('-')) {
        (Some((key, value)), _) => Some((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) => Some((key.to_owned(), None)),
        _ => None,
    };
    let objects = words.iter().take_while(|w| change(w).is_none()).cloned().collect::<Vec<_>>();
    let changes = words[objects.len()..].iter().filter_map(change).collect();
    (objects, changes)
}

/// Labels every object.
///
/// # Errors
/// Wrong usage, a label that is there with another value, a server that refuses or does not answer.
pub async fn run(args: &LabelArgs, context: &Context) -> Result<Exit, Error> {
    let (objects, changes) = split(&args.words);
    if changes.is_empty() || changes.len() + objects.len() != args.words.len() {
        return Err(Error::usage("after the objects come KEY=VALUE or KEY-"));
    }
    let named = names::parse(&objects).map_err(Error::Usage)?;
    if matches!(named, Named::Kinds(_)) {
        return Err(Error::usage("say which objects, as in worker/story"));
    }
    let session = Session::open(&args.connect, &args.namespace, context).await?;
    session.target.announce(context);
    let (found, missing) = session.find(&named, &SelectArgs::default()).await?;
    for error in &missing {
        context.err.note(&error.to_string());
    }
    for one in &found {
        let mut labels = Map::new();
        for (key, value) in &changes {
            let now = one.object["metadata"]["labels"][key].as_str();
            if let (Some(now), Some(wanted), false) = (now, value, args.overwrite)
                && now != wanted
            {
                let title = one.title();
                return Err(Error::failed(format!("{title} has {key}={now}; --overwrite changes it")));
            }
            labels.insert(key.clone(), value.clone().map_or(Value::Null, Value::String));
        }
        let place =
            Place { namespace: session.namespace_for(&one.resource), name: Some(one.name()), subresource: None };
        let body = json!({"metadata": {"labels": labels}});
        let pairs = [("fieldManager", MANAGER)];
        session.server.patch(&one.resource, place, &pairs, "application/merge-patch+json", &body).await?;
        context.out.line(&format!("{} labeled", one.title()))?;
    }
    Ok(if missing.is_empty() { Exit::Done } else { Exit::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_objects_then_changes() {
        let words: Vec<String> = ["model", "bee", "a=1", "b-"].map(str::to_owned).to_vec();
        let (objects, changes) = split(&words);
        assert_eq!(objects, ["model", "bee"]);
        assert_eq!(changes, [("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), None)]);
    }
}
