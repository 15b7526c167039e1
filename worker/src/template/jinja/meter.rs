//! What a rendering may cost: work and memory, paid before they are spent, and depth.

use super::Failure;
use std::cell::Cell;

/// Deepest nesting of a template's source, counted where its parser calls itself.
pub const MAX_NESTING: usize = 64;
/// Deepest nesting of what runs: bodies, calls of macros, parts of expressions.
const MAX_DEPTH: usize = 200;
/// Units that every rendering has; about a million steps, or 16 MiB that are made.
const BASE: u64 = 64 << 20;
/// Units more for each byte of the request: a long prompt is copied a few times, and many messages are many steps.
const PER_BYTE: u64 = 64;
/// Units that no rendering exceeds.
const MOST: u64 = 512 << 20;
/// One part of an expression, one statement, one value that is visited.
const STEP: u64 = 64;
/// One byte of text that is made, or read by itself.
const BYTE: u64 = 4;
/// One place in a list or in a dictionary, with what belongs to a value on the heap.
const SLOT: u64 = 256;

/// The budget of one rendering. What is empty stays empty.
pub struct Meter {
    left: Cell<u64>,
    depth: Cell<usize>,
}

impl Meter {
    /// For a request of so many bytes.
    pub fn new(input: u64) -> Self {
        let units = BASE.saturating_add(input.saturating_mul(PER_BYTE)).min(MOST);
        Self { left: Cell::new(units), depth: Cell::new(0) }
    }

    /// Pays for one step.
    pub fn step(&self) -> Result<(), Failure> {
        self.pay(STEP)
    }

    /// Pays for bytes that are looked at many at a time: searched, compared, counted.
    pub fn look(&self, bytes: usize) -> Result<(), Failure> {
        self.pay(bytes as u64)
    }

    /// Pays for bytes that are looked at one by one.
    pub fn read(&self, bytes: usize) -> Result<(), Failure> {
        self.pay((bytes as u64).saturating_mul(BYTE))
    }

    /// Pays for bytes of text that are to be made.
    pub fn make(&self, bytes: usize) -> Result<(), Failure> {
        self.pay((bytes as u64).saturating_mul(BYTE))
    }

    /// Pays for places in lists and dictionaries that are to be made.
    pub fn slots(&self, count: usize) -> Result<(), Failure> {
        self.pay((count as u64).saturating_mul(SLOT))
    }

    fn pay(&self, units: u64) -> Result<(), Failure> {
        let left = self.left.get().checked_sub(units);
        self.left.set(left.unwrap_or(0));
        left.map(drop).ok_or_else(|| Failure::new("it takes too many steps, or makes too long texts"))
    }

    /// One level deeper, until the guard is dropped.
    pub fn enter(&self) -> Result<Level<'_>, Failure> {
        if self.depth.get() == MAX_DEPTH {
            return Err(Failure::new("it is nested too deep, or calls itself without end"));
        }
        self.depth.set(self.depth.get() + 1);
        Ok(Level(self))
    }
}

/// A level that was entered.
pub struct Level<'m>(&'m Meter);

impl Drop for Level<'_> {
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get() - 1);
    }
}
