//! Which old value belongs to a new one, and whether the two are the same: the base of transition rules and ratcheting.

use serde_json::{Map, Value};

use super::structural::{ListType, Structural};

/// The old value of a node, with the structural schema that says how its children correlate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Old<'a> {
    pub value: &'a Value,
    pub schema: &'a Structural,
}

impl<'a> Old<'a> {
    /// The old value of a field; none when it was not there or the schema does not know it.
    pub fn key(self, name: &str) -> Option<Old<'a>> {
        let value = self.value.as_object()?.get(name)?;
        Some(Old { value, schema: self.schema.child(name)? })
    }

    /// The old value of a list's element: only elements of map lists can be found again.
    pub fn element(self, new: &Value) -> Option<Old<'a>> {
        if self.schema.list_type != ListType::Map {
            return None;
        }
        let value = find_element(self.schema, self.value.as_array()?, new)?;
        Some(Old { value, schema: self.schema.items.as_deref()? })
    }

    /// Whether nothing changed, compared as Kubernetes' ratcheting does: map lists by key, and what the schema does not
    /// know counts as changed.
    pub fn same(self, new: &Value) -> bool {
        match (new, self.value) {
            (Value::Null, old) => old.is_null(),
            (Value::Array(new), Value::Array(old)) => {
                if new.len() != old.len() {
                    return false;
                }
                if self.schema.list_type != ListType::Map {
                    return new == old;
                }
                new.iter().all(|item| self.element(item).is_some_and(|o| o.same(item)))
            }
            (Value::Object(new), Value::Object(old)) => {
                new.len() == old.len() && new.iter().all(|(k, v)| self.key(k).is_some_and(|o| o.same(v)))
            }
            (new, old) => new == old,
        }
    }
}

/// The element of `items` with the same keys as `like`; absent keys count as their defaults.
pub(crate) fn find_element<'a>(list: &Structural, items: &'a [Value], like: &Value) -> Option<&'a Value> {
    let wanted = element_keys(list, like.as_object()?);
    items.iter().find(|item| item.as_object().is_some_and(|o| element_keys(list, o) == wanted))
}

/// The values of a map list element's keys, in the order of `x-kubernetes-list-map-keys`.
fn element_keys<'a>(list: &'a Structural, element: &'a Map<String, Value>) -> Vec<Option<&'a Value>> {
    let default = |key: &str| list.items.as_ref()?.properties.get(key)?.default.as_ref();
    list.list_keys.iter().map(|key| element.get(key).or_else(|| default(key))).collect()
}
