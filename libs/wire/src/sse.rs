//! `text/event-stream`: encoding, and an incremental decoder that takes any cut of the bytes.

/// Data of the event that ends a stream that was completed.
pub const DONE: &str = "[DONE]";

/// MIME type of a stream.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// Largest event a decoder accepts, in bytes.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    pub event: Option<String>,
    pub data: String,
}

/// Encodes an event without a name.
pub fn data(data: &str) -> String {
    let mut out = String::with_capacity(data.len() + 8);
    push_data(&mut out, data);
    out
}

/// Encodes an event with a name.
pub fn named(event: &str, data: &str) -> String {
    let mut out = format!("event: {event}\n");
    push_data(&mut out, data);
    out
}

/// Encodes a comment, which decoders skip: it keeps a connection alive.
pub fn comment(text: &str) -> String {
    format!(": {}\n\n", text.replace(['\r', '\n'], " "))
}

fn push_data(out: &mut String, data: &str) {
    let normal;
    let data = if data.contains('\r') {
        normal = data.replace("\r\n", "\n").replace('\r', "\n");
        &normal
    } else {
        data
    };
    for line in data.split('\n') {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
}

/// The stream sent an event larger than [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {MAX_EVENT_BYTES} bytes")]
pub struct TooLarge;

/// Decodes a stream piece by piece.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    after_cr: bool,
    started: bool,
    event: Option<String>,
    data: Option<String>,
}

impl Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and returns the events they complete. An event that the end of the stream cuts is dropped,
    /// as the specification wants.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLarge> {
        let mut events = Vec::new();
        for &byte in bytes {
            let follows_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if follows_cr => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > MAX_EVENT_BYTES {
                return Err(TooLarge);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Event> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = String::from_utf8_lossy(&bytes).into_owned();
        if !std::mem::replace(&mut self.started, true) {
            line = line.trim_start_matches('\u{feff}').to_owned();
        }
        if line.is_empty() {
            let event = self.event.take();
            return self.data.take().map(|data| Event { event, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            },
            "event" => self.event = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(text: &[u8]) -> Vec<Event> {
        Decoder::new().push(text).unwrap()
    }

    #[test]
    fn every_form_of_line_end_and_comments_are_read() {
        let expected = vec![Event { event: Some("error".into()), data: "a\nb".into() }];
        for end in ["\n", "\r\n", "\r"] {
            let text = [": hold", "event: error", "data: a", "data:b", "id: 7", "", ""].join(end);
            assert_eq!(decode(text.as_bytes()), expected, "{end:?}");
        }
        assert_eq!(decode(b"\xef\xbb\xbfdata: x\n\n").len(), 1);
        assert_eq!(decode(b"data: never finished\n"), []);
        assert_eq!(decode(comment("keep\nalive").as_bytes()), []);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut decoder = Decoder::new();
        let block = vec![b'x'; 1 << 20];
        let fed = (0..20).try_for_each(|_| decoder.push(&block).map(|_| ()));
        assert_eq!(fed, Err(TooLarge));
    }

    proptest! {
        #[test]
        fn any_data_and_any_cut_reads_back(texts in prop::collection::vec("[^\r]{0,40}", 1..5), cut in 1usize..7) {
            let encoded: String = texts.iter().map(|t| data(t)).collect();
            let mut decoder = Decoder::new();
            let mut read = Vec::new();
            for piece in encoded.as_bytes().chunks(cut) {
                read.extend(decoder.push(piece).unwrap());
            }
            prop_assert_eq!(read.into_iter().map(|e| e.data).collect::<Vec<_>>(), texts);
        }
    }
}
