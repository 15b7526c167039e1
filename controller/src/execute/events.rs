//! Events: what the queen did, told to people. A telling that fails is logged and changes nothing.

use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use rbee_crds::names;

use crate::plan::{Note, Severity};

/// The API refuses longer notes than 1 kB.
const MAX_NOTE: usize = 1000;

/// Publishes notes as Events of `events.k8s.io/v1`.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter { controller: names::MANAGER_QUEEN.into(), instance: Some(instance.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes `notes` about `object`.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, notes: Vec<Note>) {
        let regarding = object.object_ref(&());
        for note in notes {
            let Note { severity, reason, action, message, related } = note;
            let event = Event {
                type_: match severity {
                    Severity::Normal => EventType::Normal,
                    Severity::Warning => EventType::Warning,
                },
                reason,
                note: Some(cut(message)),
                action: action.into(),
                secondary: related,
            };
            if let Err(error) = self.recorder.publish(&event, &regarding).await {
                let name = regarding.name.as_deref().unwrap_or_default();
                tracing::warn!(object = name, reason = event.reason, %error, "could not publish an Event");
            }
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_NOTE {
        let end = (0..=MAX_NOTE).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(cut("short".into()), "short");
        let long = cut("ü".repeat(5_000));
        assert!(long.len() <= MAX_NOTE + 4 && long.ends_with('…'));
    }
}
