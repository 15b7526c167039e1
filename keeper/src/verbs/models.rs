//! `rbee models`: the Models, and which hives have them.

use rbee_crds::{condition, model};

use crate::{
    context::Context,
    error::{Error, Exit},
    print::table::simple,
    target::{ConnectArgs, NamespaceArg, connect},
};

#[derive(Clone, Debug, clap::Subcommand)]
pub enum ModelsCommand {
    /// List the Models with their size, quantization and the hives that have them
    Ls(ModelsLsArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct ModelsLsArgs {
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Prints them.
///
/// # Errors
/// A server that refuses or does not answer.
pub async fn run(command: &ModelsCommand, context: &Context) -> Result<Exit, Error> {
    let ModelsCommand::Ls(args) = command;
    let target = connect(&args.connect, context).await?;
    let namespace = args.namespace.namespace.clone().unwrap_or_else(|| target.namespace.clone());
    let api: kube::Api<rbee_crds::Model> = kube::Api::namespaced(target.client.clone(), &namespace);
    let models = api.list(&kube::api::ListParams::default()).await?.items;
    if models.is_empty() {
        context.err.note(&format!("No resources found in {namespace} namespace."));
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = models.iter().map(row).collect();
    context.out.text(&simple(&["NAME", "URI", "READY", "QUANTIZATION", "SIZE", "HIVES"], &rows))?;
    Ok(Exit::Done)
}

fn row(object: &rbee_crds::Model) -> Vec<String> {
    let status = object.status.clone().unwrap_or_default();
    let ready = condition::find(&status.conditions, model::READY).map(|c| format!("{:?}", c.status));
    let hives: Vec<&str> = status.hives.iter().map(|h| h.name.as_str()).collect();
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "<unknown>".into());
    vec![
        object.metadata.name.clone().unwrap_or_default(),
        object.spec.uri.clone(),
        ready.unwrap_or_else(|| "Unknown".into()),
        or_unknown(status.gguf.and_then(|g| g.quantization)),
        or_unknown(status.size_bytes.map(bytes)),
        if hives.is_empty() { "<none>".into() } else { hives.join(",") },
    ]
}

/// A number of bytes in binary units.
pub(crate) fn bytes(count: i64) -> String {
    let mut size = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!([bytes(12), bytes(2048), bytes(5 << 30), bytes(3 << 40)], ["12 B", "2.0 KiB", "5.0 GiB", "3.0 TiB"]);
    }

    #[test]
    fn a_model_that_nobody_looked_at_is_unknown() {
        let model = rbee_crds::Model::new(
            "bee",
            serde_json::from_value(serde_json::json!({"uri": "builtin:tinybee"})).unwrap(),
        );
        assert_eq!(row(&model), ["bee", "builtin:tinybee", "Unknown", "<unknown>", "<unknown>", "<none>"]);
    }
}
