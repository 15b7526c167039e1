//! An answer as it grows, told apart into text and calls.

use super::Format;
use super::object::{Arguments, Object};

const HERMES_CLOSING: &str = "</tool_call>";

/// What became known of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Content(String),
    /// A call begins; calls are counted from 0.
    Call {
        index: u32,
        name: String,
    },
    /// More of its arguments, which together are a JSON object.
    Arguments {
        index: u32,
        text: String,
    },
}

/// Reads one answer.
#[derive(Debug, Clone)]
pub struct Reader {
    format: Format,
    names: Vec<String>,
    parallel: bool,
    /// The opening is a control token, which is no text if no call follows.
    hidden: bool,
    place: Place,
    /// Text that is not understood yet.
    held: String,
    calls: u32,
}

#[derive(Debug, Clone)]
enum Place {
    /// At the beginning or after a call: a call may begin here.
    Between,
    /// In text.
    Text,
    Call(Call),
}

/// A call that is being written.
#[derive(Debug, Clone)]
struct Call {
    /// What stood in front of it, should it turn out to be text.
    opening: String,
    object: Object,
    index: Option<u32>,
    /// One too many, which is not told.
    dropped: bool,
    /// Bytes of its arguments that were told.
    told: usize,
}

/// What a beginning of a text is.
enum Beginning {
    /// A call, whose object begins after so many bytes.
    Call(usize),
    Text,
    /// It cannot be told yet.
    Open,
}

impl Reader {
    /// Reads calls of functions with these names; all but the first are dropped without `parallel`. `forced`: the prompt ended
    /// with the opening of a call.
    pub fn new(format: Format, names: Vec<String>, parallel: bool, forced: bool) -> Self {
        let place = match format {
            Format::Hermes if forced => Place::Call(Call::new(String::new())),
            _ => Place::Between,
        };
        Self { format, names, parallel, hidden: false, place, held: String::new(), calls: 0 }
    }

    /// The opening of calls is a control token of the model.
    pub fn with_hidden_opening(mut self, hidden: bool) -> Self {
        self.hidden = hidden;
        self
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Calls that have begun.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Takes more text.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        self.run(false)
    }

    /// The answer is over.
    pub fn finish(&mut self) -> Vec<Part> {
        self.run(true)
    }

    fn run(&mut self, end: bool) -> Vec<Part> {
        let mut parts = Vec::new();
        loop {
            let goes_on = match std::mem::replace(&mut self.place, Place::Between) {
                Place::Between => self.between(end, &mut parts),
                Place::Text => self.text(end, &mut parts),
                Place::Call(call) => self.call(call, end, &mut parts),
            };
            if !goes_on {
                return parts;
            }
        }
    }

    /// True if there is more to do in another place.
    fn between(&mut self, end: bool, parts: &mut Vec<Part>) -> bool {
        match self.beginning() {
            Beginning::Call(length) => {
                let object = self.held.split_off(length);
                let opening = std::mem::replace(&mut self.held, object);
                self.place = Place::Call(Call::new(opening));
                true
            }
            Beginning::Open if !end => false,
            Beginning::Open => {
                let held = std::mem::take(&mut self.held);
                if self.calls == 0 && !held.is_empty() {
                    parts.push(Part::Content(held));
                }
                false
            }
            Beginning::Text => {
                if self.calls > 0 {
                    self.held = self.rest().to_owned();
                }
                self.skip_opening(parts);
                self.place = Place::Text;
                true
            }
        }
    }

    /// An opening that no call follows is text like other text, and is not looked at again.
    fn skip_opening(&mut self, parts: &mut Vec<Part>) {
        let (tag, space) = (self.format.opening(), self.held.len() - self.held.trim_start().len());
        if self.held[space..].starts_with(tag) {
            let rest = self.held.split_off(space + tag.len());
            let mut text = std::mem::replace(&mut self.held, rest);
            if self.hidden {
                text.truncate(space);
            }
            if !text.is_empty() {
                parts.push(Part::Content(text));
            }
        }
    }

    /// What is held, without what separates calls.
    fn rest(&self) -> &str {
        let first = self.calls == 0;
        match self.format {
            Format::Hermes => {
                let rest = self.held.trim_start();
                let closed = if first { rest } else { rest.strip_prefix(HERMES_CLOSING).unwrap_or(rest) };
                closed.trim_start()
            }
            _ if first => self.held.trim_start(),
            Format::Llama => self.held.trim_start_matches(|c: char| c.is_whitespace() || c == ';'),
            Format::Mistral => self.held.trim_start_matches(|c: char| c.is_whitespace() || c == ',' || c == ']'),
        }
    }

