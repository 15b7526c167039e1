//! One choice of an answer: its text told apart into content and calls, and the log probabilities that wait for their text.

use super::logprobs;
use crate::sampler::TokenLogprobs;
use crate::tools::{Part, Reader};
use rbee_wire::openai::{
    ChatChoice, ChatDelta, ChatLogprobs, ChatReply, CompletionChoice, CompletionLogprobs, FinishReason, ToolCall,
    ToolCallDelta,
};

/// A choice that grows.
pub struct Choice {
    index: u32,
    reader: Option<Reader>,
    wants_logprobs: bool,
    /// Log probabilities that were not told yet.
    tokens: Vec<TokenLogprobs>,
    /// Where the next of them begins in the text, in characters.
    offset: u32,
    /// The role was told.
    pub begun: bool,
}

impl Choice {
    /// `reader` finds the calls in an answer that may have some.
    pub fn new(index: usize, reader: Option<Reader>, wants_logprobs: bool) -> Self {
        Self { index: index as u32, reader, wants_logprobs, tokens: Vec::new(), offset: 0, begun: false }
    }

    pub fn index(&self) -> u32 {
        self.index
    }

    /// Takes a token's text and the log probabilities of the tokens that it completes.
    pub fn push(&mut self, text: String, tokens: Vec<TokenLogprobs>) -> Vec<Part> {
        self.tokens.extend(tokens);
        match &mut self.reader {
            Some(reader) => reader.push(&text),
            None if text.is_empty() => Vec::new(),
            None => vec![Part::Content(text)],
        }
    }

    /// The choice is complete.
    pub fn finish(&mut self) -> Vec<Part> {
        self.reader.as_mut().map(Reader::finish).unwrap_or_default()
    }

    /// An answer that called functions and was not cut off ended for that reason.
    pub fn reason(&self, reason: FinishReason) -> FinishReason {
        let called = self.reader.as_ref().is_some_and(|r| r.calls() > 0);
        if called && reason == FinishReason::Stop { FinishReason::ToolCalls } else { reason }
    }

    /// Whether there are log probabilities to tell.
    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The log probabilities that wait, for a chat.
    pub fn take_chat_logprobs(&mut self) -> Option<ChatLogprobs> {
        self.wants_logprobs.then(|| logprobs::of_chat(std::mem::take(&mut self.tokens)))
    }

    /// The log probabilities that wait, for a completion.
    pub fn take_completion_logprobs(&mut self) -> Option<CompletionLogprobs> {
        self.wants_logprobs.then(|| logprobs::of_completion(std::mem::take(&mut self.tokens), &mut self.offset))
    }

    /// A part as a piece of a stream.
    pub fn delta(&self, part: Part) -> ChatDelta {
        match part {
            Part::Content(text) => ChatDelta { content: Some(text), ..ChatDelta::default() },
            Part::Call { index, name } => call_delta(ToolCallDelta::begin(index, self.call_id(), name)),
            Part::Arguments { index, text } => call_delta(ToolCallDelta::arguments(index, text)),
        }
    }

    fn call_id(&self) -> String {
        let digits = uuid::Uuid::new_v4().simple().to_string();
        self.reader.as_ref().map_or_else(|| digits.clone(), |r| r.format().call_id(&digits))
    }
}

fn call_delta(call: ToolCallDelta) -> ChatDelta {
    ChatDelta { tool_calls: vec![call], ..ChatDelta::default() }
}

/// A choice that is told when it is complete.
pub struct WholeChoice {
    choice: Choice,
    content: String,
    calls: Vec<ToolCall>,
    reason: Option<FinishReason>,
}

impl WholeChoice {
    pub fn new(choice: Choice) -> Self {
        Self { choice, content: String::new(), calls: Vec::new(), reason: None }
    }

    pub fn push(&mut self, text: String, tokens: Vec<TokenLogprobs>) {
        let parts = self.choice.push(text, tokens);
        self.collect(parts);
    }

    pub fn finish(&mut self, reason: FinishReason) {
        let parts = self.choice.finish();
        self.collect(parts);
        self.reason = Some(self.choice.reason(reason));
    }

    fn collect(&mut self, parts: Vec<Part>) {
        for part in parts {
            match part {
                Part::Content(text) => self.content += &text,
                Part::Call { name, .. } => {
                    self.calls.push(ToolCall::new(self.choice.call_id(), name, String::new()));
                }
                Part::Arguments { index, text } => {
                    if let Some(call) = self.calls.get_mut(index as usize) {
                        call.function.arguments += &text;
                    }
                }
            }
        }
    }

    pub fn into_chat(mut self) -> ChatChoice {
        let content = if self.content.trim().is_empty() && !self.calls.is_empty() { None } else { Some(self.content) };
        let message = ChatReply { role: "assistant".into(), content, refusal: None, tool_calls: self.calls };
        let logprobs = self.choice.take_chat_logprobs();
        ChatChoice { index: self.choice.index, message, logprobs, finish_reason: self.reason }
    }

    pub fn into_completion(mut self) -> CompletionChoice {
        let logprobs = self.choice.take_completion_logprobs();
        CompletionChoice { index: self.choice.index, text: self.content, logprobs, finish_reason: self.reason }
    }
}
