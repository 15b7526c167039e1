//! `rbee api-resources`: the kinds that the server has.

use crate::{
    context::Context,
    error::{Error, Exit},
    print::table::simple,
    server::Catalog,
    session::Session,
    target::{ConnectArgs, NamespaceArg},
};

#[derive(Clone, Debug, clap::Args)]
pub struct ApiResourcesArgs {
    /// Only those of this group
    #[arg(long, value_name = "GROUP")]
    pub api_group: Option<String>,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Prints them.
///
/// # Errors
/// A server that does not answer.
pub async fn run(args: &ApiResourcesArgs, context: &Context) -> Result<Exit, Error> {
    let session = Session::open(&args.connect, &NamespaceArg::default(), context).await?;
    context.out.text(&table(&session.catalog, args.api_group.as_deref()))?;
    Ok(Exit::Done)
}

fn table(catalog: &Catalog, group: Option<&str>) -> String {
    let mut rows: Vec<Vec<String>> = catalog
        .0
        .iter()
        .filter(|r| r.preferred && group.is_none_or(|g| g == r.group))
        .map(|r| {
            vec![r.plural.clone(), r.short_names.join(","), r.api_version(), r.namespaced.to_string(), r.kind.clone()]
        })
        .collect();
    rows.sort_by(|a, b| (a[2].contains('/'), &a[2], &a[0]).cmp(&(b[2].contains('/'), &b[2], &b[0])));
    simple(&["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Resource;

    #[test]
    fn kinds_are_listed_by_group() {
        let mut worker = Resource::for_tests("rbee.dev", "v1alpha1", "workers", "Worker", true);
        worker.short_names = vec!["wkr".into()];
        let catalog = Catalog(vec![worker, Resource::for_tests("", "v1", "secrets", "Secret", true)]);
        let text = table(&catalog, None);
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["secrets", "v1", "true", "Secret"]);
        assert_eq!(lines[2], ["workers", "wkr", "rbee.dev/v1alpha1", "true", "Worker"]);
        assert_eq!(table(&catalog, Some("rbee.dev")).lines().count(), 2);
    }
}
