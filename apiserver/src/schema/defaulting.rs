//! Fills in the defaults of a schema.

use serde_json::Value;

use super::structural::{Additional, Structural};

impl Structural {
    /// Fills in the defaults; a null in a field that has a default and is not nullable is replaced by it.
    pub fn default(&self, object: &mut Value) {
        apply(object, self);
    }
}

fn replaces_null(value: &Value, schema: &Structural) -> bool {
    value.is_null() && !schema.nullable
}

fn apply(value: &mut Value, schema: &Structural) {
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                if map.get(name).is_none_or(|v| replaces_null(v, property)) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                if let Some(property) = schema.properties.get(name) {
                    apply(value, property);
                } else if let Some(Additional::Schema(inner)) = &schema.additional {
                    apply_element(value, inner);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.items.as_deref() {
                items.iter_mut().for_each(|item| apply_element(item, inner));
            }
        }
        _ => {}
    }
}

fn apply_element(value: &mut Value, schema: &Structural) {
    if let (true, Some(default)) = (replaces_null(value, schema), &schema.default) {
        *value = default.clone();
    }
    apply(value, schema);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::widget;

    #[test]
    fn defaults_are_filled_in_deeply() {
        let mut object =
            json!({"spec": {"mode": "fast", "size": null, "parts": [{"name": "p"}, {"name": "q", "count": 5}]}});
        widget().default(&mut object);
        let want = json!({"spec": {"mode": "fast", "size": 3, "replicas": 1, "level": "mid", "place": {"floor": 1},
            "parts": [{"name": "p", "count": 1}, {"name": "q", "count": 5}]}});
        assert_eq!(object, want);
        let before = object.clone();
        widget().default(&mut object);
        assert_eq!(object, before, "defaulting twice changes nothing");
    }
}
