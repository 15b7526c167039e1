//! What the engine's slots hold: which slot a prompt gets, and from which it can copy its beginning. Pure.

use std::cmp::Reverse;

/// Tokens that a copy must bring at least; fewer are computed as quickly.
const MIN_COPY: usize = 8;

#[derive(Debug, Default)]
struct Slot {
    /// What the engine holds.
    tokens: Vec<u32>,
    busy: bool,
    /// When it was released last; 0 is never.
    released: u64,
}

/// The slots of an engine. A slot keeps its tokens after its request has ended.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    clock: u64,
}

impl Slots {
    pub fn new(count: usize) -> Self {
        Self { slots: (0..count).map(|_| Slot::default()).collect(), clock: 0 }
    }

    pub fn any_free(&self) -> bool {
        self.slots.iter().any(|s| !s.busy)
    }

    /// Gives a prompt the free slot with the longest common beginning, of equal ones the one that was not used for the longest
    /// time; returns the slot and how many of its tokens stay. A slot that would lose more than it gives counts as having nothing
    /// in common: its beginning can be copied, its end would be lost.
    pub fn take(&mut self, prompt: &[u32]) -> Option<(usize, usize)> {
        let rank = |slot: &Slot| {
            let common = common(&slot.tokens, prompt);
            let of_use = if common * 2 >= slot.tokens.len() { common } else { 0 };
            (Reverse(of_use), slot.released)
        };
        let free = self.slots.iter().enumerate().filter(|(_, s)| !s.busy);
        let (at, _) = free.min_by_key(|(_, slot)| rank(slot))?;
        let kept = common(&self.slots[at].tokens, prompt);
        let slot = &mut self.slots[at];
        slot.busy = true;
        slot.tokens.truncate(kept);
        Some((at, kept))
    }

    /// The request of a slot has ended.
    pub fn release(&mut self, slot: usize) {
        self.clock += 1;
        self.slots[slot].busy = false;
        self.slots[slot].released = self.clock;
    }

    /// What the slot holds is not to be trusted.
    pub fn forget(&mut self, slot: usize) {
        self.slots[slot].tokens = Vec::new();
    }

    /// The engine computed more tokens of a slot.
    pub fn extend(&mut self, slot: usize, tokens: &[u32]) {
        self.slots[slot].tokens.extend_from_slice(tokens);
    }

    /// The slot from which more of a prompt's beginning can be copied than the `own` tokens that it has, and the length.
    pub fn donor(&self, prompt: &[u32], own: usize) -> Option<(usize, usize)> {
        let known = prompt.get(..own)?;
        let ahead = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, s)| s.tokens.len() >= own + MIN_COPY && s.tokens.starts_with(known));
        let best =
            ahead.map(|(at, s)| (at, own + common(&s.tokens[own..], &prompt[own..]))).max_by_key(|&(_, common)| common);
        best.filter(|&(_, common)| common >= own + MIN_COPY)
    }

    /// The engine copied the beginning of a slot.
    pub fn copy(&mut self, from: usize, to: usize, length: usize) {
        self.slots[to].tokens = self.slots[from].tokens[..length].to_vec();
    }

    /// Tokens that are held in all slots together.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.slots.iter().map(|s| s.tokens.len()).sum()
    }
}

/// Tokens at the beginning of a prompt that are held already, without its last one: that is computed for its logits.
pub(super) fn common(held: &[u32], prompt: &[u32]) -> usize {
    let prompt = &prompt[..prompt.len().saturating_sub(1)];
    held.iter().zip(prompt).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(held: &[&[u32]]) -> Slots {
        let mut slots = Slots::new(held.len());
        for (at, tokens) in held.iter().enumerate() {
            slots.take(&[]).unwrap();
            slots.extend(at, tokens);
        }
        (0..held.len()).for_each(|at| slots.release(at));
        slots
    }

    #[test]
    fn the_longest_common_beginning_wins_then_the_oldest() {
        let mut held = slots(&[&[1, 2, 3], &[1, 2, 3, 4], &[9]]);
        assert_eq!(held.take(&[1, 2, 3, 4, 5]), Some((1, 4)));
        assert_eq!(held.take(&[1, 2, 3, 4, 5]), Some((0, 3)));
        assert_eq!(held.take(&[7]), Some((2, 0)));
        assert_eq!((held.take(&[7]), held.any_free()), (None, false));
        let mut held = slots(&[&[1], &[1]]);
        held.take(&[1, 2]).unwrap();
        held.release(0);
        assert_eq!(held.take(&[1, 2]), Some((1, 1)), "slot 0 was used later");
    }

    #[test]
    fn the_last_token_is_always_computed() {
        let mut held = slots(&[&[1, 2, 3]]);
        assert_eq!(held.take(&[1, 2, 3]), Some((0, 2)));
        assert_eq!(common(&[1, 2], &[]), 0);
    }

    #[test]
    fn a_long_tail_is_not_given_up_for_a_short_beginning() {
        let talk: Vec<u32> = (0..100).collect();
        let mut held = Slots::new(2);
        let (first, _) = held.take(&talk).unwrap();
        held.extend(first, &talk);
        held.release(first);
        let prompt: Vec<u32> = (0..20).chain(500..520).collect();
        assert_eq!(held.take(&prompt), Some((1, 0)));
        assert_eq!(held.donor(&prompt, 0), Some((0, 20)), "it is copied instead");
        held.copy(0, 1, 20);
        assert_eq!((held.donor(&prompt, 20), held.held()), (None, 120));
        assert_eq!(held.take(&prompt), Some((0, 20)), "where no other is free its beginning stays");
    }

    #[test]
    fn donors_hold_more_of_the_same() {
        let long: Vec<u32> = (0..50).collect();
        let held = slots(&[&long[..30], &long[..40], &[0, 7, 7, 7, 7, 7, 7, 7, 7, 7]]);
        assert_eq!(held.donor(&long, 0), Some((1, 40)));
        assert_eq!(held.donor(&long, 25), Some((1, 40)));
        assert_eq!(held.donor(&long, 38), None, "two tokens are not worth a copy");
        assert_eq!(held.donor(&long[..5], 0), None);
        let mut held = held;
        held.forget(1);
        assert_eq!(held.donor(&long, 0), Some((0, 30)));
    }
}
