//! `rbee workers`: the running replicas, as the API knows them and as they answer themselves.

use std::time::Duration;

use futures::future::join_all;
use kube::{Api, api::ListParams};
use rbee_crds::{Assignment, names::LABEL_WORKER};
use rbee_wire::worker::Health;

use crate::{
    context::Context,
    error::{Error, Exit, chain},
    print::table::simple,
    target::{ConnectArgs, NamespaceArg, connect},
};

#[derive(Clone, Debug, clap::Subcommand)]
pub enum WorkersCommand {
    /// List the replicas with hive, model, state and slots
    Ls(WorkersArgs),
    /// Ask each replica itself whether it is well
    Health(WorkersArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct WorkersArgs {
    /// Only the replicas of this Worker
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Runs one of the commands.
///
/// # Errors
/// A server that refuses or does not answer.
pub async fn run(command: &WorkersCommand, context: &Context) -> Result<Exit, Error> {
    let (WorkersCommand::Ls(args) | WorkersCommand::Health(args)) = command;
    let target = connect(&args.connect, context).await?;
    let namespace = args.namespace.namespace.clone().unwrap_or_else(|| target.namespace.clone());
    let params = match &args.name {
        Some(name) => ListParams::default().labels(&format!("{LABEL_WORKER}={name}")),
        None => ListParams::default(),
    };
    let found = Api::<Assignment>::namespaced(target.client.clone(), &namespace).list(&params).await?.items;
    if found.is_empty() {
        context.err.note(&format!("No replicas found in {namespace} namespace."));
        return Ok(Exit::Done);
    }
    if let WorkersCommand::Ls(_) = command {
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        let header = ["NAME", "WORKER", "HIVE", "MODEL", "BACKEND", "STATE", "SLOTS", "URL"];
        context.out.text(&simple(&header, &rows))?;
        return Ok(Exit::Done);
    }
    let client = crate::http::client(target.ca_pem.as_deref()).map_err(Error::failed)?;
    let answers = join_all(found.iter().map(|a| ask(&client, a))).await;
    let exit = if answers.iter().all(Result::is_ok) { Exit::Done } else { Exit::Failed };
    let rows: Vec<Vec<String>> = found.iter().zip(answers).map(|(a, answer)| health_row(a, answer)).collect();
    let header = ["NAME", "STATE", "IN FLIGHT", "SLOTS FREE", "VERSION", "MESSAGE"];
    context.out.text(&simple(&header, &rows))?;
    Ok(exit)
}

fn row(object: &Assignment) -> Vec<String> {
    let status = object.status.clone().unwrap_or_default();
    let spec = &object.spec;
    vec![
        object.metadata.name.clone().unwrap_or_default(),
        spec.worker_name.clone(),
        spec.hive_name.clone(),
        spec.model.name.clone(),
        format!("{}:{}", spec.backend, spec.device),
        format!("{:?}", status.state.unwrap_or_default()),
        status.slots.map(|s| format!("{}/{} free", s.free, s.total)).unwrap_or_default(),
        status.url.unwrap_or_default(),
    ]
}

async fn ask(client: &reqwest::Client, object: &Assignment) -> Result<Health, String> {
    let url = object.status.as_ref().and_then(|s| s.url.clone()).ok_or("it has no address yet")?;
    let request = client.get(format!("{}/health", url.trim_end_matches('/'))).timeout(Duration::from_secs(10));
    let answer = request.send().await.map_err(|e| chain(&e))?;
    answer.json().await.map_err(|e| chain(&e))
}

fn health_row(object: &Assignment, answer: Result<Health, String>) -> Vec<String> {
    let name = object.metadata.name.clone().unwrap_or_default();
    match answer {
        Ok(health) => vec![
            name,
            format!("{:?}", health.state).to_lowercase(),
            health.in_flight.to_string(),
            format!("{}/{}", health.slots_free, health.slots_total),
            health.version,
            String::new(),
        ],
        Err(problem) => {
            vec![name, "no answer".into(), String::new(), String::new(), String::new(), problem]
        }
    }
}
