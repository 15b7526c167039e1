//! The JSON of headers and indexes, read from the file without holding its text: every key once, and nothing kept beyond the limits.

use super::{ElementType, SafetensorsError, limits};
use crate::shown::shown;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

/// What the header says of one tensor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name, if it is none that is known.
    #[serde(deserialize_with = "element_type")]
    pub dtype: Result<ElementType, String>,
    pub shape: Shape,
    /// First byte, and the one after the last.
    pub data_offsets: [u64; 2],
}

/// Dimensions, as many as a tensor may have.
#[derive(Debug)]
pub struct Shape(pub Vec<u64>);

/// The tensors of a header of `length` bytes, by name.
pub fn parse(reader: impl Read, length: u64) -> Result<Vec<(String, Entry)>, SafetensorsError> {
    let mut text = BufReader::new(Counted { reader: reader.take(length), count: 0 });
    let first = text.fill_buf().map(|bytes| bytes.first().copied());
    match first.map_err(|e| SafetensorsError::Io(e.to_string()))? {
        Some(b'{') => {}
        None if length > 0 => return Err(SafetensorsError::Truncated { at: 8 }),
        _ => return Err(SafetensorsError::Start),
    }
    let parsed = read::<Entries>(&mut text);
    let at = text.get_ref().count;
    match parsed {
        Err(e) if e.is_io() => Err(SafetensorsError::Io(e.to_string())),
        Err(e) if e.is_eof() && at < length => Err(SafetensorsError::Truncated { at: 8 + at }),
        Ok(_) if at < length => Err(SafetensorsError::Truncated { at: 8 + at }),
        Err(e) => Err(SafetensorsError::Json(e.to_string())),
        Ok(entries) => Ok(entries.0),
    }
}

/// One value and nothing behind it.
pub fn read<T: for<'de> Deserialize<'de>>(reader: impl Read) -> serde_json::Result<T> {
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let value = T::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// A reader that counts the bytes that came.
struct Counted<R> {
    reader: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

fn element_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Result<ElementType, String>, D::Error> {
    deserializer.deserialize_str(Text(|name: &str| ElementType::from_name(name).ok_or_else(|| shown(name))))
}

/// Looks at a text where it was read, so that a long one is not copied before it is refused.
struct Text<F>(F);

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(self.0(text))
    }
}

/// A name that is not empty and not too long.
pub struct Name(pub String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let within = |text: &str| match text.len() {
            1..=limits::NAME_BYTES => Ok(text.to_owned()),
            bytes => Err(format!("a name has {bytes} bytes; 1 to {} are possible", limits::NAME_BYTES)),
        };
        deserializer.deserialize_str(Text(within))?.map(Name).map_err(D::Error::custom)
    }
}

/// A string of which nothing is kept.
struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(|_: &str| Unread))
    }
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

/// The tensors of a header; its metadata is checked and not kept, because nobody reads it.
struct Entries(Vec<(String, Entry)>);

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
                let mut entries: Vec<(String, Entry)> = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    if name == "__metadata__" {
                        if metadata.replace(map.next_value::<Metadata>()?).is_some() {
                            return Err(A::Error::custom("__metadata__ is there twice"));
                        }
                        continue;
                    }
                    if entries.len() == limits::TENSORS {
                        return Err(A::Error::custom(format!("there are more than {} tensors", limits::TENSORS)));
                    }
                    entries.push((name, map.next_value()?));
                }
                let mut names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
                names.sort_unstable();
                match names.windows(2).find(|pair| pair[0] == pair[1]) {
                    Some(pair) => Err(A::Error::custom(format!("tensor {:?} is there twice", pair[0]))),
                    None => Ok(Entries(entries)),
                }
            }
        }
        deserializer.deserialize_map(Header)
    }
}

/// Strings by name, every name once.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut names = HashSet::new();
                while let Some((Name(name), Unread)) = map.next_entry()? {
                    if names.len() == limits::METADATA {
                        return Err(A::Error::custom(format!("there are more than {} names", limits::METADATA)));
                    }
                    if let Some(name) = names.replace(name) {
                        return Err(A::Error::custom(format!("{name:?} is there twice")));
                    }
                }
                Ok(Metadata)
            }
        }
        deserializer.deserialize_map(Strings)
    }
}
