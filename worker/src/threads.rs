//! How many threads compute.

/// Physical cores of this machine: more threads than that only get in each other's way.
pub fn physical_cores() -> usize {
    num_cpus::get_physical().max(1)
}
