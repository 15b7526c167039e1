//! Bodies in Kubernetes' protobuf, as far as the cases need them.

/// A field that is a text, bytes or a message.
pub fn field(number: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A field that is a number or a bool.
pub fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

/// A field that is a number with a point.
pub fn double(number: u64, value: f64) -> Vec<u8> {
    [varint(number << 3 | 1), value.to_le_bytes().to_vec()].concat()
}

/// An entry of a map.
pub fn entry(number: u64, key: &str, value: &[u8]) -> Vec<u8> {
    field(number, [field(1, key), field(2, value)].concat())
}

/// The body that holds this message.
pub fn body(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let types = [field(1, api_version), field(2, kind)].concat();
    [b"k8s\0".to_vec(), field(1, types), field(2, message)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = vec![];
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}
