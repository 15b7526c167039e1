//! From the API's objects to rbee-placement's views, and back to a place.

use rbee_crds::{Assignment, Worker, model::Gguf, names, reason};
use rbee_placement::{HiveView, Placed, Request, memory_need};

use super::{fleet::Fleet, worker::Template};

/// Where one replica goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub hive: String,
    pub device: i32,
    /// Memory set aside for it, bytes.
    pub memory_bytes: i64,
}

/// Why there is no place, in words for a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPlace {
    pub reason: String,
    pub message: String,
}

/// The hives, and what is placed on them; also what was placed a moment ago.
#[derive(Clone, Debug)]
pub struct Ground {
    hives: Vec<HiveView>,
    placed: Vec<Placed>,
}

impl Ground {
    pub fn new<'a>(fleet: &Fleet, assignments: impl IntoIterator<Item = &'a Assignment>) -> Self {
        Self {
            hives: fleet.hives.values().map(|h| HiveView::from(h.as_ref())).collect(),
            placed: assignments.into_iter().map(Placed::from).collect(),
        }
    }

    /// Counts one more replica.
    pub fn add(&mut self, assignment: &Assignment) {
        self.placed.push(Placed::from(assignment));
    }

    /// Finds a place for one replica of `worker`.
    ///
    /// # Errors
    /// [`NoPlace`] with placement's reason, or that of a memory quantity that cannot be read.
    pub fn place(&self, worker: &Worker, template: &Template) -> Result<Place, NoPlace> {
        let no_place = |reason: &str, message: String| NoPlace { reason: reason.to_owned(), message };
        let spec = &worker.spec;
        let memory_bytes =
            memory_need(spec, &shape(template)).map_err(|e| no_place(reason::INVALID_REQUEST, e.to_string()))?;
        let namespace = worker.metadata.namespace.as_deref().unwrap_or(names::DEFAULT_NAMESPACE);
        let request = Request {
            worker: format!("{namespace}/{}", worker.metadata.name.as_deref().unwrap_or_default()),
            model_uri: template.model.uri.clone(),
            model_sha256: template.model.files.first().and_then(|f| f.sha256.clone()),
            memory_bytes,
            backend: template.backend,
            device: template.device.and_then(|d| u32::try_from(d).ok()),
            hive_name: spec.hive_name.clone(),
            hive_selector: spec.hive_selector.clone().map(|s| s.match_labels).unwrap_or_default(),
        };
        let choice =
            rbee_placement::place(&request, &self.hives, &self.placed).map_err(|e| no_place(e.reason, e.message))?;
        Ok(Place {
            hive: choice.hive,
            device: i32::try_from(choice.device).unwrap_or(i32::MAX),
            memory_bytes: i64::try_from(memory_bytes).unwrap_or(i64::MAX),
        })
    }
}

/// The model's shape; where the header is not known, the size of its files.
fn shape(template: &Template) -> Gguf {
    template.gguf.clone().unwrap_or_else(|| Gguf {
        file_bytes: Some(template.model.files.iter().map(|f| f.size_bytes).sum()),
        ..Gguf::default()
    })
}
