//! Results of numbered jobs, worked out ahead by threads and handed over in order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// An iterator over `job(i)` for `i` of a range, in order, with `threads` threads at most `ahead` jobs ahead.
///
/// Dropping it waits for the jobs under way, not for the ones to come.
pub(crate) struct Prefetch<T> {
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    end: usize,
    ahead: usize,
}

struct State<T> {
    ready: BTreeMap<usize, thread::Result<T>>,
    next_job: usize,
    next_out: usize,
    stopped: bool,
}

impl<T: Send + 'static> Prefetch<T> {
    pub fn new<F>(jobs: Range<usize>, threads: usize, ahead: usize, job: F) -> Self
    where
        F: Fn(usize) -> T + Send + Sync + 'static,
    {
        let state = State { ready: BTreeMap::new(), next_job: jobs.start, next_out: jobs.start, stopped: false };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), end: jobs.end, ahead: ahead.max(1) });
        let job = Arc::new(job);
        let workers = (0..threads.clamp(1, jobs.len().max(1)))
            .map(|_| {
                let (shared, job) = (Arc::clone(&shared), Arc::clone(&job));
                thread::spawn(move || shared.work(&*job))
            })
            .collect();
        Self { shared, workers }
    }
}

impl<T> Shared<T> {
    /// No code panics while it holds the lock, so what it guards is sound even if poisoned.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State<T>>,
        condition: impl FnMut(&mut State<T>) -> bool,
    ) -> MutexGuard<'a, State<T>> {
        self.changed.wait_while(state, condition).unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, job: &dyn Fn(usize) -> T) {
        loop {
            let full = |s: &mut State<T>| !s.stopped && s.next_job < self.end && s.next_job >= s.next_out + self.ahead;
            let mut state = self.wait_while(self.lock(), full);
            if state.stopped || state.next_job >= self.end {
                return;
            }
            let number = state.next_job;
            state.next_job += 1;
            drop(state);
            // A panic is carried to the consumer; swallowed here it would leave the consumer waiting for ever.
            let result = catch_unwind(AssertUnwindSafe(|| job(number)));
            self.lock().ready.insert(number, result);
            self.changed.notify_all();
        }
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let mut state = self.shared.lock();
        let number = state.next_out;
        if number >= self.shared.end {
            return None;
        }
        state = self.shared.wait_while(state, |s| !s.ready.contains_key(&number));
        let result = state.ready.remove(&number)?;
        state.next_out += 1;
        drop(state);
        self.shared.changed.notify_all();
        Some(result.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.shared.end.saturating_sub(self.shared.lock().next_out);
        (left, Some(left))
    }
}

impl<T> ExactSizeIterator for Prefetch<T> {}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            // Its panics were caught and handed over; there's nothing left to learn from it.
            _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        for threads in [0, 1, 2, 7] {
            let squares = Prefetch::new(3..50, threads, 4, |i| {
                if i % 3 == 0 {
                    thread::yield_now();
                }
                i * i
            });
            assert_eq!(squares.len(), 47);
            assert_eq!(squares.collect::<Vec<_>>(), (3..50).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_jobs_are_no_results() {
        assert_eq!(Prefetch::new(5..5, 2, 2, |i| i).next(), None);
    }

    #[test]
    fn workers_never_run_further_ahead_than_allowed() {
        let started = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&started);
        let mut results = Prefetch::new(0..100, 2, 3, move |i| {
            counter.fetch_add(1, Ordering::SeqCst);
            i
        });
        for taken in 1..=20 {
            results.next();
            assert!(started.load(Ordering::SeqCst) <= taken + 3);
        }
        drop(results);
        assert!(started.load(Ordering::SeqCst) <= 23, "dropping starts no further jobs");
    }

    #[test]
    fn a_panic_in_a_job_reaches_the_consumer_at_its_place() {
        let mut results = Prefetch::new(0..3, 1, 3, |i| {
            assert_ne!(i, 1, "job one is broken");
            i
        });
        assert_eq!(results.next(), Some(0));
        assert!(catch_unwind(AssertUnwindSafe(|| results.next())).is_err());
        assert_eq!(results.next(), Some(2));
    }
}
