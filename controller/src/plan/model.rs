//! Model: what its reference stands for, and where it can be had.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;
use rbee_crds::{
    Condition, Hive, Model, ModelStatus, Time,
    condition::{self, Wanted},
    hive::{CacheState, CachedModel},
    model::{Copies, Gguf, ModelFile, ModelHive, READY, RESOLVED},
    reason,
};
use rbee_model::{ModelRef, builtin};

use super::{Note, fleet};

/// At most so many hives are listed in status.
const LISTED_HIVES: usize = 10;

/// What is known of one Model.
#[derive(Clone, Debug)]
pub struct Observed {
    pub model: Arc<Model>,
    pub hives: Vec<Arc<Hive>>,
}

/// What to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub status: Option<ModelStatus>,
    pub notes: Vec<Note>,
}

impl Plan {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.status.is_none() && self.notes.is_empty()
    }
}

/// What came of looking a reference up.
#[derive(Clone, Debug, PartialEq)]
enum Resolution {
    /// One file set.
    Found(Box<Found>),
    /// Nobody can tell yet.
    Waiting(String),
    /// It is not there, or cannot be used.
    Refused { reason: &'static str, message: String },
}

#[derive(Clone, Debug, PartialEq)]
struct Found {
    file: ModelFile,
    gguf: Option<Gguf>,
    /// Where it is, for people.
    available: String,
}

/// Decides at `now`. Models have nothing that is left to chance.
pub fn plan(observed: &Observed, now: Timestamp, _seed: u64) -> Plan {
    let model = &observed.model;
    let current = model.status.clone().unwrap_or_default();
    let ready: Vec<&Arc<Hive>> = observed.hives.iter().filter(|h| fleet::is_ready(h)).collect();
    let (resolution, hives) = resolve(model, &current, &ready);
    let wanted = conditions(&resolution);
    let (files, gguf) = match &resolution {
        Resolution::Found(found) => (vec![found.file.clone()], found.gguf.clone()),
        _ => (vec![], None),
    };
    let status = ModelStatus {
        observed_generation: model.metadata.generation,
        conditions: condition::set(&current.conditions, &wanted, model.metadata.generation, &Time(now)),
        resolved_revision: None,
        size_bytes: (!files.is_empty()).then(|| files.iter().map(|f| f.size_bytes).sum()),
        files,
        gguf,
        copies: Some(copies(&hives)),
        hives: listed(hives),
    };
    if status == current {
        return Plan::default();
    }
    let notes = note(&current.conditions, &status.conditions).into_iter().collect();
    Plan { status: Some(status), notes }
}

fn resolve(model: &Model, current: &ModelStatus, ready: &[&Arc<Hive>]) -> (Resolution, Vec<ModelHive>) {
    let resolution = match model.spec.uri.parse::<ModelRef>() {
        Err(refusal) => Resolution::Refused { reason: reason::INVALID_REQUEST, message: refusal.to_string() },
        Ok(ModelRef::Builtin(name)) => {
            let resolution = resolve_builtin(model, &name);
            let everywhere = matches!(resolution, Resolution::Found(_));
            let hives = ready.iter().filter(|_| everywhere).map(|h| at_hive(h, CacheState::Available)).collect();
            return (resolution, hives);
        }
        Ok(ModelRef::File(path)) => {
            let reports: Vec<(&Arc<Hive>, Option<&CachedModel>)> =
                ready.iter().map(|h| (*h, report(h, &model.spec.uri))).collect();
            let hives = reports
                .iter()
                .filter_map(|(h, r)| {
                    r.map(|r| ModelHive { download: r.download.clone(), ..at_hive(h, state(model, r)) })
                })
                .collect();
            return (resolve_file(model, &path, current, &reports), hives);
        }
        Ok(ModelRef::Hub { .. } | ModelRef::Https(_)) => Resolution::Refused {
            reason: reason::UNSUPPORTED_FORMAT,
            message: format!(
                "{} is not yet supported: downloads come later; use file:///PATH or builtin:NAME",
                model.spec.uri
            ),
        },
    };
    (resolution, vec![])
}

fn resolve_builtin(model: &Model, name: &str) -> Resolution {
    let Some(builtin) = builtin::get(name) else {
        return Resolution::Refused { reason: reason::MODEL_NOT_FOUND, message: builtin::unknown(name) };
    };
    if let Some(expected) = model.spec.sha256.as_ref().filter(|s| *s != builtin.sha256) {
        let message = format!("builtin:{name} has sha256 {}, the spec asks for {expected}", builtin.sha256);
        return Resolution::Refused { reason: reason::CHECKSUM_MISMATCH, message };
    }
    Resolution::Found(Box::new(Found {
        file: ModelFile {
            path: format!("{name}.gguf"),
            size_bytes: i64::try_from(builtin.bytes.len()).unwrap_or(i64::MAX),
            sha256: Some(builtin.sha256.into()),
        },
        gguf: BUILTIN_SHAPES.get(name).cloned(),
        available: "it is part of the executable".into(),
    }))
}

/// The headers of the built-in models, each read once.
static BUILTIN_SHAPES: LazyLock<BTreeMap<&'static str, Gguf>> = LazyLock::new(|| {
    let shape = |name| rbee_model::gguf::Header::from_bytes(builtin::get(name)?.bytes).ok().map(|h| h.summary());
    builtin::names().filter_map(|name| Some((name, Gguf::from(&shape(name)?)))).collect()
});

