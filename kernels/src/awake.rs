//! Threads that don't fall asleep between the layers of a net.

use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Times that a thread looks for work before it lets others have its processor.
const PATIENCE: u32 = 64;
/// How long a thread looks in vain. It may have come to look while it waits inside of a part of the same work, which then goes on only
/// when it stops looking.
const VAIN: Duration = Duration::from_millis(3);

thread_local! {
    /// True on threads that run such work or wait for parts of it: they must not wait for that of others too, of which
    /// one might wait for them.
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a thread of rayon's current pool, whose other threads look for parts of it until it is done.
///
/// A net is a hundred short parallel loops. Threads that sleep between them have to be woken by the operating system for each,
/// which on a virtual machine takes as long as a small layer.
pub fn awake<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_num_threads() == 1 {
        return rayon::scope(|_| work());
    }
    rayon::scope(|_| {
        if TAKEN.get() {
            return work();
        }
        let _taken = Taken::new();
        let done = Done(Arc::default());
        let seen = Arc::clone(&done.0);
        // Not in the scope, which would wait for threads that are busy elsewhere.
        rayon::spawn_broadcast(move |_| attend(&seen));
        work()
    })
}

/// Looks for parts of the work until it is done or there have been none for some time.
fn attend(done: &AtomicBool) {
    if TAKEN.get() {
        return;
    }
    let _taken = Taken::new();
    let (mut idle, mut since) = (0, Instant::now());
    while !done.load(Ordering::Acquire) {
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => (idle, since) = (0, Instant::now()),
            _ if idle < PATIENCE => {
                idle += 1;
                spin_loop();
            }
            _ if since.elapsed() > VAIN => return,
            _ => std::thread::yield_now(),
        }
    }
}

/// Says so when it is dropped, also by a panic.
struct Done(Arc<AtomicBool>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

struct Taken;

impl Taken {
    fn new() -> Self {
        TAKEN.set(true);
        Self
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        TAKEN.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    fn pool() -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap()
    }

    #[test]
    fn work_is_done_by_all_threads_and_inside_of_itself() {
        let sum = |from: usize| (from..from + 1000).into_par_iter().map(|at| at % 7).sum::<usize>();
        let want: usize = (0..20).map(sum).sum();
        let got: usize = pool().install(|| awake(|| (0..20).map(|from| awake(|| sum(from))).sum()));
        assert_eq!(got, want);
    }

    #[test]
    fn several_at_once_do_not_wait_for_each_other() {
        let pool = pool();
        let sums: Vec<usize> = pool.install(|| {
            let each = |at: usize| awake(|| (0..100).map(|_| (0..at).into_par_iter().sum::<usize>()).sum());
            (0..40).into_par_iter().map(each).collect()
        });
        assert_eq!(sums[39], 100 * (0..39).sum::<usize>());
    }

    #[test]
    fn a_thread_that_looks_in_vain_for_work_that_waits_for_it_goes_back() {
        // The work is never done while this is looked for from inside of a part of it: without an end to that both would wait for ever.
        let done = AtomicBool::new(false);
        let (sender, ended) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pool().install(|| attend(&done));
                sender.send(()).unwrap();
            });
            let ended = ended.recv_timeout(Duration::from_secs(60));
            done.store(true, Ordering::Release);
            assert!(ended.is_ok(), "still looking after a minute");
        });
    }

    #[test]
    fn a_panic_comes_through_and_leaves_the_pool_usable() {
        let pool = pool();
        let failing = std::panic::AssertUnwindSafe(|| pool.install(|| awake(|| panic!("in vain"))));
        let panicked = std::panic::catch_unwind(failing);
        assert!(panicked.is_err());
        assert_eq!(pool.install(|| awake(|| 3)), 3);
    }
}
