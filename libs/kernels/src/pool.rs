//! Threads that share the tasks of one call: they spin for a moment after each, then sleep until the next.
//!
//! Every thread has its own share of a call's tasks, which follow each other: they mostly work on memory that lies in one piece.
//! A call costs no allocation. A thread that comes late, because the machine is busy, is not waited for: the others take
//! its tasks when theirs are done.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::hint::spin_loop;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Looks at the state before a thread sleeps: some tens of microseconds, longer than the gap between two kernels of a step.
const SPINS: u32 = 2000;

/// Set in the state while a call's tasks may be joined. Below it: threads inside. Above it: the number of the call.
const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;

thread_local! {
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// A fixed number of threads, the caller's among them, that run the tasks of one call at a time.
pub struct Pool {
    shared: Arc<Shared>,
    calls: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

type Task = dyn Fn(usize) + Sync;

#[derive(Clone, Copy)]
struct Job {
    task: *const Task,
    tasks: usize,
}

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Next(AtomicUsize);

struct Shared {
    state: AtomicU64,
    /// For each thread, the caller's first: the next task of its share.
    next: Box<[Next]>,
    job: UnsafeCell<Option<Job>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stopped: AtomicBool,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written only by the thread that holds `Pool::calls`, while the state is not OPEN and nobody is inside,
// and read only by threads that are inside. The task behind its pointer is Sync and outlives the call.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is used only between the opening and the end of a call.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` threads, one of which is the caller of [`Pool::run`]; 0 counts as 1.
    pub fn new(threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: (0..threads.max(1)).map(|_| Next::default()).collect(),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            stopped: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut pool = Self { shared, calls: Mutex::new(()), workers: Vec::new() };
        for i in 1..threads {
            let shared = pool.shared.clone();
            let worker = std::thread::Builder::new().name(format!("kernels-{i}")).spawn(move || shared.work(i))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// How many threads there are, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0)` to `task(tasks - 1)`, each once, on any of the threads, and returns when all are done. Inside of a
    /// task it runs them one after the other. A panic of a task goes on in the caller.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.workers.is_empty() || IN_TASK.get() {
            return (0..tasks).for_each(task);
        }
        let _one_call = lock(&self.calls);
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed. No thread reads the pointer after `close` has returned, below.
        let task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), *const Task>(task) };
        // SAFETY: the state is not OPEN and nobody is inside, see `impl Sync`.
        unsafe { *shared.job.get() = Some(Job { task, tasks }) };
        for (thread, next) in shared.next.iter().enumerate() {
            next.0.store(shared.share(thread, tasks), Ordering::Relaxed);
        }
        shared.state.fetch_add((OPEN << 1) | OPEN, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = lock(&shared.sleep);
            shared.wake.notify_all();
        }
        shared.run_tasks(Job { task, tasks }, 0);
        shared.close();
        if let Some(panic) = lock(&shared.panic).take() {
            resume_unwind(panic);
        }
    }

    /// Runs `task(i, row i of data)` for all rows of `row` elements; the last one may be shorter.
    pub fn run_rows<T: Send>(&self, data: &mut [T], row: usize, task: &(dyn Fn(usize, &mut [T]) + Sync)) {
        let (rows, length) = (data.len().div_ceil(row), data.len());
        let data = SendPtr(data.as_mut_ptr());
        self.run(rows, &|i| {
            let from = i * row;
            // SAFETY: rows do not overlap, each index is run once, and `data` is borrowed for the whole call.
            let row = unsafe { std::slice::from_raw_parts_mut(data.at(from), row.min(length - from)) };
            task(i, row);
        });
    }
}

/// A pointer into a slice whose parts are written by different threads.
pub(crate) struct SendPtr<T>(pub(crate) *mut T);

// SAFETY: users write disjoint parts only.
unsafe impl<T: Send> Sync for SendPtr<T> {}

