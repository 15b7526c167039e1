//! Lists in pages, all of one list at the same revision.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::state::State;
use super::{Gone, Object, ReadError};

/// At most this many old contents are kept for lists that go on.
const PINNED: usize = 64;

/// All objects asked for, at one revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The revision of the whole database that this shows.
    pub revision: u64,
    /// In order of namespace and name.
    pub items: Vec<Arc<Object>>,
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The revision of the whole database that this shows.
    pub revision: u64,
    /// In order of namespace and name.
    pub items: Vec<Arc<Object>>,
    /// Where to go on; none on the last page.
    pub next: Option<Cursor>,
    /// How many objects that pass the filter come after this page.
    pub remaining: usize,
}

/// Where a list goes on: what a continue token holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The revision of the list.
    #[serde(rename = "rv")]
    pub revision: u64,
    /// Namespace of the last object seen.
    #[serde(rename = "ns")]
    pub namespace: String,
    /// Name of the last object seen.
    #[serde(rename = "name")]
    pub name: String,
}

impl Cursor {
    /// As an opaque token.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads a token; none when it is not one.
    pub fn decode(token: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()
    }
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery<'a> {
    /// `group/plural`, or `plural` for the core group.
    pub resource: &'a str,
    /// One namespace; none for all (and for cluster-scoped kinds).
    pub namespace: Option<&'a str>,
    /// Objects in a page; 0 for all.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

/// Old contents that unfinished lists go on with.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<VecDeque<Arc<State>>>);

impl Pins {
    /// The content at a revision, as long as it is kept.
    pub(super) fn find(&self, current: &Arc<State>, revision: u64) -> Result<Arc<State>, ReadError> {
        if revision == current.revision() {
            return Ok(current.clone());
        }
        if revision > current.revision() {
            return Err(ReadError::Future { current: current.revision() });
        }
        let pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = pins.iter().find(|state| state.revision() == revision);
        found.cloned().ok_or(ReadError::Gone(Gone { oldest: current.revision() }))
    }

    /// Keeps a content, and lets go those too old to be asked for.
    pub(super) fn keep(&self, current: &State, state: &Arc<State>) {
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|pin| pin.revision() >= current.floor() && pin.revision() != state.revision());
        pins.push_back(state.clone());
        if pins.len() > PINNED {
            pins.pop_front();
        }
    }
}

/// Cuts one page out of a content.
pub(super) fn page(state: &State, query: &ListQuery<'_>, filter: &dyn Fn(&Object) -> bool) -> Page {
    let after = query.cursor.as_ref().map(|cursor| (cursor.namespace.as_str(), cursor.name.as_str()));
    let mut rest = state.list(query.resource, query.namespace, after).filter(|object| filter(object));
    let limit = if query.limit == 0 { usize::MAX } else { query.limit };
    let items: Vec<Arc<Object>> = rest.by_ref().take(limit).cloned().collect();
    let remaining = rest.count();
    let next = items.last().filter(|_| remaining > 0).map(|last| Cursor {
        revision: state.revision(),
        namespace: last.key().namespace().to_string(),
        name: last.key().name().to_string(),
    });
    Page { revision: state.revision(), items, next, remaining }
}
