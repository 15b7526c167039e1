//! The scale subresource: an `autoscaling/v1` Scale read from and written into an object.

use serde_json::{Map, Value, json};

use super::meta;
use super::status::{ApiError, ApiResult};
use crate::registry::ScalePaths;

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |node, key| node.get(key)).filter(|v| !v.is_null())
}

/// `.spec.replicas`
fn dotted(path: &[String]) -> String {
    format!(".{}", path.join("."))
}

/// The Scale of an object. Where the object says no replicas the Scale has none either.
pub fn read(object: &Value, paths: &ScalePaths) -> Value {
    let mut metadata = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta::of(object).get(key) {
            metadata.insert(key.into(), value.clone());
        }
    }
    let mut spec = Map::new();
    if let Some(replicas) = at(object, &paths.spec_replicas) {
        spec.insert("replicas".into(), replicas.clone());
    }
    let mut status = Map::new();
    status.insert("replicas".into(), at(object, &paths.status_replicas).cloned().unwrap_or_else(|| 0.into()));
    if let Some(selector) = paths.selector.as_deref().and_then(|p| at(object, p)).filter(|s| *s != "") {
        status.insert("selector".into(), selector.clone());
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// The Scale as it is answered: `autoscaling/v1` leaves a zero out.
pub fn shown(mut scale: Value) -> Value {
    if let Some(spec) = scale.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|_, value| *value != 0);
    }
    scale
}

/// 500, as in Kubernetes, when the object says no replicas.
pub fn require_replicas(scale: &Value, paths: &ScalePaths) -> ApiResult<()> {
    if scale["spec"].get("replicas").is_some() {
        return Ok(());
    }
    let path = dotted(&paths.spec_replicas);
    Err(ApiError::internal(format!("the spec replicas field {path:?} does not exist")))
}

/// Writes a Scale's replicas (and resource version, if it has one) into an object.
pub fn write(object: &mut Value, scale: &Value, paths: &ScalePaths) -> ApiResult<()> {
    let replicas = match scale.pointer("/spec/replicas") {
        None | Some(Value::Null) => {
            let path = dotted(&paths.spec_replicas);
            return Err(ApiError::bad_request(format!("the spec replicas field {path:?} cannot be empty")));
        }
        Some(value) => value.as_i64().and_then(|n| i32::try_from(n).ok()).ok_or_else(|| {
            let what = "Scale in version \"v1\" cannot be handled as a Scale";
            ApiError::bad_request(format!(
                "{what}: json: cannot unmarshal {value} into Go struct field ScaleSpec.spec.replicas of type int32"
            ))
        })?,
    };
    let mut node = &mut *object;
    for key in &paths.spec_replicas {
        if !node.is_object() {
            *node = json!({});
        }
        node = &mut node[key.as_str()];
    }
    *node = replicas.into();
    if let Some(version) = scale.pointer("/metadata/resourceVersion").and_then(Value::as_str).filter(|v| !v.is_empty())
    {
        meta::of_mut(object).insert("resourceVersion".into(), version.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> ScalePaths {
        let path = |s: &str| s.split('.').map(ToString::to_string).collect::<Vec<_>>();
        ScalePaths {
            spec_replicas: path("spec.replicas"),
            status_replicas: path("status.replicas"),
            selector: Some(path("status.selector")),
        }
    }

    #[test]
    fn there_and_back() {
        let mut object = json!({"metadata": {"name": "a", "resourceVersion": "5", "labels": {"x": "y"}}, "spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "app=x"}});
        let mut scale = read(&object, &paths());
        assert_eq!(
            scale,
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "a", "resourceVersion": "5"},
            "spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "app=x"}})
        );
        scale["spec"]["replicas"] = 7.into();
        write(&mut object, &scale, &paths()).unwrap();
        assert_eq!(object["spec"]["replicas"], 7);
    }

    #[test]
    fn no_replicas_is_no_scale() {
        let mut object = json!({"metadata": {}, "spec": {}});
        let scale = read(&object, &paths());
        assert_eq!(require_replicas(&scale, &paths()).unwrap_err().code.as_u16(), 500);
        assert_eq!(write(&mut object, &scale, &paths()).unwrap_err().code.as_u16(), 400);
    }
}
