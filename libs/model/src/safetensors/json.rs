//! The JSON of a header: every key once, and nothing held beyond the limits.

use super::{SafetensorsError, limits};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// What the header says of one tensor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub dtype: String,
    pub shape: Shape,
    /// First byte, and the one after the last.
    pub data_offsets: [u64; 2],
}

/// Dimensions, as many as a tensor may have.
#[derive(Debug)]
pub struct Shape(pub Vec<u64>);

/// A whole header.
#[derive(Debug)]
pub struct Entries {
    pub metadata: BTreeMap<String, String>,
    pub entries: Vec<(String, Entry)>,
}

pub fn parse(text: &[u8]) -> Result<Entries, SafetensorsError> {
    serde_json::from_slice(text).map_err(|e| SafetensorsError::Json(e.to_string()))
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dimensions;
        impl<'de> Visitor<'de> for Dimensions {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {} whole numbers", limits::DIMENSIONS)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(dimension) = sequence.next_element()? {
                    if shape.len() == limits::DIMENSIONS {
                        return Err(A::Error::custom(format!("a tensor has more than {} dimensions", shape.len())));
                    }
                    shape.push(dimension);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(Dimensions)
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Header;
        impl<'de> Visitor<'de> for Header {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut metadata = None;
                let mut entries = Vec::new();
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if metadata.replace(map.next_value::<UniqueStrings>()?.0).is_some() {
                            return Err(A::Error::custom("__metadata__ is there twice"));
                        }
                        continue;
                    }
                    if name.is_empty() || name.len() > limits::NAME_BYTES {
                        let problem = format!(
                            "a tensor's name has {} bytes; 1 to {} are possible",
                            name.len(),
                            limits::NAME_BYTES
                        );
                        return Err(A::Error::custom(problem));
                    }
                    if entries.len() == limits::TENSORS {
                        return Err(A::Error::custom(format!("there are more than {} tensors", limits::TENSORS)));
                    }
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("tensor {name:?} is there twice")));
                    }
                    entries.push((name, map.next_value()?));
                }
                Ok(Entries { metadata: metadata.unwrap_or_default(), entries })
            }
        }
        deserializer.deserialize_map(Header)
    }
}

/// Strings by name, every name once.
pub struct UniqueStrings(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for UniqueStrings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = UniqueStrings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueStrings, A::Error> {
                let mut strings = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if strings.len() == limits::TENSORS {
                        return Err(A::Error::custom(format!("there are more than {} names", limits::TENSORS)));
                    }
                    if strings.contains_key(&name) {
                        return Err(A::Error::custom(format!("{name:?} is there twice")));
                    }
                    strings.insert(name, value);
                }
                Ok(UniqueStrings(strings))
            }
        }
        deserializer.deserialize_map(Strings)
    }
}
