//! How many tokens of prompts go into a step, from the times that earlier steps took. Pure.
//!
//! Alone, prompts get large steps for throughput, bounded by the time for which a cancel or a new request would have to wait. Beside
//! running answers a step may take at most about twice as long as one without prompts, so that no stream stutters. There are two
//! exceptions, as a prompt that enters row by row has all weights read for few rows. Prompts that one step can hold may take more than
//! that, now and then; and where more prompts wait than answers run, their share grows with their number: more people wait for them.

use std::time::Duration;

/// Most tokens of prompts in a step: beyond that the engine gains nothing, and buffers grow.
const MOST_ROWS: usize = 128;
/// Rows beside running answers that are always granted, so that a prompt gets on.
const LEAST_ROWS: usize = 4;
/// Rows before anything is known.
const FIRST_ROWS: usize = 32;
const FIRST_ROWS_BESIDE: usize = 8;
/// Seconds of a step of prompts alone, and that prompts add to a step of answers at most.
const STEP_TIME: f64 = 0.6;
/// Share of the time of a step without prompts that a prompt for each answer may add. Below 1, as not every step takes as long as expected.
const ADDED: f64 = 0.65;
/// Seconds that short prompts may add to steps beyond that, when none did so for a while.
const MOST_SPARE: f64 = 0.5;
/// Share of the time of steps without prompts that is spare again.
const REGAINED: f64 = 0.25;
/// How many times as much prompts may add where that many of them wait for each answer, at most.
const MOST_TIMES: f64 = 4.0;
/// Weight of the newest observation.
const NEWEST: f64 = 0.25;
/// Rows from which on a step of prompts tells what a row takes; in smaller ones reading the weights dominates.
const TELLING_ROWS: usize = 16;

/// What the steps so far have taken, in seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    /// A step in which every running answer gets a token and nothing else happens.
    tokens: Option<f64>,
    /// A row of a prompt, in a step of prompts alone.
    row: Option<f64>,
    /// What a row of a prompt adds to a step of tokens.
    added_row: Option<f64>,
    /// Rows granted last beside running answers.
    granted: usize,
    /// What short prompts may add to the next step.
    spare: f64,
}

impl Pace {
    /// A step with `tokens` running answers and `rows` tokens of prompts took so long.
    pub fn observe(&mut self, tokens: usize, rows: usize, took: Duration) {
        let took = took.as_secs_f64();
        match (tokens, rows) {
            (0, 0) => {}
            (_, 0) => {
                blend(&mut self.tokens, took);
                self.spare = (self.spare + REGAINED * took).min(MOST_SPARE);
            }
            (0, _) if rows >= TELLING_ROWS || self.row.is_none() => blend(&mut self.row, took / rows as f64),
            (0, _) => {}
            (_, _) => {
                let added = (took - self.tokens.unwrap_or(0.0)).max(0.0);
                self.spare = (self.spare - added).max(0.0);
                if self.tokens.is_some() {
                    blend(&mut self.added_row, added / rows as f64);
                }
            }
        }
    }

    /// Rows for the next step, beside `tokens` running answers, of `prompts` prompts with `left` rows that are not computed.
    pub fn rows(&mut self, tokens: usize, prompts: usize, left: usize) -> usize {
        let is_short = left <= MOST_ROWS;
        if !is_short && prompts <= tokens {
            // Its end is no short prompt.
            self.spare = 0.0;
        }
        if tokens == 0 {
            // Nobody waits who could notice.
            self.granted = 0;
            if is_short {
                self.spare = MOST_SPARE;
            }
            return self.row.map_or(FIRST_ROWS, |row| rows_in(STEP_TIME, row).clamp(FIRST_ROWS / 2, MOST_ROWS));
        }
        let most = ADDED * (prompts as f64 / tokens as f64).clamp(1.0, MOST_TIMES);
        let wanted = match (self.tokens, self.added_row.or(self.row)) {
            (Some(alone), Some(row)) => rows_in((most * alone).min(STEP_TIME), row),
            _ => FIRST_ROWS_BESIDE,
        };
        // One quick step is no reason for a very long one.
        let most = (self.granted * 2).clamp(FIRST_ROWS_BESIDE, MOST_ROWS);
        self.granted = wanted.clamp(LEAST_ROWS, most);
        match self.row {
            Some(row) if is_short => self.granted.max(rows_in(self.spare, row).min(left)),
            _ => self.granted,
        }
    }
}

fn blend(known: &mut Option<f64>, newest: f64) {
    *known = Some(known.map_or(newest, |old| old + NEWEST * (newest - old)));
}