/// What the hives say about a path. One that has it suffices; a refusal needs the word of all.
fn resolve_file(
    model: &Model,
    path: &str,
    current: &ModelStatus,
    reports: &[(&Arc<Hive>, Option<&CachedModel>)],
) -> Resolution {
    let said =
        |state| reports.iter().filter_map(move |(h, r)| Some((name(h), (*r)?))).filter(move |(_, r)| r.state == state);
    // Of several that differ the one stays that replicas were placed by.
    let known = current.files.first().map(|f| f.size_bytes);
    let there: Vec<_> = said(CacheState::Available).collect();
    let mut available: Vec<_> =
        there.iter().copied().filter(|(_, r)| state(model, r) == CacheState::Available).collect();
    available.sort_by_key(|(hive, r)| (known.is_none() || r.size_bytes != known, (*hive).to_owned()));
    if let Some((_, first)) = available.first() {
        let on: Vec<&str> = available.iter().map(|(hive, _)| *hive).take(LISTED_HIVES).collect();
        return Resolution::Found(Box::new(Found {
            file: ModelFile {
                path: path.to_owned(),
                size_bytes: first.size_bytes.unwrap_or(0),
                sha256: model.spec.sha256.clone(),
            },
            gguf: first.gguf.clone(),
            available: format!("on {} of {} Ready hives: {}", available.len(), reports.len(), sorted(on).join(", ")),
        }));
    }
    if reports.is_empty() {
        return Resolution::Waiting(format!("no hive is Ready that could look for {path}"));
    }
    let waiting = |is_awaited: &dyn Fn(Option<&CachedModel>) -> bool, what: &str| {
        let awaited = reports.iter().filter(|(_, r)| is_awaited(*r)).map(|(h, _)| name(h)).take(LISTED_HIVES);
        let awaited = sorted(awaited.collect()).join(", ");
        (!awaited.is_empty()).then(|| Resolution::Waiting(format!("waiting for {awaited} to {what} {path}")))
    };
    let looks = |r: Option<&CachedModel>| r.is_none_or(|r| r.state == CacheState::Downloading);
    let computes = |r: Option<&CachedModel>| r.is_some_and(|r| state(model, r) == CacheState::Downloading);
    if let Some(waiting) = waiting(&looks, "look for").or_else(|| waiting(&computes, "compute the sha256 of")) {
        return waiting;
    }
    if let Some(refused) = there.iter().find_map(|found| other_file(model, path, found)) {
        return refused;
    }
    let message = |(hive, report): (&str, &CachedModel)| match &report.message {
        Some(message) => format!("hive {hive}: {message}"),
        None => format!("hive {hive}: {path} cannot be used"),
    };
    if let Some(invalid) = said(CacheState::Invalid).next() {
        return Resolution::Refused { reason: reason::INVALID_MODEL_FILE, message: message(invalid) };
    }
    if let Some(failed) = said(CacheState::Failed).next() {
        return Resolution::Refused { reason: reason::MODEL_NOT_FOUND, message: message(failed) };
    }
    let on: Vec<&str> = reports.iter().map(|(h, _)| name(h)).take(LISTED_HIVES).collect();
    let message = format!(
        "{path} is not on any Ready hive (looked on {}): copy the file there or correct spec.uri",
        sorted(on).join(", ")
    );
    Resolution::Refused { reason: reason::MODEL_NOT_FOUND, message }
}

