//! `get -w`: the changes of several kinds in one stream of rows or objects, for as long as somebody looks.

use std::time::Duration;

use futures::{StreamExt, stream::SelectAll};
use serde_json::Value;

use crate::{
    error::{Error, Exit},
    print::{
        format::{Output, without_managed_fields},
        table::Table,
    },
    server::{
        Resource, Server,
        request::AS_TABLE,
        watch::{Event, version_of},
    },
    session::Session,
    verbs::get::{GetArgs, Query, Shown, name_of, namespace, text_of},
};

const JSON: &str = "application/json";

/// One collection that is watched for ever.
struct Followed {
    server: Server,
    resource: Resource,
    namespace: Option<String>,
    selectors: Vec<(String, String)>,
    version: String,
    accept: &'static str,
}

impl Followed {
    fn new(session: &Session, args: &GetArgs, resource: &Resource, names: &[String], version: String) -> Self {
        let mut selectors: Vec<(String, String)> =
            args.select.pairs().into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        if let [name] = names {
            selectors.push(("fieldSelector".into(), format!("metadata.name={name}")));
        }
        let accept = if matches!(args.output, Output::Table | Output::Wide) { AS_TABLE } else { JSON };
        let namespace = namespace(session, args, resource).map(str::to_owned);
        Self { server: session.server.clone(), resource: resource.clone(), namespace, selectors, version, accept }
    }

    /// Its events, each with `tag`; ends with the first error that a new watch does not cure.
    fn events(self, tag: usize) -> impl futures::Stream<Item = Result<(usize, Event), Error>> {
        let start = (self, None);
        futures::stream::try_unfold(start, move |(mut followed, mut running)| async move {
            loop {
                let stream = match running.take() {
                    Some(stream) => stream,
                    None => followed.begin().await?,
                };
                let mut stream: futures::stream::BoxStream<'static, Result<Event, Error>> = stream;
                match stream.next().await {
                    Some(Ok(event)) => {
                        followed.version = version_of(&event.object).unwrap_or(followed.version);
                        running = Some(stream);
                        if event.kind != "BOOKMARK" {
                            return Ok(Some(((tag, event), (followed, running))));
                        }
                    }
                    // The server ends watches after a while; a broken connection is taken up again too.
                    None | Some(Err(Error::Unreachable(_))) => tokio::time::sleep(Duration::from_millis(200)).await,
                    Some(Err(error)) if expired(&error) => followed.version = followed.now().await?,
                    Some(Err(error)) => return Err(error),
                }
            }
        })
    }

    async fn begin(&mut self) -> Result<futures::stream::BoxStream<'static, Result<Event, Error>>, Error> {
        let mut pause = Duration::from_millis(200);
        loop {
            let selectors: Vec<(&str, &str)> = self.selectors.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let namespace = self.namespace.as_deref();
            match self.server.watch_once(&self.resource, namespace, &selectors, &self.version, self.accept).await {
                Ok(stream) => return Ok(stream),
                Err(error) if expired(&error) => self.version = self.now().await?,
                Err(Error::Unreachable(_)) if pause < Duration::from_secs(10) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The collection's present version, where the one that was known is too old.
    async fn now(&self) -> Result<String, Error> {
        let selectors: Vec<(&str, &str)> = self.selectors.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let list = self.server.list(&self.resource, self.namespace.as_deref(), &selectors, true).await?;
        Ok(list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned())
    }
}

fn expired(error: &Error) -> bool {
    matches!(error, Error::Server(status) if status.code == 410)
}

/// Prints a row for each change, below the tables that are there.
pub(crate) async fn tables(session: &Session, args: &GetArgs, mut shown: Vec<Shown>) -> Result<Exit, Error> {
    let mut all = SelectAll::new();
    for (tag, one) in shown.iter().enumerate() {
        let followed = Followed::new(session, args, &one.resource, &one.names, one.version.clone());
        all.push(followed.events(tag).boxed());
    }
    while let Some(next) = all.next().await {
        let (tag, event) = next?;
        let Some(one) = shown.get_mut(tag) else { continue };
        let body = crate::verbs::get::as_table(event.object);
        let rows: Vec<&Value> =
            body["rows"].as_array().into_iter().flatten().filter(|row| is_wanted(row, &one.names)).collect();
        if one.table.is_none() {
            one.table = Table::of(&body, one.style.clone());
        }
        if let Some(table) = &mut one.table {
            session.context.out.text(&table.text(&rows))?;
        }
    }
    Ok(Exit::Done)
}

fn is_wanted(row: &Value, names: &[String]) -> bool {
    let name = row["object"]["metadata"]["name"].as_str().or_else(|| row["cells"][0].as_str()).unwrap_or_default();
    names.is_empty() || names.iter().any(|n| n == name)
}

/// Prints the objects that are there (a watch from no version begins with them), then each one again when it changes.
pub(crate) async fn objects(session: &Session, args: &GetArgs, queries: Vec<Query>) -> Result<Exit, Error> {
    let mut all = SelectAll::new();
    for (tag, query) in queries.iter().enumerate() {
        let names: Vec<String> = query.name.iter().cloned().collect();
        let followed = Followed::new(session, args, &query.resource, &names, String::new());
        all.push(followed.events(tag).boxed());
    }
    while let Some(next) = all.next().await {
        print(session, args, next?.1.object)?;
    }
    Ok(Exit::Done)
}

fn print(session: &Session, args: &GetArgs, object: Value) -> Result<(), Error> {
    let out = &session.context.out;
    let object = if args.show_managed_fields { object } else { without_managed_fields(object) };
    match &args.output {
        Output::Name => out.line(&name_of(session, &object))?,
        Output::Yaml => out.text(&format!("---\n{}", text_of(&args.output, &object)))?,
        output => out.text(&text_of(output, &object))?,
    }
    Ok(())
}
