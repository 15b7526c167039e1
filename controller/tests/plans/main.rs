//! Plans in whole worlds: random ones, and small ones told as transcripts.

mod golden;
mod random;
mod tell;
mod world;
