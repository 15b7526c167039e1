//! The queen: controllers that observe, plan and execute.
