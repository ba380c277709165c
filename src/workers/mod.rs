//! Processes that do one training together: sums over all of them, which run while each computes on.
//!
//! Every worker calls the same sums in the same order. All that the training does beyond them (which share of a batch
//! is whose, who writes) follows from a worker's rank.

#[cfg(not(feature = "mpi"))]
mod disabled;
#[cfg(feature = "mpi")]
mod enabled;
mod launcher;
#[cfg(test)]
pub(crate) mod threads;

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use yoloslim_core::{Error, Result};

/// Numbers to add up over all workers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    /// Gradients.
    Single(Vec<f32>),
    /// Whatever is little and should be exact.
    Double(Vec<f64>),
}

/// What carries numbers from worker to worker. It has no errors to report: one that fails ends the process and thereby
/// the job.
pub(crate) trait Link: Send + Sync {
    /// This worker's number, from 0.
    fn rank(&self) -> usize;
    /// How many workers there are.
    fn size(&self) -> usize;
    /// Starts to add up; the sum, the same on all workers to the bit, comes through the channel.
    fn start(&self, values: Values) -> Receiver<Values>;
    /// Ends the link in good order, once every worker has come here.
    fn leave(&self);
    /// Ends all workers at once, this one included.
    fn abort(&self) -> !;
}

/// The workers of a training, as one of them sees them.
#[derive(Clone, Default)]
pub struct Workers {
    /// None where this process works alone.
    link: Option<Arc<dyn Link>>,
}

/// A sum under way.
pub struct Pending(Receiver<Values>);

impl Pending {
    /// Waits for the sum, asleep.
    ///
    /// # Panics
    /// If the link is gone, which ends the process by itself before.
    #[must_use]
    pub fn wait(self) -> Vec<f32> {
        match receive(&self.0) {
            Values::Single(values) => values,
            Values::Double(_) => unreachable!("a sum is of the kind of its terms"),
        }
    }
}

fn receive(sums: &Receiver<Values>) -> Values {
    sums.recv().expect("a link answers every sum or ends the process")
}

impl Workers {
    /// Joins the workers that this process was started with by `mpirun` or the like; alone where there are none.
    ///
    /// # Errors
    /// Several workers in a build without MPI: each would do the whole training.
    pub fn join() -> Result<Self> {
        #[cfg(feature = "mpi")]
        return enabled::join();
        #[cfg(not(feature = "mpi"))]
        disabled::join()
    }

    /// Refuses several processes for what one of them does as fast.
    ///
    /// # Errors
    /// More than one process started by `mpirun` or the like.
    pub fn require_one() -> Result<()> {
        match launcher::size(|name| std::env::var(name).ok()) {
            0 | 1 => Ok(()),
            size => {
                Err(Error::at("mpirun", format!("{size} processes were started, but only train and slim share work"))
                    .fix("start one process"))
            }
        }
    }

    /// This process and no other.
    #[must_use]
    pub fn alone() -> Self {
        Self::default()
    }

    #[cfg(any(test, feature = "mpi"))]
    pub(crate) fn linked(link: Arc<dyn Link>) -> Self {
        Self { link: Some(link) }
    }

    /// This worker's number, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.rank())
    }

    /// How many workers there are, at least 1.
    #[must_use]
    pub fn size(&self) -> usize {
        self.link.as_ref().map_or(1, |link| link.size())
    }

    /// Whether this worker is the one that writes, prints and validates.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// Starts to add `values` up over all workers; none where there is nobody to add to, and `values` are the sum.
    #[must_use]
    pub fn start_sum(&self, values: &[f32]) -> Option<Pending> {
        let link = self.link.as_ref()?;
        Some(Pending(link.start(Values::Single(values.to_vec()))))
    }

    /// Adds `values` up over all workers and waits for the sum, asleep.
    pub fn sum(&self, values: &mut [f64]) {
        let Some(link) = &self.link else { return };
        match receive(&link.start(Values::Double(values.to_vec()))) {
            Values::Double(sum) => values.copy_from_slice(&sum),
            Values::Single(_) => unreachable!("a sum is of the kind of its terms"),
        }
    }

    /// Gives every worker the leader's `values`.
    pub fn from_leader(&self, values: &mut [f64]) {
        if !self.leads() {
            values.fill(0.0);
        }
        self.sum(values);
    }

    /// Gives every worker a number that the leader may have.
    #[must_use]
    pub fn option_from_leader(&self, value: Option<f64>) -> Option<f64> {
        let mut pair = [f64::from(u8::from(value.is_some())), value.unwrap_or(0.0)];
        self.from_leader(&mut pair);
        (pair[0] > 0.0).then_some(pair[1])
    }

    /// Waits, asleep, until every worker is here.
    pub fn meet(&self) {
        self.sum(&mut [0.0]);
    }

    /// Waits for all workers and parts from them in good order.
    pub fn leave(&self) {
        self.meet();
        self.link.iter().for_each(|link| link.leave());
    }

    /// Ends all workers at once, where there are others.
    pub fn abort(&self) {
        if let Some(link) = &self.link {
            link.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_a_sum_is_what_it_is_of() {
        let workers = Workers::alone();
        let mut values = [1.0, 2.0];
        workers.sum(&mut values);
        assert_eq!(values, [1.0, 2.0]);
        assert!(workers.leads() && workers.size() == 1 && workers.start_sum(&[1.0]).is_none());
    }

    #[test]
    fn every_worker_gets_the_sum_and_what_the_leader_has() {
        let results = threads::run(3, |workers| {
            let first = workers.start_sum(&[workers.rank() as f32, 1.0]).expect("there are others");
            let second = workers.start_sum(&[10.0]).expect("there are others");
            let shared = workers.option_from_leader(workers.leads().then_some(0.25));
            workers.meet();
            (second.wait(), first.wait(), shared)
        });
        assert_eq!(results, vec![(vec![30.0], vec![3.0, 3.0], Some(0.25)); 3]);
    }
}
