//! CustomResourceDefinitions in protobuf, the one form in which Go's client for them sends them.

use serde_json::{Value, json};

use crate::protobuf::{body, double, entry, field, number};
use crate::script::Script;

const NAME: &str = "combs.bees.dev";
const ALL: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const ONE: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/combs.bees.dev";
const COMBS: &str = "/apis/bees.dev/v1/namespaces/$ns/combs";

fn definition(parts: &[Vec<u8>]) -> Vec<u8> {
    body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &parts.concat())
}

fn metadata(name: &str, version: &str) -> Vec<u8> {
    field(1, [field(1, name), field(6, version)].concat())
}

fn names(tag: u64) -> Vec<u8> {
    let names = [field(1, "combs"), field(2, "comb"), field(3, "co"), field(4, "Comb"), field(5, "CombList")];
    field(tag, names.concat())
}

/// Empty texts and `false` are what Go writes for fields that are not set.
fn spec(description: &str) -> Vec<u8> {
    let text = |text: &str| field(5, text);
    let json = |text: &str| field(1, text);
    let mode =
        [text("string"), field(8, json("\"open\"")), field(20, json("\"open\"")), field(20, json("\"shut\""))].concat();
    let cells = [text("integer"), field(6, "int32"), double(11, 1.0), number(12, 0)].concat();
    let tags = [text("array"), field(24, field(1, text("string"))), field(42, "set")].concat();
    let any = [text("object"), field(30, [number(1, 1), field(2, text("integer"))].concat())].concat();
    let free = [text("object"), number(38, 1), field(8, json("{\"a\": [1, 2.5, {\"b\": null}]}"))].concat();
    let either = [number(40, 1), number(37, 0)].concat();
    let rule = [field(1, "self.cells < 100"), field(2, "too many cells"), field(3, ""), field(5, ".cells")].concat();
    let inner = [
        text("object"),
        field(23, "cells"),
        entry(29, "mode", &mode),
        entry(29, "cells", &cells),
        entry(29, "tags", &tags),
        entry(29, "any", &any),
        entry(29, "free", &free),
        entry(29, "either", &either),
        field(44, rule),
    ];
    let status = [text("object"), number(38, 1)].concat();
    let schema =
        [field(4, description), text("object"), entry(29, "spec", &inner.concat()), entry(29, "status", &status)];
    let column = [field(1, "Cells"), field(2, "integer"), field(3, ""), number(5, 0), field(6, ".spec.cells")].concat();
    let version = [
        field(1, "v1"),
        number(2, 1),
        number(3, 1),
        field(4, field(1, schema.concat())),
        field(5, field(1, [])),
        field(6, column),
        number(7, 0),
        field(9, field(1, ".spec.mode")),
    ];
    let parts = [field(1, "bees.dev"), names(3), field(4, "Namespaced"), field(7, version.concat()), number(10, 0)];
    field(2, parts.concat())
}

fn condition(kind: &str, reason: &str) -> Vec<u8> {
    let time = field(3, number(1, 981_173_106));
    field(1, [field(1, kind), field(2, "True"), time, field(4, reason), field(5, "as told")].concat())
}

fn comb(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "bees.dev/v1", "kind": "Comb", "metadata": {"name": name}, "spec": spec})
}

pub async fn protobuf(s: &mut Script<'_>) {
    s.protobuf("POST", ALL, definition(&[metadata(NAME, ""), spec("a comb")]), "/spec").await;
    s.until(200, COMBS).await;
    s.post(COMBS, comb("a", json!({"cells": 6, "gone": 1, "either": "x", "any": {"x": 1}}))).await;
    s.post(
        COMBS,
        comb("b", json!({"cells": 0, "mode": "ajar", "tags": ["a", "a"], "any": {"x": "y"}, "either": true})),
    )
    .await;
    s.post(COMBS, comb("c", json!({"cells": 600}))).await;
    s.get_as(COMBS, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let version = s.quietly("GET", ONE, json!(null)).await.version();
    s.note("with another description, and again with the version that was");
    s.protobuf(
        "PUT",
        ONE,
        definition(&[metadata(NAME, &version), spec("a comb of wax")]),
        "/spec/versions/0/schema/openAPIV3Schema/description",
    )
    .await;
    s.protobuf("PUT", ONE, definition(&[metadata(NAME, &version), spec("a comb of honey")]), "/reason").await;
    let version = s.quietly("GET", ONE, json!(null)).await.version();
    let conditions = [condition("NamesAccepted", "Free"), condition("Established", "Old"), condition("Seen", "Looked")];
    let status = field(3, [conditions.concat(), names(2), field(3, "v1")].concat());
    s.protobuf(
        "PUT",
        &format!("{ONE}/status"),
        definition(&[metadata(NAME, &version), spec("not looked at"), status]),
        "/status",
    )
    .await;
    s.note("refused");
    s.protobuf("POST", ALL, definition(&[metadata("cells.bees.dev", ""), spec("of another name")]), "").await;
    s.protobuf("POST", ALL, b"k8s\0\x0a\xff".to_vec(), "/code").await;
    s.note("and deleted, if it is the one that it was");
    let options = |uid: &str| {
        let options = [number(1, 0), field(2, field(1, uid)), field(4, "Background")];
        body("meta.k8s.io/v1", "DeleteOptions", &options.concat())
    };
    s.protobuf("DELETE", ONE, options("another"), "/reason").await;
    let uid = s.quietly("GET", ONE, json!(null)).await.uid();
    s.protobuf("DELETE", ONE, options(&uid), "/kind").await;
    s.until(404, ONE).await;
}

/// Questions have no rows.
pub async fn reviews(s: &mut Script<'_>) {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let ask =
        |spec: Value| json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
    let get = ask(json!({"nonResourceAttributes": {"path": "/", "verb": "get"}}));
    s.post_as(ACCESS, TABLE, get.clone()).await;
    s.post_as(ACCESS, &format!("{TABLE},application/json"), get).await;
    s.post(ACCESS, ask(json!({"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "$ns"}})))
        .await;
    s.post(ACCESS, ask(json!({}))).await;
}
