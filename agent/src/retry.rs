//! Waits between tries at an API that does not answer: doubling, with jitter, so that many hives do not come at once.

use std::time::Duration;

/// Longest wait before jitter: a server that comes back is found again soon.
const LONGEST: Duration = Duration::from_secs(10);

/// Consecutive failures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retry(u32);

impl Retry {
    /// The wait after one more failure: 0.5 s doubling to 10 s, times 0.5 to 1.5. `random` is uniform in 0..1.
    pub fn after_failure(&mut self, random: f64) -> Duration {
        let wait = Duration::from_millis(500).saturating_mul(1 << self.0.min(6)).min(LONGEST);
        self.0 = self.0.saturating_add(1);
        wait.mul_f64(0.5 + random.clamp(0.0, 1.0))
    }

    pub fn reset(&mut self) {
        self.0 = 0;
    }

    /// Whether this is the first failure after a success, the one that is worth a warning.
    pub fn is_first(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_ten_seconds() {
        let mut retry = Retry::default();
        let waits: Vec<u128> = (0..8).map(|_| retry.after_failure(0.5).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 10000, 10000, 10000]);
        retry.reset();
        assert!(retry.is_first());
        assert_eq!(retry.after_failure(0.0).as_millis(), 250);
        assert_eq!(retry.after_failure(1.0).as_millis(), 1500);
    }
}
