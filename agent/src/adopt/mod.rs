//! Taking over the workers of the hive before this one: the record of processes, the look at the process table, and the
//! socket at which running workers introduce themselves.

pub mod socket;
pub mod state_file;
