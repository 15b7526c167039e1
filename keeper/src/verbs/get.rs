//! `rbee get`: objects as a table, JSON, YAML, names or what a template makes of them; `-w` goes on with their changes.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{Error, Exit},
    follow,
    names::{self, Named, SelectArgs},
    print::{
        format::{Output, json_text, list, parse_output, without_managed_fields},
        jsonpath::Template,
        table::{Table, TableStyle, plain},
    },
    server::Resource,
    session::{Session, items_of},
    target::{ConnectArgs, NamespaceArg},
};

#[derive(Clone, Debug, clap::Args)]
pub struct GetArgs {
    /// TYPE, TYPE NAME… or TYPE/NAME…; several types with commas between
    #[arg(required = true, value_name = "TYPE[/NAME]")]
    pub objects: Vec<String>,
    /// json, yaml, name, wide or jsonpath=TEMPLATE
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "", hide_default_value = true, value_parser = parse_output)]
    pub output: Output,
    /// Stay, and print every change
    #[arg(short = 'w', long)]
    pub watch: bool,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Tables without a header
    #[arg(long)]
    pub no_headers: bool,
    /// Tables with the objects' labels
    #[arg(long)]
    pub show_labels: bool,
    /// JSON and YAML with metadata.managedFields
    #[arg(long)]
    pub show_managed_fields: bool,
    /// Say nothing of an object that is not there
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Order by a field, as in .metadata.creationTimestamp
    #[arg(long, value_name = "PATH", value_parser = Template::path)]
    pub sort_by: Option<Template>,
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// What to ask for: a kind and, maybe, one name.
pub(crate) struct Query {
    pub(crate) resource: Resource,
    pub(crate) name: Option<String>,
}

/// Prints the objects.
///
/// # Errors
/// A server that refuses or does not answer.
pub async fn run(args: &GetArgs, context: &Context) -> Result<Exit, Error> {
    let named = names::parse(&args.objects).map_err(Error::Usage)?;
    let session = Session::open(&args.connect, &args.namespace, context).await?;
    if matches!(named, Named::Objects(_)) && !args.select.is_empty() {
        return Err(Error::usage("selectors choose among all objects: leave the names out"));
    }
    let queries = queries(&session, &named)?;
    let exit = match &args.output {
        Output::Table | Output::Wide => {
            let mut tables = Tables::read(&session, args, queries).await?;
            tables.print(&session, args)?;
            let exit = tables.exit;
            if args.watch && exit == Exit::Done {
                return follow::tables(&session, args, tables.shown).await;
            }
            exit
        }
        _ => {
            let (objects, exit, is_single) = read_objects(&session, args, &queries).await?;
            if args.watch && exit == Exit::Done {
                return follow::objects(&session, args, queries).await;
            }
            print_objects(&session, args, objects, is_single)?;
            exit
        }
    };
    Ok(exit)
}

fn queries(session: &Session, named: &Named) -> Result<Vec<Query>, Error> {
    Ok(match named {
        Named::Kinds(kinds) => {
            let resources = session.resources(kinds)?;
            resources.into_iter().map(|r| Query { resource: r.clone(), name: None }).collect()
        }
        Named::Objects(objects) => {
            let query = |(kind, name): &(String, String)| {
                Ok(Query { resource: session.resource(kind)?.clone(), name: Some(name.clone()) })
            };
            objects.iter().map(query).collect::<Result<_, Error>>()?
        }
    })
}

/// The namespace to ask in: none for all of them.
pub(crate) fn namespace<'a>(session: &'a Session, args: &GetArgs, resource: &Resource) -> Option<&'a str> {
    if args.all_namespaces { None } else { session.namespace_for(resource) }
}

/// A table on the screen, with what is needed to go on with it.
pub(crate) struct Shown {
    pub(crate) resource: Resource,
    pub(crate) names: Vec<String>,
    pub(crate) table: Option<Table>,
    pub(crate) style: TableStyle,
    pub(crate) version: String,
    rows: Vec<Value>,
}

struct Tables {
    shown: Vec<Shown>,
    exit: Exit,
}

impl Tables {
    /// One table per kind, in the order of the command line.
    async fn read(session: &Session, args: &GetArgs, queries: Vec<Query>) -> Result<Self, Error> {
        let mut kinds: Vec<&Resource> = queries.iter().map(|q| &q.resource).collect();
        kinds.dedup();
        let prefixed = kinds.len() > 1;
        let mut all = Self { shown: Vec::new(), exit: Exit::Done };
        for query in queries {
            let place = namespace(session, args, &query.resource);
            let body = match &query.name {
                Some(name) => match session.server.get_table(&query.resource, place, name).await {
                    Ok(body) => body,
                    Err(error @ Error::Server(_)) => {
                        all.refused(session, args, &error);
                        continue;
                    }
                    Err(error) => return Err(error),
                },
                None => {
                    let mut pairs = args.select.pairs();
                    if args.sort_by.is_some() {
                        pairs.push(("includeObject", "Object"));
                    }
                    session.server.list(&query.resource, place, &pairs, true).await?
                }
            };
            all.add(query, as_table(body), args, prefixed);
        }
        Ok(all)
    }

    fn refused(&mut self, session: &Session, args: &GetArgs, error: &Error) {
        if !(args.ignore_not_found && error.is_not_found()) {
            session.context.err.note(&error.to_string());
            self.exit = Exit::Failed;
        }
    }

