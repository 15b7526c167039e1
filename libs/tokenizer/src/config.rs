//! What tokenizer_config.json says of a tokenizer. Everything else in the file is passed over without being held.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The keys of a tokenizer_config.json that are of use here.
#[derive(Debug, Default, Deserialize)]
pub struct TokenizerConfig {
    bos_token: Option<TokenText>,
    eos_token: Option<TokenText>,
    pub(crate) add_bos_token: Option<bool>,
    pub(crate) add_eos_token: Option<bool>,
    chat_template: Option<Template>,
}

impl TokenizerConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The chat template, of which the file is rid then.
    pub fn take_template(&mut self) -> Option<String> {
        self.chat_template.take().and_then(|template| template.0)
    }

    pub(crate) fn bos(&self) -> Option<&str> {
        self.bos_token.as_ref().map(|token| token.0.as_str())
    }

    pub(crate) fn eos(&self) -> Option<&str> {
        self.eos_token.as_ref().map(|token| token.0.as_str())
    }
}

/// A token: its text, or an object with it.
#[derive(Debug)]
struct TokenText(String);

impl<'de> Deserialize<'de> for TokenText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Token;
        impl<'de> Visitor<'de> for Token {
            type Value = TokenText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token's text, or an object with its content")
            }

            fn visit_str<E>(self, text: &str) -> Result<TokenText, E> {
                Ok(TokenText(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TokenText, A::Error> {
                #[derive(Deserialize)]
                struct Object {
                    content: String,
                }
                Object::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(|o| TokenText(o.content))
            }
        }
        deserializer.deserialize_any(Token)
    }
}

/// A template: a text, or the one named "default" of several, else the first.
#[derive(Debug)]
struct Template(Option<String>);

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Named {
            name: Option<String>,
            template: String,
        }
        struct Templates;
        impl<'de> Visitor<'de> for Templates {
            type Value = Template;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a template, or a list of templates with names")
            }

            fn visit_str<E>(self, text: &str) -> Result<Template, E> {
                Ok(Template(Some(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Template, A::Error> {
                let mut found = None;
                while let Some(Named { name, template }) = list.next_element()? {
                    if name.as_deref() == Some("default") {
                        while list.next_element::<IgnoredAny>()?.is_some() {}
                        return Ok(Template(Some(template)));
                    }
                    found.get_or_insert(template);
                }
                Ok(Template(found))
            }
        }
        deserializer.deserialize_any(Templates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: &Value) -> Result<TokenizerConfig, String> {
        TokenizerConfig::read(value.to_string().as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_template_is_a_text_or_the_default_of_several() {
        let found = |value: Value| read(&json!({ "chat_template": value })).map(|mut config| config.take_template());
        assert_eq!(found(json!("{{ x }}")), Ok(Some("{{ x }}".to_owned())));
        let several = json!([{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}, {"odd": 1}]);
        assert_eq!(found(several), Ok(Some("b".to_owned())));
        assert_eq!(found(json!([{"name": "rag", "template": "c"}])), Ok(Some("c".to_owned())));
        assert_eq!(found(json!([])), Ok(None));
        assert_eq!(found(json!(null)), Ok(None));
        assert!(found(json!(7)).is_err_and(|e| e.contains("a template, or a list")));
    }

    #[test]
    fn tokens_are_texts_or_objects_and_other_types_are_refused() {
        let config =
            read(&json!({"bos_token": {"content": "<s>", "lstrip": [1]}, "eos_token": "</s>", "x": {"y": [1]}}));
        assert_eq!(
            config.map(|c| (c.bos().map(str::to_owned), c.eos().map(str::to_owned))).ok(),
            Some((Some("<s>".to_owned()), Some("</s>".to_owned())))
        );
        assert!(read(&json!({"bos_token": null, "add_bos_token": null})).is_ok_and(|c| c.bos().is_none()));
        for wrong in [json!({"bos_token": 1}), json!({"eos_token": [1]}), json!({"add_bos_token": 1})] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
