//! Why a replica has no place, in words for conditions.

use std::collections::BTreeMap;
use std::fmt;

use rbee_crds::{Backend, reason};
use rbee_model::memory::InsufficientMemory;

use crate::Request;

/// Hives that a message names; the rest is counted.
const NAMED_HIVES: usize = 5;

/// Why one hive will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// The Worker names another hive.
    OtherHive,
    HiveNotReady,
    Unschedulable,
    SelectorMismatch {
        /// Labels that the hive lacks or has with another value.
        missing: BTreeMap<String, String>,
    },
    /// A `file:` model whose file is not on this hive, or another one is.
    ModelNotOnHive {
        uri: String,
        sha256: Option<String>,
    },
    /// The file is there, and whether it is the right one is not known yet.
    ModelUnverified {
        uri: String,
    },
    BackendNotAvailable {
        wanted: Backend,
        available: Vec<Backend>,
    },
    DeviceNotAvailable {
        backend: Backend,
        wanted: Option<u32>,
        available: Vec<u32>,
    },
    InsufficientMemory(InsufficientMemory),
}

impl Misfit {
    /// The reason as a CamelCase word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OtherHive => reason::HIVE_NOT_FOUND,
            Self::HiveNotReady => "HiveNotReady",
            Self::Unschedulable => "Unschedulable",
            Self::SelectorMismatch { .. } => "SelectorMismatch",
            Self::ModelNotOnHive { .. } => "ModelNotOnHive",
            Self::ModelUnverified { .. } => reason::MODEL_NOT_READY,
            Self::BackendNotAvailable { .. } => reason::BACKEND_NOT_AVAILABLE,
            Self::DeviceNotAvailable { .. } => reason::DEVICE_NOT_AVAILABLE,
            Self::InsufficientMemory(_) => reason::INSUFFICIENT_MEMORY,
        }
    }

    /// How near the hive came to fitting: the nearest speaks for all.
    fn nearness(&self) -> u8 {
        match self {
            Self::OtherHive => 0,
            Self::HiveNotReady => 1,
            Self::Unschedulable => 2,
            Self::SelectorMismatch { .. } => 3,
            Self::ModelNotOnHive { .. } | Self::ModelUnverified { .. } => 4,
            Self::BackendNotAvailable { .. } => 5,
            Self::DeviceNotAvailable { .. } => 6,
            Self::InsufficientMemory(_) => 7,
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherHive => f.write_str("is not the hive that the Worker names"),
            Self::HiveNotReady => f.write_str("is not Ready"),
            Self::Unschedulable => f.write_str("is unschedulable"),
            Self::SelectorMismatch { missing } => {
                let labels: Vec<String> = missing.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "lacks the label{} {}", if labels.len() == 1 { "" } else { "s" }, labels.join(", "))
            }
            Self::ModelNotOnHive { uri, sha256: None } => write!(f, "does not have {uri}"),
            Self::ModelNotOnHive { uri, sha256: Some(sha256) } => {
                write!(f, "does not have {uri} with the sha256 {sha256}")
            }
            Self::ModelUnverified { uri } => write!(f, "has not computed the sha256 of {uri} yet"),
            Self::BackendNotAvailable { wanted, available } => {
                write!(f, "has no backend {wanted}; it has {}", list(available))
            }
            Self::DeviceNotAvailable { backend, wanted: Some(wanted), available } => {
                write!(f, "has no {backend} device {wanted}; it has {}", list(available))
            }
            Self::DeviceNotAvailable { backend, wanted: None, .. } => write!(f, "has no {backend} device"),
            Self::InsufficientMemory(memory) => memory.fmt(f),
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    match items {
        [] => "none".to_owned(),
        items => items.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// No hive will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPlace {
    /// A CamelCase word: of the hive that came nearest to fitting.
    pub reason: &'static str,
    /// A sentence that names at most five hives.
    pub message: String,
    /// Every hive with its reason, by name.
    pub hives: BTreeMap<String, Misfit>,
}

impl NoPlace {
    pub(crate) fn new(request: &Request, hives: BTreeMap<String, Misfit>) -> Self {
        if hives.is_empty() {
            let message = "there is no hive; start one with `rbee hive` or `rbee up`".to_owned();
            return Self { reason: reason::NO_HIVES, message, hives };
        }
        if let Some(wanted) = request.hive_name.as_ref().filter(|name| !hives.contains_key(*name)) {
            let names: Vec<&String> = hives.keys().take(NAMED_HIVES).collect();
            let message = format!("there is no hive {wanted:?}; there is {}", list(&names));
            return Self { reason: reason::HIVE_NOT_FOUND, message, hives };
        }
        let looked_at: BTreeMap<&String, &Misfit> = hives.iter().filter(|(_, m)| **m != Misfit::OtherHive).collect();
        let mut nearest: Vec<(&&String, &&Misfit)> = looked_at.iter().collect();
        nearest.sort_by_key(|(name, misfit)| (std::cmp::Reverse(misfit.nearness()), **name));
        let code = nearest.first().map_or(reason::NO_HIVES, |(_, misfit)| misfit.code());
        let mut parts: Vec<String> =
            nearest.iter().take(NAMED_HIVES).map(|(name, misfit)| format!("hive {name} {misfit}")).collect();
        if nearest.len() > NAMED_HIVES {
            parts.push(format!("and {} more", nearest.len() - NAMED_HIVES));
        }
        let message = match nearest.len() {
            1 => parts.join("; "),
            n => format!("none of {n} hives fits: {}", parts.join("; ")),
        };
        Self { reason: code, message, hives }
    }
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NoPlace {}