    fn add(&mut self, query: Query, mut body: Value, args: &GetArgs, prefixed: bool) {
        let version = body["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let mut rows = body["rows"].as_array_mut().map(std::mem::take).unwrap_or_default();
        if let Some(path) = &args.sort_by {
            sort(&mut rows, path, |row| &row["object"]);
        }
        let same = self.shown.last_mut().filter(|s| s.resource == query.resource && query.name.is_some());
        if let Some(last) = same {
            last.rows.extend(rows);
            last.names.extend(query.name);
            return;
        }
        let style = TableStyle {
            wide: args.output == Output::Wide,
            no_headers: args.no_headers,
            namespaces: args.all_namespaces && query.resource.namespaced,
            prefix: if prefixed { format!("{}/", query.resource.qualified()) } else { String::new() },
            labels: args.show_labels,
        };
        let table = Table::of(&body, style.clone());
        let names = query.name.into_iter().collect();
        self.shown.push(Shown { resource: query.resource, names, table, style, version, rows });
    }

    /// Tables with a blank line between them; a word on stderr where there is nothing.
    fn print(&mut self, session: &Session, args: &GetArgs) -> Result<(), Error> {
        let mut texts = Vec::new();
        for shown in &mut self.shown {
            let rows: Vec<&Value> = shown.rows.iter().collect();
            texts.extend(shown.table.as_mut().map(|t| t.text(&rows)).filter(|t| !t.is_empty()));
        }
        if !texts.is_empty() {
            session.context.out.text(&texts.join("\n"))?;
        } else if self.exit == Exit::Done && !args.ignore_not_found {
            nothing(session, args, self.shown.iter().any(|s| s.resource.namespaced));
        }
        Ok(())
    }
}

fn nothing(session: &Session, args: &GetArgs, namespaced: bool) {
    session.context.err.note(&match namespaced && !args.all_namespaces {
        true => format!("No resources found in {} namespace.", session.namespace),
        false => "No resources found".into(),
    });
}

/// The body as a table, also where the server made none of it.
pub(crate) fn as_table(body: Value) -> Value {
    if body["kind"] == "Table" {
        return body;
    }
    let items = if body["items"].is_array() { items_of(&body) } else { vec![body.clone()] };
    let mut table = plain(&items, Timestamp::now());
    table["metadata"] = json!({"resourceVersion": body["metadata"]["resourceVersion"]});
    table
}

fn sort(items: &mut [Value], path: &Template, object: impl Fn(&Value) -> &Value) {
    let key = |item: &Value| path.find(object(item)).first().map(|v| (*v).clone()).unwrap_or_default();
    items.sort_by(|a, b| match (key(a), key(b)) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(std::cmp::Ordering::Equal)
        }
        (Value::String(a), Value::String(b)) => a.cmp(&b),
        (a, b) => a.to_string().cmp(&b.to_string()),
    });
}

/// The objects, how reading them ended, and whether exactly one was named.
async fn read_objects(session: &Session, args: &GetArgs, queries: &[Query]) -> Result<(Vec<Value>, Exit, bool), Error> {
    let (mut objects, mut exit) = (Vec::new(), Exit::Done);
    for query in queries {
        let place = namespace(session, args, &query.resource);
        match &query.name {
            Some(name) => match session.server.get(&query.resource, place, name).await {
                Ok(object) => objects.push(object),
                Err(error @ Error::Server(_)) => {
                    if !(args.ignore_not_found && error.is_not_found()) {
                        session.context.err.note(&error.to_string());
                        exit = Exit::Failed;
                    }
                }
                Err(error) => return Err(error),
            },
            None => objects
                .extend(items_of(&session.server.list(&query.resource, place, &args.select.pairs(), false).await?)),
        }
    }
    if let Some(path) = &args.sort_by {
        sort(&mut objects, path, |o| o);
    }
    let is_single = matches!(queries, [Query { name: Some(_), .. }]);
    Ok((objects, exit, is_single))
}

fn print_objects(session: &Session, args: &GetArgs, objects: Vec<Value>, is_single: bool) -> Result<(), Error> {
    if is_single && objects.is_empty() {
        return Ok(());
    }
    let objects: Vec<Value> = match args.show_managed_fields {
        true => objects,
        false => objects.into_iter().map(without_managed_fields).collect(),
    };
    let out = &session.context.out;
    if args.output == Output::Name {
        if objects.is_empty() && !args.ignore_not_found {
            nothing(session, args, true);
        }
        for object in &objects {
            out.line(&name_of(session, object))?;
        }
        return Ok(());
    }
    let body = match (is_single, objects) {
        (true, mut objects) => objects.swap_remove(0),
        (false, objects) => list(objects),
    };
    out.text(&text_of(&args.output, &body))?;
    Ok(())
}

/// `worker.rbee.dev/story`
pub(crate) fn name_of(session: &Session, object: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let qualified = match session.catalog.of_object(&api_version, &kind) {
        Some(resource) => resource.qualified(),
        None => kind.to_lowercase(),
    };
    format!("{qualified}/{}", text(&object["metadata"]["name"]))
}

/// An object in one of the forms for programs, its keys in alphabetical order.
pub(crate) fn text_of(output: &Output, body: &Value) -> String {
    let mut body = body.clone();
    body.sort_all_objects();
    match output {
        Output::Yaml => rbee_yaml::to_string(&body),
        Output::JsonPath(template) => template.render(&body),
        _ => json_text(&body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorting_goes_by_number_and_by_text() {
        let mut items = vec![json!({"n": 10, "t": "b"}), json!({"n": 9, "t": "c"}), json!({"t": "a"})];
        let mut numbers = vec![json!({"n": 10}), json!({"n": 9})];
        sort(&mut numbers, &Template::path(".n").unwrap(), |o| o);
        assert_eq!(numbers[0]["n"], 9);
        sort(&mut items, &Template::path("{.t}").unwrap(), |o| o);
        assert_eq!(items[0]["t"], "a");
    }
}
