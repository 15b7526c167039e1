//! How records lie in the tree: short keys in order of revision, and values small enough to stay in sled's log.
//!
//! sled moves a page of more than 128 KiB to a file of its own that it never syncs, and a leaf holds up to 17 values. So a
//! record is cut into chunks of 6 KiB, each under `r`, the revision and the chunk's number.

use bytes::Bytes;

use crate::db::Key;
use crate::store::Record;

/// Bytes of a record in one value, at most.
pub(super) const CHUNK: usize = 6 * 1024;

/// The key of [`Head`].
pub(super) const HEAD_KEY: &[u8] = b"m";

/// The first byte of every chunk's key.
pub(super) const RECORD_PREFIX: &[u8] = b"r";

/// What the store says about itself, rewritten with each batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) revision: u64,
    pub(super) floor: u64,
    pub(super) objects: u64,
}

impl Head {
    pub(super) fn encode(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (slot, number) in bytes.chunks_exact_mut(8).zip([self.revision, self.floor, self.objects]) {
            slot.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        (bytes.len() == 24).then_some(())?;
        Some(Self { revision: number(0)?, floor: number(8)?, objects: number(16)? })
    }
}

/// The key of one chunk.
pub(super) fn chunk_key(revision: u64, chunk: u16) -> [u8; 11] {
    let mut key = [0; 11];
    key[0] = RECORD_PREFIX[0];
    key[1..9].copy_from_slice(&revision.to_be_bytes());
    key[9..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// Revision and number of a chunk, from its key.
pub(super) fn parse_chunk_key(key: &[u8]) -> Option<(u64, u16)> {
    let (revision, chunk) = key.strip_prefix(RECORD_PREFIX)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*revision), u16::from_be_bytes(chunk.try_into().ok()?)))
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Header<'a> {
    #[serde(rename = "k", borrow)]
    key: [std::borrow::Cow<'a, str>; 3],
    #[serde(rename = "p", skip_serializing_if = "Option::is_none", default)]
    previous: Option<u64>,
    #[serde(rename = "d", skip_serializing_if = "std::ops::Not::not", default)]
    deleted: bool,
}

/// A record as bytes: length of the rest (u32, big endian), a header line in JSON, the object.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let key = [record.key.resource(), record.key.namespace(), record.key.name()].map(Into::into);
    let header = Header { key, previous: record.previous, deleted: record.json.is_none() };
    let mut bytes = vec![0; 4];
    bytes.extend(serde_json::to_vec(&header).unwrap_or_default());
    bytes.push(b'\n');
    bytes.extend_from_slice(record.json.as_deref().unwrap_or_default());
    let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Reads a record back, or says what is wrong with it.
pub(super) fn decode(revision: u64, bytes: &[u8]) -> Result<Record, String> {
    let wrong = |what: &str| format!("revision {revision}: {what}");
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| wrong("too short"))?;
    if u32::from_be_bytes(*length) as usize != rest.len() {
        return Err(wrong("a part is missing"));
    }
    let line = rest.iter().position(|&b| b == b'\n').ok_or_else(|| wrong("no header"))?;
    let (header, json) = (&rest[..line], &rest[line + 1..]);
    let header: Header<'_> = serde_json::from_slice(header).map_err(|_| wrong("the header is not JSON"))?;
    let [resource, namespace, name] = header.key;
    let json = (!header.deleted).then(|| Bytes::copy_from_slice(json));
    Ok(Record { revision, key: Key::new(&*resource, &*namespace, &*name), previous: header.previous, json })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back() {
        for (previous, json) in [(None, Some(Bytes::from("{\"a\":\"\\n\"}"))), (Some(7), None)] {
            let record = Record { revision: 9, key: Key::new("g/p", "na\"me", "x\n"), previous, json };
            assert_eq!(decode(9, &encode(&record)).unwrap(), record);
        }
    }

    #[test]
    fn a_cut_record_is_refused() {
        let record = Record { revision: 9, key: Key::new("g/p", "", "x"), previous: None, json: Some("{}".into()) };
        let bytes = encode(&record);
        for length in 0..bytes.len() {
            assert!(decode(9, &bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn chunk_keys_sort_by_revision_then_number() {
        let mut keys = [chunk_key(256, 0), chunk_key(1, 256), chunk_key(255, 9), chunk_key(1, 2)];
        keys.sort_unstable();
        let parsed: Vec<_> = keys.iter().map(|key| parse_chunk_key(key).unwrap()).collect();
        assert_eq!(parsed, [(1, 2), (1, 256), (255, 9), (256, 0)]);
    }
}