impl<T> SendPtr<T> {
    /// # Safety
    /// `i` lies inside of the slice.
    pub(crate) unsafe fn at(&self, i: usize) -> *mut T {
        // SAFETY: the caller's.
        unsafe { self.0.add(i) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        {
            let _guard = lock(&self.shared.sleep);
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self, thread: usize) {
        let mut seen = 0;
        while let Some(call) = self.wait_for_call_after(seen) {
            seen = call;
            if !self.enter() {
                continue;
            }
            // SAFETY: this thread is inside, so the job stays until it leaves.
            if let Some(job) = unsafe { *self.job.get() } {
                self.run_tasks(job, thread);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// The number of a call later than `seen`; None when the pool ends.
    fn wait_for_call_after(&self, seen: u64) -> Option<u64> {
        let look = || {
            let call = self.state.load(Ordering::SeqCst) / (OPEN << 1);
            (call != seen).then_some(call)
        };
        let mut spins = 0;
        loop {
            if self.stopped.load(Ordering::SeqCst) {
                return None;
            }
            if let Some(call) = look() {
                return Some(call);
            }
            if spins < SPINS {
                spins += 1;
                spin_loop();
                continue;
            }
            let mut guard = lock(&self.sleep);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            while look().is_none() && !self.stopped.load(Ordering::SeqCst) {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
            drop(guard);
            spins = 0;
        }
    }

    /// Joins the call that is open; false when it has ended meanwhile.
    fn enter(&self) -> bool {
        let join = |state: u64| (state & OPEN != 0).then_some(state + 1);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, join).is_ok()
    }

    /// Lets nobody in any more, and waits for those inside.
    fn close(&self) {
        let mut state = self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while state & INSIDE != 0 {
            if spins < SPINS {
                spins += 1;
                spin_loop();
            } else {
                std::thread::yield_now();
            }
            state = self.state.load(Ordering::Acquire);
        }
    }

    /// The first task of a thread's share; of the thread after the last one, the number of all tasks.
    fn share(&self, thread: usize, tasks: usize) -> usize {
        thread * tasks / self.next.len()
    }

    /// Runs what is left of the thread's share, then of the others'.
    fn run_tasks(&self, job: Job, thread: usize) {
        IN_TASK.set(true);
        // SAFETY: the caller of `run` keeps the task alive until nobody is inside.
        let task = unsafe { &*job.task };
        let ran = catch_unwind(AssertUnwindSafe(|| {
            for share in (thread..self.next.len()).chain(0..thread) {
                let end = self.share(share + 1, job.tasks);
                loop {
                    let i = self.next[share].0.fetch_add(1, Ordering::Relaxed);
                    if i >= end {
                        break;
                    }
                    task(i);
                }
            }
        }));
        IN_TASK.set(false);
        if let Err(panic) = ran {
            *lock(&self.panic) = Some(panic);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_the_number_of_threads() {
        for threads in [0, 1, 2, 5] {
            let pool = Pool::new(threads).unwrap();
            for tasks in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|n| n.load(Ordering::Relaxed) == 1), "{threads} threads, {tasks} tasks");
            }
        }
    }

    #[test]
    fn many_small_calls_follow_each_other() {
        let pool = Pool::new(3).unwrap();
        let sum = AtomicUsize::new(0);
        for _ in 0..20_000 {
            pool.run(3, &|i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.into_inner(), 60_000);
    }

    #[test]
    fn threads_that_slept_wake_up() {
        let pool = Pool::new(2).unwrap();
        let started = std::sync::Barrier::new(2);
        for _ in 0..3 {
            while pool.shared.sleepers.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            pool.run(2, &|_| {
                started.wait();
            });
        }
    }

    #[test]
    fn several_callers_take_turns() {
        let pool = Pool::new(2).unwrap();
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        pool.run(4, &|i| {
                            sum.fetch_add(i, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 3 * 500 * 6);
    }

    #[test]
    fn a_call_inside_of_a_task_runs_in_its_thread() {
        let pool = Pool::new(2).unwrap();
        let sum = AtomicUsize::new(0);
        pool.run(4, &|_| {
            pool.run(4, &|i| {
                sum.fetch_add(i, Ordering::Relaxed);
            })
        });
        assert_eq!(sum.into_inner(), 24);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(2).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| pool.run(8, &|i| assert_ne!(i, 5, "task 5"))));
        assert!(caught.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(4, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 6);
    }
}
