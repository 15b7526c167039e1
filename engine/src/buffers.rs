//! Memory of results that are no longer needed, kept for the next ones: a step then neither asks the operating system for pages nor
//! fills them with zeros.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers that are kept at most; a step has about as many results at a time.
const KEPT: usize = 8;

/// Numbers of any value in lengths of any size.
#[derive(Default)]
pub struct Buffers(Mutex<Vec<Vec<f32>>>);

impl Buffers {
    /// At least `length` numbers of any value.
    pub fn take(&self, length: usize) -> Vec<f32> {
        let mut kept = self.kept();
        let fits = kept.iter().enumerate().filter(|(_, buffer)| buffer.len() >= length);
        match fits.min_by_key(|(_, buffer)| buffer.len()).map(|(index, _)| index) {
            Some(index) => kept.swap_remove(index),
            None => vec![0.0; length],
        }
    }

    /// Keeps a buffer, or the larger ones of those that are kept.
    pub fn give(&self, buffer: Vec<f32>) {
        let mut kept = self.kept();
        kept.push(buffer);
        if kept.len() > KEPT
            && let Some(smallest) = (0..kept.len()).min_by_key(|&index| kept[index].len())
        {
            kept.swap_remove(smallest);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<f32>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_buffer_that_is_long_enough_is_used_again() {
        let buffers = Buffers::default();
        for length in [100, 10, 1000] {
            buffers.give(vec![1.0; length]);
        }
        assert_eq!(buffers.take(11).len(), 100);
        assert_eq!(buffers.take(11).len(), 1000);
        assert_eq!(buffers.take(11), vec![0.0; 11]);
        assert_eq!(buffers.take(5).len(), 10);
    }

    #[test]
    fn no_more_than_a_few_are_kept() {
        let buffers = Buffers::default();
        (1..=100).for_each(|length| buffers.give(vec![0.0; length]));
        let kept: Vec<usize> = buffers.kept().iter().map(Vec::len).collect();
        assert_eq!(kept.len(), KEPT);
        assert!(kept.iter().all(|&length| length > 100 - KEPT));
    }
}
