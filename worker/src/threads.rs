//! How many threads compute. Candle takes its number from the environment, once, so it is set before any thread runs.

use crate::args::Args;

/// Files below this size are computed by one thread: handing such small matrices to others costs more than it brings.
const ONE_THREAD_BYTES: u64 = 64 << 20;

/// Physical cores of this machine: more threads than that only get in each other's way.
pub fn physical_cores() -> usize {
    num_cpus::get_physical().max(1)
}

/// Chooses the number of threads if it was left open, and makes it known to Candle. To be called first thing in `main`: in a
/// process that has other threads already Candle keeps its own choice, one per physical core.
pub fn prepare(args: &mut Args) {
    let model_bytes = std::fs::metadata(&args.model).map_or(0, |m| m.len());
    let threads = *args.threads.get_or_insert(choose(model_bytes, physical_cores()));
    if alone() {
        for name in ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"] {
            // SAFETY: this process has no other thread that could read the environment at the same time.
            unsafe { std::env::set_var(name, threads.to_string()) };
        }
    }
}

fn choose(model_bytes: u64, cores: usize) -> u16 {
    if model_bytes < ONE_THREAD_BYTES { 1 } else { u16::try_from(cores).unwrap_or(u16::MAX).max(1) }
}

/// Whether this process has one thread, as far as can be known.
fn alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_models_are_computed_by_one_thread() {
        assert_eq!([choose(2 << 20, 8), choose(1 << 30, 8), choose(1 << 30, 0)], [1, 8, 1]);
    }
}
