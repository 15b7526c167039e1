//! CustomResourceDefinition, `apiextensions.k8s.io/v1`.

use super::builtin::META;
use super::field::Type::{Bool, Bytes, First, Float, Int, Json, Map, Message, Text, Time};
use super::field::{Field, many, nonzero, one};

pub const DEFINITION: &[Field] =
    &[one(1, "metadata", Message(META)), one(2, "spec", Message(SPEC)), one(3, "status", Message(STATUS))];

const SPEC: &[Field] = &[
    one(1, "group", Text),
    one(3, "names", Message(NAMES)),
    one(4, "scope", Text),
    many(7, "versions", Message(VERSION)),
    one(9, "conversion", Message(CONVERSION)),
    nonzero(10, "preserveUnknownFields", Bool),
];

const NAMES: &[Field] = &[
    one(1, "plural", Text),
    nonzero(2, "singular", Text),
    many(3, "shortNames", Text),
    one(4, "kind", Text),
    nonzero(5, "listKind", Text),
    many(6, "categories", Text),
];

const VERSION: &[Field] = &[
    one(1, "name", Text),
    one(2, "served", Bool),
    one(3, "storage", Bool),
    one(4, "schema", Message(VALIDATION)),
    one(5, "subresources", Message(SUBRESOURCES)),
    many(6, "additionalPrinterColumns", Message(COLUMN)),
    nonzero(7, "deprecated", Bool),
    one(8, "deprecationWarning", Text),
    many(9, "selectableFields", Message(&[one(1, "jsonPath", Text)])),
];

const VALIDATION: &[Field] = &[one(1, "openAPIV3Schema", Message(&SCHEMA))];

const SUBRESOURCES: &[Field] = &[one(1, "status", Message(&[])), one(2, "scale", Message(SCALE))];

const SCALE: &[Field] =
    &[one(1, "specReplicasPath", Text), one(2, "statusReplicasPath", Text), one(3, "labelSelectorPath", Text)];

const COLUMN: &[Field] = &[
    one(1, "name", Text),
    one(2, "type", Text),
    nonzero(3, "format", Text),
    nonzero(4, "description", Text),
    nonzero(5, "priority", Int),
    one(6, "jsonPath", Text),
];

const CONVERSION: &[Field] = &[
    one(1, "strategy", Text),
    one(
        2,
        "webhook",
        Message(&[one(2, "clientConfig", Message(CLIENT_CONFIG)), many(3, "conversionReviewVersions", Text)]),
    ),
];

const CLIENT_CONFIG: &[Field] =
    &[one(1, "service", Message(SERVICE)), nonzero(2, "caBundle", Bytes), one(3, "url", Text)];

const SERVICE: &[Field] = &[one(1, "namespace", Text), one(2, "name", Text), one(3, "path", Text), one(4, "port", Int)];

const STATUS: &[Field] = &[
    many(1, "conditions", Message(CONDITION)),
    one(2, "acceptedNames", Message(NAMES)),
    many(3, "storedVersions", Text),
    nonzero(4, "observedGeneration", Int),
];

const CONDITION: &[Field] = &[
    one(1, "type", Text),
    one(2, "status", Text),
    one(3, "lastTransitionTime", Time),
    nonzero(4, "reason", Text),
    nonzero(5, "message", Text),
    nonzero(6, "observedGeneration", Int),
];

/// JSONSchemaProps. A static, for it holds itself.
static SCHEMA: [Field; 44] = [
    nonzero(1, "id", Text),
    nonzero(2, "$schema", Text),
    one(3, "$ref", Text),
    nonzero(4, "description", Text),
    nonzero(5, "type", Text),
    nonzero(6, "format", Text),
    nonzero(7, "title", Text),
    one(8, "default", Json),
    one(9, "maximum", Float),
    nonzero(10, "exclusiveMaximum", Bool),
    one(11, "minimum", Float),
    nonzero(12, "exclusiveMinimum", Bool),
    one(13, "maxLength", Int),
    one(14, "minLength", Int),
    nonzero(15, "pattern", Text),
    one(16, "maxItems", Int),
    one(17, "minItems", Int),
    nonzero(18, "uniqueItems", Bool),
    one(19, "multipleOf", Float),
    many(20, "enum", Json),
    one(21, "maxProperties", Int),
    one(22, "minProperties", Int),
    many(23, "required", Text),
    one(24, "items", First(&SCHEMA_OR_SCHEMAS, None)),
    many(25, "allOf", Message(&SCHEMA)),
    many(26, "oneOf", Message(&SCHEMA)),
    many(27, "anyOf", Message(&SCHEMA)),
    one(28, "not", Message(&SCHEMA)),
    one(29, "properties", Map(&Message(&SCHEMA))),
    one(30, "additionalProperties", First(&SCHEMA_OR_BOOL, Some(false))),
    one(31, "patternProperties", Map(&Message(&SCHEMA))),
    one(32, "dependencies", Map(&First(&SCHEMA_OR_TEXTS, None))),
    one(33, "additionalItems", First(&SCHEMA_OR_BOOL, Some(false))),
    one(34, "definitions", Map(&Message(&SCHEMA))),
    one(35, "externalDocs", Message(&[nonzero(1, "description", Text), nonzero(2, "url", Text)])),
    one(36, "example", Json),
    nonzero(37, "nullable", Bool),
    one(38, "x-kubernetes-preserve-unknown-fields", Bool),
    nonzero(39, "x-kubernetes-embedded-resource", Bool),
    nonzero(40, "x-kubernetes-int-or-string", Bool),
    many(41, "x-kubernetes-list-map-keys", Text),
    one(42, "x-kubernetes-list-type", Text),
    one(43, "x-kubernetes-map-type", Text),
    many(44, "x-kubernetes-validations", Message(RULE)),
];

static SCHEMA_OR_SCHEMAS: [Field; 2] = [many(2, "schemas", Message(&SCHEMA)), one(1, "schema", Message(&SCHEMA))];
static SCHEMA_OR_BOOL: [Field; 2] = [one(2, "schema", Message(&SCHEMA)), one(1, "allows", Bool)];
static SCHEMA_OR_TEXTS: [Field; 2] = [many(2, "texts", Text), one(1, "schema", Message(&SCHEMA))];

const RULE: &[Field] = &[
    one(1, "rule", Text),
    nonzero(2, "message", Text),
    nonzero(3, "messageExpression", Text),
    one(4, "reason", Text),
    nonzero(5, "fieldPath", Text),
    one(6, "optionalOldSelf", Bool),
];
