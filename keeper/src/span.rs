//! Spans of time on the command line, as Go and kubectl write them: `30s`, `5m`, `1h30m`, `250ms`, `1.5s`, `0`.

use std::time::Duration;

/// Reads a span.
///
/// # Errors
/// A sentence that says how spans are written.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let refused = || "write numbers with units h, m, s or ms, as in 30s or 1h30m".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0_f64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
        let number: f64 = rest[..end].parse().map_err(|_| refused())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(refused()),
            };
        rest = &rest[end..];
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if !text.is_empty() && span < Duration::from_secs(10 * 365 * 86_400) => Ok(span),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        for (text, ms) in [("60s", 60_000), ("1h30m", 5_400_000), ("250ms", 250), ("1.5s", 1_500), ("0", 0), ("0s", 0)]
        {
            assert_eq!(parse_span(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for text in ["", "5", "-5s", "5d", "s", "1..2s", "99999999999999999999h"] {
            assert!(parse_span(text).is_err(), "{text:?} was taken");
        }
    }
}