    fn beginning(&self) -> Beginning {
        let rest = self.rest();
        let at = self.held.len() - rest.len();
        let tag = self.format.opening();
        let may_close = self.format == Format::Hermes && self.calls > 0 && HERMES_CLOSING.starts_with(rest);
        if rest.is_empty() || (rest.len() < tag.len() && tag.starts_with(rest)) || may_close {
            return Beginning::Open;
        }
        let tagged = rest.strip_prefix(tag);
        let object = tagged.unwrap_or(rest).trim_start();
        let at = at + rest.len() - object.len();
        match (self.format, object.chars().next()) {
            (Format::Hermes, _) if tagged.is_none() => Beginning::Text,
            (_, None) => Beginning::Open,
            (Format::Hermes, _) | (Format::Llama, Some('{')) => Beginning::Call(at),
            (Format::Mistral, Some('[')) => match object[1..].trim_start() {
                "" => Beginning::Open,
                list if list.starts_with('{') => Beginning::Call(at + object.len() - list.len()),
                _ => Beginning::Text,
            },
            (Format::Mistral, Some('{')) if self.calls > 0 || tagged.is_some() => Beginning::Call(at),
            _ => Beginning::Text,
        }
    }

    fn text(&mut self, end: bool, parts: &mut Vec<Part>) -> bool {
        let tag = self.format.opening();
        let found = self.held.find(tag);
        let length = match found {
            None if end => self.held.len(),
            // White space in front of a call is no content.
            _ => self.held[..found.unwrap_or(self.held.len() - overlap(&self.held, tag))].trim_end().len(),
        };
        let kept = self.held.split_off(length);
        let content = std::mem::replace(&mut self.held, kept);
        if found.is_none() {
            self.place = Place::Text;
        }
        if !content.is_empty() {
            parts.push(Part::Content(content));
        }
        found.is_some()
    }

    fn call(&mut self, mut call: Call, end: bool, parts: &mut Vec<Part>) -> bool {
        let taken = call.object.push(&self.held);
        self.held.drain(..taken);
        let decided = match call.object.arguments() {
            Arguments::Object(_) => true,
            Arguments::Unknown => call.object.is_done() || end,
            Arguments::Wrong => false,
        };
        if call.index.is_none()
            && decided
            && let Some(name) = call.object.name().filter(|name| self.names.iter().any(|n| n == name))
        {
            call.dropped = !self.parallel && self.calls > 0;
            call.index = Some(self.calls);
            if !call.dropped {
                parts.push(Part::Call { index: self.calls, name: name.to_owned() });
                self.calls += 1;
            }
        }
        let over = call.object.is_done() || call.object.is_broken();
        match call.index {
            Some(index) if !call.dropped => call.tell(index, parts),
            None if over || end => {
                if self.hidden {
                    call.opening = call.opening.replace(self.format.opening(), "");
                }
                let text = call.opening + call.object.text();
                if !text.is_empty() {
                    parts.push(Part::Content(text));
                }
                self.place = Place::Text;
                return !self.held.is_empty();
            }
            _ => {}
        }
        if !over {
            self.place = Place::Call(call);
        }
        over && !self.held.is_empty()
    }
}

impl Call {
    fn new(opening: String) -> Self {
        Self { opening, object: Object::new(), index: None, dropped: false, told: 0 }
    }

    fn tell(&mut self, index: u32, parts: &mut Vec<Part>) {
        let arguments = match self.object.arguments() {
            Arguments::Object(text) => text,
            _ if self.object.is_done() => "{}",
            _ => "",
        };
        if arguments.len() > self.told {
            parts.push(Part::Arguments { index, text: arguments[self.told..].to_owned() });
            self.told = arguments.len();
        }
    }
}

/// Bytes at the end of `text` that are a beginning of `tag`.
fn overlap(text: &str, tag: &str) -> usize {
    (1..tag.len().min(text.len() + 1)).rev().find(|&n| text.ends_with(&tag[..n])).unwrap_or(0)
}

#[cfg(test)]
mod tests;
