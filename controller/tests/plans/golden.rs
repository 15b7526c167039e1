//! Golden transcripts: commands in, what the planners write out. `RBEE_GOLDEN=write` writes the answers anew.
//!
//! A line that begins with `>` is a command; what follows is its answer.
//!
//! ```text
//! > hive NAME [memory=BYTES] [label=K:V] [file=PATH|missing=PATH|invalid=PATH [sha=SHA256]] [version=V]
//! > model NAME URI [by=infer] [sha=SHA256]     > worker NAME MODEL [replicas=N] [slots=N] [hive=H] [select=K:V] [backend=B] [memory=Q] …
//! > delete-worker NAME [gc]        > delete-hive NAME       > delete-model NAME
//! > kill HIVE   > revive HIVE      > wait SECONDS           > restart-queen
//! > act HIVE [fail=ASSIGNMENT]     > crash ASSIGNMENT MESSAGE
//! > show
//! ```

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, sync::Arc};

use kube::{Resource, ResourceExt};
use rbee_controller::plan::check;
use rbee_crds::{
    AssignmentState, Hive, HiveStatus, Model, Time, Worker,
    hive::{Cache, CacheState, CachedModel, Device, HiveBackend},
    worker::Failure,
};
use serde_json::{Map, Value, json};

use super::world::{NAMESPACE, World};

type Options<'a> = Vec<(&'a str, &'a str)>;

/// Carries one command out and tells what the planners did.
fn run(world: &mut World, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let options: Options<'_> = words.iter().filter_map(|w| w.split_once('=')).collect();
    match words.as_slice() {
        ["hive", name, ..] => hive(world, name, &options),
        ["model", name, uri, ..] => model(world, name, uri, &options),
        ["worker", name, model, ..] => worker(world, name, model, &options),
        ["delete-worker", name, rest @ ..] => {
            let gone = world.workers.remove(*name);
            if rest.contains(&"gc") {
                collect_garbage(world, gone.and_then(|w| w.uid()).as_deref());
            }
        }
        ["delete-hive", name] => drop(world.hives.remove(*name)),
        ["delete-model", name] => drop(world.models.remove(*name)),
        ["kill", name] => drop(world.alive.insert((*name).into(), false)),
        ["revive", name] => {
            world.alive.insert((*name).into(), true);
            world.beat();
        }
        ["wait", seconds] => world.advance(seconds.parse().expect("seconds")),
        ["restart-queen"] => {
            world.epoch += 1;
            world.judge_from = world.now + super::world::LOST_AFTER;
        }
        ["act", name, ..] => {
            let failing: Vec<&str> = options.iter().filter(|(k, _)| *k == "fail").map(|(_, v)| *v).collect();
            world.hive_acts(name, |a| failing.contains(&a));
        }
        ["crash", name, message @ ..] => crash(world, name, &message.join(" ")),
        ["show"] => return show(world),
        _ => panic!("what is `{command}`?"),
    }
    let mut told = String::new();
    let settled = world.plan_all(20, |text| writeln!(told, "{text}").expect("memory"));
    settled.expect("the planners come to rest");
    let broken = check::always(&world.hives, &world.all_assignments(), world.epoch);
    assert!(broken.is_empty(), "after `{command}`: {broken:?}");
    if told.is_empty() { "nothing to do\n".into() } else { told }
}

fn hive(world: &mut World, name: &str, options: &Options<'_>) {
    let old = world.hives.get(name).cloned();
    let mut hive = old.as_ref().map_or_else(|| Hive::new(name, Default::default()), |h| (**h).clone());
    let mut status = HiveStatus { version: Some("0.1.0".into()), ..hive.status.take().unwrap_or_default() };
    let mut models: Vec<CachedModel> = vec![];
    let mut memory = 8_000_000_000;
    for (key, value) in options {
        let state = match *key {
            "memory" => {
                memory = value.parse().expect("bytes");
                continue;
            }
            "label" => {
                let (k, v) = value.split_once(':').expect("K:V");
                hive.labels_mut().insert(k.into(), v.into());
                continue;
            }
            "version" => {
                status.version = Some((*value).into());
                continue;
            }
            "sha" => {
                models.last_mut().expect("a file before its sha256").sha256 = Some((*value).into());
                continue;
            }
            "file" => CacheState::Available,
            "missing" => CacheState::Missing,
            "invalid" => CacheState::Invalid,
            other => panic!("what is {other}?"),
        };
        models.push(CachedModel {
            uri: format!("file://{value}"),
            revision: None,
            size_bytes: (state == CacheState::Available).then_some(1_000_000),
            sha256: None,
            state,
            message: (state == CacheState::Invalid)
                .then(|| format!("{value} is no GGUF file: it begins with \"not \"")),
            gguf: None,
            download: None,
        });
    }
    let device = Device { index: 0, name: "cpu".into(), memory_bytes: memory, memory_free_bytes: None };
    status.backends = vec![HiveBackend { name: rbee_crds::Backend::Cpu, devices: vec![device] }];
    status.cache = Some(Cache { models, ..Cache::default() });
    hive.status = Some(status);
    let (name, hive) = world.put(hive);
    world.hives.insert(name.clone(), hive);
    world.alive.insert(name, true);
    world.beat();
}

