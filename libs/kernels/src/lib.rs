//! Pure arithmetic on the CPU.
