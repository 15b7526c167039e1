//! A Status in Kubernetes' protobuf, for clients that name it before JSON.

use serde_json::Value;

const MAGIC: &[u8] = b"k8s\0";

/// One message under construction. Like Kubernetes it writes empty fields too.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn bytes(mut self, number: u8, bytes: &[u8]) -> Self {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, number: u8, value: &Value) -> Self {
        self.bytes(number, value.as_str().unwrap_or_default().as_bytes())
    }

    fn integer(mut self, number: u8, value: &Value) -> Self {
        self.varint(u64::from(number) << 3);
        self.varint(value.as_u64().unwrap_or_default());
        self
    }

    fn message(self, number: u8, inner: &Self) -> Self {
        self.bytes(number, &inner.0)
    }
}

/// The body of an answer that is this Status.
pub fn encode(status: &Value) -> Vec<u8> {
    let metadata = &status["metadata"];
    let metadata = Message::default()
        .text(1, &metadata["selfLink"])
        .text(2, &metadata["resourceVersion"])
        .text(3, &metadata["continue"]);
    let mut message = Message::default()
        .message(1, &metadata)
        .text(2, &status["status"])
        .text(3, &status["message"])
        .text(4, &status["reason"]);
    if status["details"].is_object() {
        message = message.message(5, &details(&status["details"]));
    }
    let message = message.integer(6, &status["code"]);
    let kind = Message::default().bytes(1, b"v1").bytes(2, b"Status");
    let unknown = Message::default().message(1, &kind).message(2, &message).bytes(3, b"").bytes(4, b"");
    [MAGIC, &unknown.0].concat()
}

fn details(details: &Value) -> Message {
    let mut message = Message::default().text(1, &details["name"]).text(2, &details["group"]).text(3, &details["kind"]);
    for cause in details["causes"].as_array().into_iter().flatten() {
        let cause = Message::default().text(1, &cause["reason"]).text(2, &cause["message"]).text(3, &cause["field"]);
        message = message.message(4, &cause);
    }
    message.integer(5, &details["retryAfterSeconds"]).text(6, &details["uid"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::status::{ApiError, Qualified};

    /// What kube-apiserver 1.36 answers.
    #[test]
    fn byte_by_byte() {
        let missing = ApiError::not_found(Qualified { group: "", name: "configmaps" }, "none").status();
        let recorded = concat!(
            "6b3873000a0c0a0276311206537461747573",
            "12550a060a0012001a0012074661696c757265",
            "1a1b636f6e6669676d61707320226e6f6e6522206e6f7420666f756e64",
            "22084e6f74466f756e64",
            "2a180a046e6f6e6512001a0a636f6e6669676d61707328003200",
            "3094031a002200",
        );
        assert_eq!(hex::encode(encode(&missing)), recorded);
        let late = ApiError::too_large_resource_version(9, 4).without_retry().status();
        let causes = "2a430a0012001a0022370a175265736f7572636556657273696f6e546f6f4c61726765121a546f6f206c61726765207265736f757263652076657273696f6e1a0028003200";
        assert!(hex::encode(encode(&late)).contains(causes));
    }
}