fn model(world: &mut World, name: &str, uri: &str, options: &Options<'_>) {
    let by = options.iter().find(|(key, _)| *key == "by").map(|(_, by)| ("rbee.dev/created-by", *by));
    let labels: BTreeMap<&str, &str> = by.into_iter().collect();
    let sha = options.iter().find(|(key, _)| *key == "sha").map(|(_, sha)| *sha);
    let model: Model = serde_json::from_value(json!({
        "apiVersion": "rbee.dev/v1alpha1", "kind": "Model",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "spec": {"uri": uri, "sha256": sha},
    }))
    .expect("a Model");
    let (name, model) = world.put(model);
    world.models.insert(name, model);
}

fn worker(world: &mut World, name: &str, model: &str, options: &Options<'_>) {
    let mut spec = Map::from_iter([("modelRef".to_owned(), json!({"name": model}))]);
    let mut labels = BTreeMap::new();
    for (key, value) in options {
        let number = || value.parse::<i64>().map_or_else(|_| panic!("{value} is no number"), Value::from);
        let (field, value) = match *key {
            "replicas" | "slots" | "device" | "contextLength" => (*key, number()),
            "hive" => ("hiveName", json!(value)),
            "backend" | "onHiveLost" | "hiveLostTimeout" | "idleTimeout" => (*key, json!(value)),
            "suspend" => ("suspend", json!(*value == "true")),
            "memory" => ("resources", json!({"memory": value})),
            "unavailable" => ("rolloutStrategy", json!({"maxSurge": 0, "maxUnavailable": number()})),
            "select" => {
                let (k, v) = value.split_once(':').expect("K:V");
                ("hiveSelector", json!({"matchLabels": {k: v}}))
            }
            "by" => {
                labels.insert("rbee.dev/created-by".to_owned(), (*value).to_owned());
                continue;
            }
            other => panic!("what is {other}?"),
        };
        spec.insert(field.to_owned(), value);
    }
    let mut worker: Worker = serde_json::from_value(json!({
        "apiVersion": "rbee.dev/v1alpha1", "kind": "Worker",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "spec": spec,
    }))
    .expect("a Worker");
    if let Some(old) = world.workers.get(name) {
        let generation = old.metadata.generation.unwrap_or(1) + 1;
        *worker.meta_mut() = old.metadata.clone();
        worker.metadata.generation = Some(generation);
        worker.status.clone_from(&old.status);
    }
    let (name, worker) = world.put(worker);
    world.workers.insert(name, worker);
}

fn collect_garbage(world: &mut World, owner: Option<&str>) {
    let now = world.now;
    for assignment in world.assignments.values_mut() {
        if assignment.owner_references().iter().any(|o| Some(o.uid.as_str()) == owner) {
            Arc::make_mut(assignment).metadata.deletion_timestamp.get_or_insert(Time(now));
        }
    }
}

fn crash(world: &mut World, name: &str, message: &str) {
    let now = world.now;
    world.set_status(name, |s| {
        s.state = Some(AssignmentState::Pending);
        s.restarts = Some(s.restarts.unwrap_or(0) + 1);
        s.last_failure = Some(Failure {
            reason: "WorkerCrashed".into(),
            message: message.into(),
            exit_code: Some(137),
            time: Some(Time(now)),
        });
    });
}

fn show(world: &World) -> String {
    let mut text = String::new();
    for a in world.assignments.values() {
        let state = a.status.as_ref().and_then(|s| s.state).unwrap_or_default();
        let ends = if a.metadata.deletion_timestamp.is_some() { ", being deleted" } else { "" };
        writeln!(text, "assignment {} on {}: {state:?}{ends}", a.name_any(), a.spec.hive_name).expect("memory");
    }
    if text.is_empty() { "no assignments\n".into() } else { text }
}

/// The hash of a template says nothing to a reader, but that it differs does.
fn redact(text: &str, hashes: &mut Vec<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('-') {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        rest = after;
        let hash: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
        if hash.len() == 8 && rest[8..].starts_with('-') {
            let known = hashes.iter().position(|h| *h == hash).unwrap_or_else(|| {
                hashes.push(hash.clone());
                hashes.len() - 1
            });
            write!(out, "#{}", known + 1).expect("memory");
            rest = &rest[8..];
        }
    }
    out + rest
}

/// Lets commands name assignments as the answers do.
fn reveal(command: &str, hashes: &[String]) -> String {
    hashes.iter().enumerate().fold(command.to_owned(), |c, (i, hash)| c.replace(&format!("#{}", i + 1), hash))
}

#[test]
fn transcripts_are_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let write = std::env::var_os("RBEE_GOLDEN").is_some_and(|v| v == "write");
    let mut files: Vec<_> = fs::read_dir(&folder).expect("tests/golden").filter_map(|f| Some(f.ok()?.path())).collect();
    files.sort();
    assert!(!files.is_empty(), "no transcripts");
    for path in files {
        let recorded = fs::read_to_string(&path).expect("a transcript");
        let (mut world, mut hashes, mut got) = (World::new(), vec![], String::new());
        for line in recorded.lines().filter(|l| l.starts_with('>') || l.starts_with('#')) {
            writeln!(got, "{line}").expect("memory");
            if let Some(command) = line.strip_prefix('>') {
                let answer = run(&mut world, &reveal(command, &hashes));
                got.push_str(&redact(&answer, &mut hashes));
                got.push('\n');
            }
        }
        let got = format!("{}\n", got.trim_end());
        if write {
            fs::write(&path, got).expect("a transcript that can be written");
        } else {
            assert!(
                got == recorded,
                "{} is not what happens now (RBEE_GOLDEN=write writes it anew):\n{got}",
                path.display()
            );
        }
    }
}