fn rows_in(seconds: f64, row: f64) -> usize {
    (seconds / row.max(1e-9)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than one step holds.
    const LONG: usize = 2000;

    fn ms(value: f64) -> Duration {
        Duration::from_secs_f64(value / 1e3)
    }

    #[test]
    fn prompts_alone_get_large_steps_of_bounded_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.rows(0, 1, LONG), FIRST_ROWS);
        pace.observe(0, 64, ms(64.0));
        assert_eq!(pace.rows(0, 1, LONG), MOST_ROWS);
        let mut slow = Pace::default();
        slow.observe(0, 64, ms(640.0));
        assert_eq!(slow.rows(0, 1, LONG), 60);
        let mut slower = Pace::default();
        slower.observe(0, 64, ms(64_000.0));
        assert_eq!(slower.rows(0, 1, LONG), FIRST_ROWS / 2);
        slow.observe(0, 2, ms(400.0));
        assert_eq!(slow.rows(0, 1, LONG), 60, "a small step tells nothing about rows");
    }

    #[test]
    fn beside_answers_a_step_takes_at_most_twice_as_long() {
        for (alone, row) in [(50.0, 1.0), (50.0, 7.0), (10.0, 0.05), (100.0, 30.0)] {
            let mut pace = Pace::default();
            pace.observe(1, 0, ms(alone));
            let mut took = alone;
            for _ in 0..40 {
                let rows = pace.rows(1, 1, LONG);
                took = alone + row * rows as f64;
                pace.observe(1, rows, ms(took));
            }
            assert!(took <= 2.0 * alone || pace.granted == LEAST_ROWS, "{alone} {row}: {took}");
            assert!(took >= 1.5 * alone || row * (MOST_ROWS as f64) < alone / 2.0, "{alone} {row}: {took}, too timid");
        }
    }

    #[test]
    fn rows_grow_stepwise_and_shrink_at_once() {
        let mut pace = Pace::default();
        pace.observe(1, 0, ms(50.0));
        pace.observe(1, 8, ms(50.0));
        let grants: Vec<usize> = (0..4).map(|_| pace.rows(1, 1, LONG)).collect();
        assert_eq!(grants, [8, 16, 32, 64]);
        pace.observe(1, 64, ms(50.0 + 64.0 * 40.0));
        assert!(pace.rows(1, 1, LONG) <= 4);
    }

    #[test]
    fn short_prompts_enter_in_one_step_unless_others_just_did() {
        let mut pace = Pace::default();
        pace.observe(0, 64, ms(64.0));
        assert_eq!(pace.rows(0, 1, 64), MOST_ROWS);
        pace.observe(1, 0, ms(20.0));
        assert_eq!(pace.rows(1, 1, 100), 100);
        assert!(pace.rows(1, 1, LONG) <= 2 * FIRST_ROWS_BESIDE, "a long one does not, not even its first rows");
        pace.observe(1, 100, ms(20.0 + 490.0));
        assert!(pace.rows(1, 1, 100) <= 2 * FIRST_ROWS_BESIDE);
        for _ in 0..100 {
            pace.observe(1, 0, ms(20.0));
        }
        assert_eq!(pace.rows(1, 1, 100), 100);
    }

    #[test]
    fn many_that_wait_get_more_than_few_that_are_answered() {
        let after = |tokens: usize, prompts: usize| {
            let mut pace = Pace::default();
            pace.observe(tokens, 0, ms(20.0));
            (0..40).fold(0, |_, _| {
                let rows = pace.rows(tokens, prompts, LONG);
                pace.observe(tokens, rows, ms(20.0 + rows as f64));
                rows
            })
        };
        assert!((10..20).contains(&after(1, 1)));
        assert_eq!(after(4, 4), after(1, 1));
        assert_eq!(after(7, 1), after(1, 1));
        assert!(after(1, 7) >= 3 * after(1, 1));
        assert_eq!(after(1, 7), after(1, 63));
    }

    #[test]
    fn a_long_prompt_leaves_nothing_spare_for_its_end() {
        for row in [0.05, 0.1, 0.2, 1.0, 10.0] {
            let mut pace = Pace::default();
            pace.observe(0, 64, ms(64.0 * row));
            pace.rows(0, 1, 64);
            pace.observe(1, 0, ms(20.0));
            let mut left = LONG;
            while left > 0 {
                let rows = pace.rows(1, 1, left).min(left);
                let added = row * rows as f64;
                assert!(added <= 20.0 || rows <= FIRST_ROWS_BESIDE, "{row}: {rows} of {left}");
                pace.observe(1, rows, ms(20.0 + added));
                left -= rows;
            }
        }
    }
}
