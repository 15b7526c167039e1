//! Calls of functions in the words of model families: which words a chat template teaches, how calls in an answer are read, and
//! the form that forces a call. Pure.

mod form;
mod object;
mod reader;

pub use reader::{Part, Reader};

/// How a family of models writes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes, Qwen 2.5 and 3.
    Hermes,
    /// The whole answer is `{"name": …, "parameters": {…}}`, perhaps after `<|python_tag|>`: Llama 3.
    Llama,
    /// The whole answer is `[TOOL_CALLS][{"name": …, "arguments": {…}}]`: Mistral.
    Mistral,
}

/// What a chat template makes of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It does not mention them.
    None,
    /// It mentions them, and asks for calls in a form that is not known here.
    Unknown,
    Known(Format),
}

impl Support {
    /// Looks for the words that each family's templates have.
    pub fn of_template(source: &str) -> Self {
        let has = |text: &str| source.contains(text);
        if !has("tools") {
            Self::None
        } else if ["<function=", "<arg_key>", "<invoke", "[ARGS]"].iter().any(|text| has(text)) {
            Self::Unknown
        } else if has("<tool_call>") && has("arguments") {
            Self::Known(Format::Hermes)
        } else if has("[TOOL_CALLS]") {
            Self::Known(Format::Mistral)
        } else if has("<|python_tag|>") || has(r#"{"name": function name, "parameters":"#) {
            Self::Known(Format::Llama)
        } else {
            Self::Unknown
        }
    }
}

impl Format {
    /// What stands in front of the first call.
    pub const fn opening(self) -> &'static str {
        match self {
            Self::Hermes => "<tool_call>",
            Self::Llama => "<|python_tag|>",
            Self::Mistral => "[TOOL_CALLS]",
        }
    }

    /// What ends a prompt whose answer has to be a call.
    pub const fn forced_opening(self) -> &'static str {
        match self {
            Self::Hermes => "<tool_call>\n",
            // Calls of one's own functions have no tag; the tag is for the built-in ones.
            Self::Llama => "",
            Self::Mistral => "[TOOL_CALLS]",
        }
    }

    /// Name of the member with the arguments.
    pub const fn arguments(self) -> &'static str {
        match self {
            Self::Hermes | Self::Mistral => "arguments",
            Self::Llama => "parameters",
        }
    }

    /// An id for a call out of many random hexadecimal digits. Templates of Mistral insist on nine characters.
    pub fn call_id(self, digits: &str) -> String {
        match self {
            Self::Mistral => digits.chars().take(9).collect(),
            Self::Hermes | Self::Llama => format!("call_{}", digits.chars().take(24).collect::<String>()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_by_their_templates() {
        let cases = [
            ("{{ messages }}", Support::None),
            (r#"{% if tools %}{{ tools }} <tool_call>{"name": …, "arguments": …}"#, Support::Known(Format::Hermes)),
            ("{% if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]", Support::Known(Format::Mistral)),
            ("{% if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]{{ name }}[ARGS]", Support::Unknown),
            ("{% if tools %}<|python_tag|>", Support::Known(Format::Llama)),
            ("{{ tools }} <tool_call>\n<function=example>", Support::Unknown),
            ("{{ tools }} <tool_call>{{ name }}<arg_key>arguments", Support::Unknown),
            ("{{ tools }}", Support::Unknown),
        ];
        for (source, wanted) in cases {
            assert_eq!(Support::of_template(source), wanted, "{source}");
        }
    }

    #[test]
    fn ids_have_the_length_that_templates_want() {
        let digits = "0123456789abcdef0123456789abcdef";
        assert_eq!(Format::Mistral.call_id(digits), "012345678");
        assert_eq!(Format::Hermes.call_id(digits), "call_0123456789abcdef01234567");
    }
}
