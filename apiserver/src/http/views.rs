//! Objects in the form of the version that a request names: custom resources change only their `apiVersion`, Events have
//! two spellings.

use serde_json::Value;

use crate::registry::{Builtin, Resource};

/// Fields of `v1` Event and what `events.k8s.io/v1` calls them.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// From the stored form to the request's.
pub fn from_stored(resource: &Resource, object: &mut Value) {
    let event = resource.builtin == Some(Builtin::EventsV1);
    rename(object, &resource.api_version(), event.then_some(|(core, new)| (core, new)));
}

/// From the request's form to the stored one.
pub fn to_stored(resource: &Resource, object: &mut Value) {
    let event = resource.builtin == Some(Builtin::EventsV1);
    rename(object, &resource.stored_api_version, event.then_some(|(core, new)| (new, core)));
}

type Pair = (&'static str, &'static str);

fn rename(object: &mut Value, api_version: &str, fields: Option<fn(Pair) -> Pair>) {
    let Some(map) = object.as_object_mut() else { return };
    if map.get("apiVersion").and_then(Value::as_str) != Some(api_version) {
        map.insert("apiVersion".into(), api_version.into());
    }
    let Some(direction) = fields else { return };
    for (from, to) in EVENT_FIELDS.map(direction) {
        if let Some(value) = map.remove(from) {
            map.insert(to.into(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use serde_json::json;

    #[test]
    fn an_event_goes_there_and_back() {
        let registry = Registry::builtin();
        let new = registry.find("events.k8s.io", "v1", "events").unwrap();
        let stored = json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"name": "a"}, "message": "m", "reason": "r", "count": 2});
        let mut object = stored.clone();
        from_stored(new, &mut object);
        assert_eq!(
            object,
            json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": {"name": "a"}, "note": "m", "reason": "r", "deprecatedCount": 2})
        );
        to_stored(new, &mut object);
        assert_eq!(object, stored);
    }
}
