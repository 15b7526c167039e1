//! Ages as kubectl prints them.

/// A span of time in whole seconds: `5m`, `2d3h`, `<invalid>` when it lies in the future.
pub fn human_duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".into();
    }
    let seconds = seconds.max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let both = |large: i64, unit: char, small: i64, lesser: char| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{lesser}"),
    };
    match (seconds, minutes, hours) {
        (0..120, _, _) => format!("{seconds}s"),
        (_, 0..10, _) => both(minutes, 'm', seconds % 60, 's'),
        (_, 0..180, _) => format!("{minutes}m"),
        (_, _, 0..8) => both(hours, 'h', minutes % 60, 'm'),
        (_, _, 0..48) => format!("{hours}h"),
        (_, _, 0..192) => both(hours / 24, 'd', hours % 24, 'h'),
        (_, _, 0..17_520) => format!("{}d", hours / 24),
        (_, _, 0..70_080) => both(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// The age of an RFC 3339 time; `<unknown>` where there is none. `now` is Unix seconds.
pub fn since(time: Option<&str>, now: i64) -> String {
    match time.and_then(|t| t.parse::<jiff::Timestamp>().ok()) {
        Some(time) => human_duration(now - time.as_second()),
        None => "<unknown>".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_like_kubectls() {
        const DAY: i64 = 24 * 3600;
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (330, "5m30s"),
            (600, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600, "8h"),
            (48 * 3600, "2d"),
            (51 * 3600, "2d3h"),
            (8 * DAY, "8d"),
            (2 * 365 * DAY, "2y"),
            (2 * 365 * DAY + DAY, "2y1d"),
            (9 * 365 * DAY + DAY, "9y"),
        ];
        for (seconds, want) in cases {
            assert_eq!(human_duration(seconds), want, "{seconds}");
        }
        assert_eq!(since(None, 0), "<unknown>");
    }
}