/// What a hive's report means for a Model that may ask for a sha256.
fn state(model: &Model, report: &CachedModel) -> CacheState {
    match (&model.spec.sha256, &report.sha256) {
        (Some(wanted), Some(found)) if wanted != found && report.state == CacheState::Available => CacheState::Invalid,
        (Some(_), None) if report.state == CacheState::Available => match report.message {
            Some(_) => CacheState::Invalid,
            None => CacheState::Downloading,
        },
        _ => report.state,
    }
}

/// Why a file that is there is not the one that the Model asks for.
fn other_file(model: &Model, path: &str, (hive, report): &(&str, &CachedModel)) -> Option<Resolution> {
    let wanted = model.spec.sha256.as_ref()?;
    let (reason, message) = match (&report.sha256, &report.message) {
        (Some(found), _) => {
            let message = format!("hive {hive}: {path} has the sha256 {found}, the spec asks for {wanted}");
            (reason::CHECKSUM_MISMATCH, message)
        }
        (None, why) => (reason::INVALID_REQUEST, format!("hive {hive}: {}", why.as_deref().unwrap_or_default())),
    };
    Some(Resolution::Refused { reason, message })
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}

fn report<'a>(hive: &'a Hive, uri: &str) -> Option<&'a CachedModel> {
    hive.status.as_ref()?.cache.as_ref()?.models.iter().find(|m| m.uri == uri)
}

fn name(hive: &Hive) -> &str {
    hive.metadata.name.as_deref().unwrap_or_default()
}

fn at_hive(hive: &Hive, state: CacheState) -> ModelHive {
    ModelHive { name: name(hive).to_owned(), state, download: None }
}

fn conditions(resolution: &Resolution) -> [Wanted; 2] {
    let both = |reason: &str, message: &str| {
        [Wanted::new(RESOLVED, false, reason, message), Wanted::new(READY, false, reason, message)]
    };
    match resolution {
        Resolution::Found(found) => {
            let file = format!("{}, {} bytes", found.file.path, found.file.size_bytes);
            [
                Wanted::new(RESOLVED, true, reason::RESOLVED, file),
                Wanted::new(READY, true, reason::AVAILABLE, found.available.clone()),
            ]
        }
        Resolution::Waiting(message) => both(reason::PENDING, message),
        Resolution::Refused { reason, message } => both(reason, message),
    }
}

fn copies(hives: &[ModelHive]) -> Copies {
    let count = |wanted: fn(CacheState) -> bool| {
        i32::try_from(hives.iter().filter(|h| wanted(h.state)).count()).unwrap_or(i32::MAX)
    };
    let (available, downloading) = (count(|s| s == CacheState::Available), count(|s| s == CacheState::Downloading));
    let failed = count(|s| matches!(s, CacheState::Failed | CacheState::Invalid));
    Copies { available, downloading, failed, total: available + downloading + failed }
}

/// At most ten, those with something to tell first, then by name.
fn listed(mut hives: Vec<ModelHive>) -> Vec<ModelHive> {
    let rank = |state| match state {
        CacheState::Downloading => 0,
        CacheState::Failed | CacheState::Invalid => 1,
        CacheState::Available => 2,
        CacheState::Missing => 3,
    };
    hives.sort_by(|a, b| (rank(a.state), &a.name).cmp(&(rank(b.state), &b.name)));
    hives.truncate(LISTED_HIVES);
    hives
}

fn note(before: &[Condition], after: &[Condition]) -> Option<Note> {
    let (was, is) = (condition::find(before, RESOLVED), condition::find(after, RESOLVED)?);
    if was.is_some_and(|w| w.status == is.status && w.reason == is.reason) || is.reason == reason::PENDING {
        return None;
    }
    Some(if condition::is_true(after, RESOLVED) {
        Note::normal(is.reason.clone(), "Resolve", is.message.clone())
    } else {
        Note::warning(is.reason.clone(), "Resolve", is.message.clone())
    })
}
