//! How a sentence-transformers model makes one embedding of all tokens': `1_Pooling/config.json`.

use super::{ConfigError, Keys};

/// Where the file is in a checkpoint's folder.
pub const FILE_NAME: &str = "1_Pooling/config.json";

/// Which hidden states make the embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The mean of all.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
}

const MODES: [(&str, Mode); 3] = [
    ("pooling_mode_mean_tokens", Mode::Mean),
    ("pooling_mode_cls_token", Mode::Cls),
    ("pooling_mode_lasttoken", Mode::Last),
];
const OTHERS: [&str; 3] =
    ["pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens"];

/// Reads the file.
///
/// # Errors
/// [`ConfigError`] if it asks for something else than one of the modes.
pub fn parse(text: &[u8]) -> Result<Mode, ConfigError> {
    let object = super::object(text)?;
    let keys = Keys::new(&object);
    let supported = || MODES.map(|(key, _)| key).join(", ");
    for key in OTHERS {
        if keys.boolean(key)? == Some(true) {
            let advice = format!("supported: {}", supported());
            return Err(ConfigError::Unsupported { key: key.to_owned(), found: "true".to_owned(), advice });
        }
    }
    let mut chosen = Vec::new();
    for (key, mode) in MODES {
        if keys.boolean(key)? == Some(true) {
            chosen.push(mode);
        }
    }
    match chosen[..] {
        [mode] => Ok(mode),
        _ => Err(ConfigError::Contradiction(format!("exactly one of {} must be true", supported()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mode_is_chosen_and_others_are_refused() {
        let parsed = |text: &str| parse(text.as_bytes()).map_err(|e| e.to_string());
        assert_eq!(
            parsed(
                r#"{"word_embedding_dimension": 384, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#
            ),
            Ok(Mode::Cls)
        );
        assert_eq!(parsed(r#"{"pooling_mode_mean_tokens": true}"#), Ok(Mode::Mean));
        let both = r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}"#;
        assert!(parsed(both).unwrap_err().contains("exactly one"));
        let max = r#"{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}"#;
        assert!(parsed(max).unwrap_err().contains("pooling_mode_max_tokens"));
    }
}
