//! Durations as people write them: `90s`, `5m`, `1h30m`, `250ms`; `0s` is zero.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A span of time with millisecond resolution; its text form is a sequence of whole numbers with units `h`, `m`, `s`, `ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Duration(std::time::Duration);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write whole numbers with units h, m, s or ms, as in \"5m\" or \"1h30m\"")]
pub struct DurationError(String);

impl Duration {
    /// `secs` seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// The standard library's form.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// Zero means "never" wherever a timeout is asked for.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<std::time::Duration> for Duration {
    fn from(value: std::time::Duration) -> Self {
        Self(std::time::Duration::from_millis(u64::try_from(value.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let refused = || DurationError(text.chars().take(64).collect());
        let (mut rest, mut total) = (text, 0_u64);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
            let number: u64 = rest[..digits].parse().map_err(|_| refused())?;
            rest = &rest[digits..];
            let units = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let scale = match &rest[..units] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return Err(refused()),
            };
            rest = &rest[units..];
            total = number.checked_mul(scale).and_then(|ms| total.checked_add(ms)).ok_or_else(refused)?;
        }
        if text.is_empty() { Err(refused()) } else { Ok(Self(std::time::Duration::from_millis(total))) }
    }
}

impl TryFrom<String> for Duration {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, DurationError> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(value: Duration) -> Self {
        value.to_string()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let parts = [(ms / 3_600_000, "h"), (ms / 60_000 % 60, "m"), (ms / 1_000 % 60, "s"), (ms % 1_000, "ms")];
        if ms == 0 {
            return f.write_str("0s");
        }
        parts.iter().filter(|(n, _)| *n > 0).try_for_each(|(n, unit)| write!(f, "{n}{unit}"))
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 32, "pattern": "^([0-9]{1,15}(ms|s|m|h))+$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, secs) in [("5m", 300), ("0s", 0), ("1h30m", 5400), ("90s", 90), ("2000ms", 2)] {
            assert_eq!(text.parse::<Duration>().unwrap(), Duration::from_secs(secs), "{text}");
        }
        for text in ["", "5", "m", "5 m", "-5m", "1.5h", "5d", "99999999999999999999s"] {
            assert!(text.parse::<Duration>().is_err(), "{text:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(ms in 0_u64..10_000_000_000) {
            let value = Duration::from(std::time::Duration::from_millis(ms));
            prop_assert_eq!(value.to_string().parse::<Duration>().unwrap(), value);
        }
    }
}
