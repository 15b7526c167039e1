//! `rbee hives`: the machines; `cordon` keeps new replicas away from one.

use std::time::Duration;

use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use rbee_crds::{Hive, condition, hive};
use rbee_wire::hive::HiveHealth;
use serde_json::json;

use crate::{
    context::Context,
    error::{Error, Exit, chain},
    print::table::simple,
    target::{ConnectArgs, connect},
    verbs::{apply::MANAGER, models::bytes},
};

#[derive(Clone, Debug, clap::Subcommand)]
pub enum HivesCommand {
    /// List the hives with their backends and free memory
    Ls(HivesLsArgs),
    /// Place no new replicas on a hive
    Cordon(HiveArgs),
    /// Place replicas on a hive again
    Uncordon(HiveArgs),
    /// Ask each hive itself whether it is well
    Health(HivesHealthArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct HivesLsArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct HiveArgs {
    /// The hive's name
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct HivesHealthArgs {
    /// Only this hive, by its name or host name
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Runs one of the commands.
///
/// # Errors
/// A server that refuses or does not answer.
pub async fn run(command: &HivesCommand, context: &Context) -> Result<Exit, Error> {
    match command {
        HivesCommand::Ls(args) => list(args, context).await,
        HivesCommand::Cordon(args) => cordon(args, true, context).await,
        HivesCommand::Uncordon(args) => cordon(args, false, context).await,
        HivesCommand::Health(args) => health(args, context).await,
    }
}

async fn list(args: &HivesLsArgs, context: &Context) -> Result<Exit, Error> {
    let target = connect(&args.connect, context).await?;
    let hives = Api::<Hive>::all(target.client).list(&ListParams::default()).await?.items;
    if hives.is_empty() {
        context.err.note("No hives. `rbee hive --queen URL --token T` joins one.");
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = hives.iter().map(row).collect();
    context.out.text(&simple(&["NAME", "STATUS", "HOST", "BACKENDS", "FREE", "VERSION"], &rows))?;
    Ok(Exit::Done)
}

fn row(object: &Hive) -> Vec<String> {
    let status = object.status.clone().unwrap_or_default();
    let mut state = match condition::find(&status.conditions, hive::READY).map(|c| c.status) {
        Some(condition::ConditionStatus::True) => "Ready".to_owned(),
        Some(condition::ConditionStatus::False) => "NotReady".to_owned(),
        _ => "Unknown".to_owned(),
    };
    if object.spec.unschedulable == Some(true) {
        state.push_str(",SchedulingDisabled");
    }
    let devices = || status.backends.iter().flat_map(|b| b.devices.iter().map(move |d| (b, d)));
    let backends: Vec<String> = status.backends.iter().map(|b| format!("{}:{}", b.name, b.devices.len())).collect();
    let free: Vec<String> = devices().filter_map(|(_, d)| d.memory_free_bytes.map(bytes)).collect();
    vec![
        object.metadata.name.clone().unwrap_or_default(),
        state,
        status.hostname.clone().unwrap_or_default(),
        backends.join(","),
        free.join(","),
        status.version.clone().unwrap_or_default(),
    ]
}

async fn cordon(args: &HiveArgs, unschedulable: bool, context: &Context) -> Result<Exit, Error> {
    let target = connect(&args.connect, context).await?;
    target.announce(context);
    let hives = Api::<Hive>::all(target.client);
    let word = if unschedulable { "cordoned" } else { "uncordoned" };
    let before = hives.get(&args.name).await?;
    if before.spec.unschedulable.unwrap_or(false) == unschedulable {
        context.out.line(&format!("hive.rbee.dev/{} already {word}", args.name))?;
        return Ok(Exit::Done);
    }
    let patch = json!({"spec": {"unschedulable": unschedulable.then_some(true)}});
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    hives.patch(&args.name, &params, &Patch::Merge(patch)).await?;
    context.out.line(&format!("hive.rbee.dev/{} {word}", args.name))?;
    Ok(Exit::Done)
}

async fn health(args: &HivesHealthArgs, context: &Context) -> Result<Exit, Error> {
    let target = connect(&args.connect, context).await?;
    let hives = Api::<Hive>::all(target.client).list(&ListParams::default()).await?.items;
    let named = |hive: &&Hive| {
        let hostname = hive.status.as_ref().and_then(|s| s.hostname.as_deref());
        args.host.as_deref().is_none_or(|host| hive.metadata.name.as_deref() == Some(host) || hostname == Some(host))
    };
    let chosen: Vec<&Hive> = hives.iter().filter(named).collect();
    if chosen.is_empty() {
        let asked = args.host.as_deref().map(|h| format!(" {h:?}")).unwrap_or_default();
        return Err(Error::failed(format!("there is no hive{asked}; `rbee hives ls` lists those there are")));
    }
    let mut exit = Exit::Done;
    let mut rows = Vec::new();
    for hive in chosen {
        let name = hive.metadata.name.clone().unwrap_or_default();
        let address = hive.status.as_ref().and_then(|s| s.address.clone()).unwrap_or_default();
        let said = match ask(&address, target.ca_pem.as_deref()).await {
            Ok(health) => vec![health.status, health.version, String::new()],
            Err(problem) => {
                exit = Exit::Failed;
                vec!["no answer".into(), String::new(), problem]
            }
        };
        rows.push([vec![name, address], said].concat());
    }
    context.out.text(&simple(&["NAME", "ADDRESS", "HEALTH", "VERSION", "MESSAGE"], &rows))?;
    Ok(exit)
}

async fn ask(address: &str, ca_pem: Option<&str>) -> Result<HiveHealth, String> {
    let client = crate::http::client(ca_pem)?;
    let url = format!("{}/v1/health", address.trim_end_matches('/'));
    let answer = client.get(&url).timeout(Duration::from_secs(10)).send().await.map_err(|e| chain(&e))?;
    answer.json().await.map_err(|e| chain(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cordoned_hive_says_so() {
        let mut hive = Hive::new("h", serde_json::from_value(json!({"unschedulable": true})).unwrap());
        hive.status = serde_json::from_value(json!({
            "hostname": "mac", "version": "0.1.0",
            "backends": [{"name": "cpu", "devices": [{"index": 0, "name": "cpu", "memoryBytes": 4096, "memoryFreeBytes": 2048}]}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }))
        .unwrap();
        assert_eq!(row(&hive), ["h", "Ready,SchedulingDisabled", "mac", "cpu:1", "2.0 KiB", "0.1.0"]);
    }
}
