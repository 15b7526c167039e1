//! How long to wait before a replica that failed is started again.

use crate::{config::Timing, supervise::state::Tick};

/// The wait after the `failures`-th failure in a row: `backoff_first`, doubled with each one, at most `backoff_max`.
pub fn delay(failures: u32, timing: &Timing) -> Tick {
    let doubled =
        timing.backoff_first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(timing.backoff_max)
}

/// The failures in a row, one more of them counted, after a process that was Ready for `healthy` (not at all: None).
pub fn count(before: u32, healthy: Option<Tick>, timing: &Timing) -> u32 {
    let forgotten = healthy.is_some_and(|h| h >= timing.healthy_after);
    if forgotten { 1 } else { before.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_five_minutes() {
        let timing = Timing::default();
        let secs: Vec<u64> = (0..12).map(|n| delay(n, &timing).as_secs()).collect();
        assert_eq!(secs, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay(u32::MAX, &timing), timing.backoff_max);
    }

    #[test]
    fn ten_good_minutes_forget_what_was_before() {
        let timing = Timing::default();
        assert_eq!(count(5, None, &timing), 6);
        assert_eq!(count(5, Some(Tick::from_secs(599)), &timing), 6);
        assert_eq!(count(5, Some(Tick::from_secs(600)), &timing), 1);
        assert_eq!(count(u32::MAX, None, &timing), u32::MAX);
    }
}
