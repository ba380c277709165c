//! What workers exchange in a step, and what they must have in common before the first.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use yoloslim_core::{Error, Result};

use super::loss::LossParts;
use super::options::TrainOptions;
use crate::model::Watch;
use crate::workers::{Pending, Workers};

/// Gradients that travel together: many enough that the time a message takes on its way hardly counts, and few enough
/// that most of a slim net's gradients leave before its backward pass ends.
const BUCKET: usize = 1 << 18;

/// Gradients on their way to the sum over all workers. They leave in buckets as soon as they are complete, while the
/// backward pass goes on in front of them.
pub(super) struct GradientSums<'w> {
    workers: &'w Workers,
    /// Where the gradients that have left begin.
    left: usize,
    under_way: Vec<(Range<usize>, Pending)>,
}

impl<'w> GradientSums<'w> {
    /// None of `len` gradients has left.
    pub fn new(workers: &'w Workers, len: usize) -> Self {
        Self { workers, left: len, under_way: Vec::new() }
    }

    fn start(&mut self, from: usize, gradients: &[f32]) {
        let range = from..self.left;
        self.under_way.extend(self.workers.start_sum(&gradients[range.clone()]).map(|sum| (range, sum)));
        self.left = from;
    }

    /// Sends the rest and puts the sums in place of `gradients`.
    pub fn collect(mut self, gradients: &mut [f32]) {
        if self.left > 0 {
            self.start(0, gradients);
        }
        for (range, sum) in self.under_way {
            gradients[range].copy_from_slice(&sum.wait());
        }
    }
}

impl Watch for GradientSums<'_> {
    fn finished(&mut self, from: usize, gradients: &[f32]) {
        if self.left - from >= BUCKET {
            self.start(from, gradients);
        }
    }
}

/// The sum of all workers' parts of the loss, distillation's being their sum already, and whether any of them was
/// `asked` to stop.
pub(super) fn sum_parts(workers: &Workers, parts: LossParts, asked: bool) -> (LossParts, bool) {
    let mut sums = [parts.boxes, parts.objectness, parts.class, f64::from(u8::from(asked))];
    workers.sum(&mut sums);
    (LossParts { boxes: sums[0], objectness: sums[1], class: sums[2], ..parts }, sums[3] > 0.0)
}

/// Fails on all workers if one starts from other numbers, images and labels (by their fingerprint), options or teacher
/// than the leader.
///
/// # Errors
/// Says which of them differ.
pub(super) fn require_same(
    workers: &Workers,
    numbers: &[f32],
    dataset: &str,
    (options, teacher): (&TrainOptions, &str),
) -> Result<()> {
    if workers.size() == 1 {
        return Ok(());
    }
    let digest = |feed: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        feed(&mut hasher);
        hasher.finish()
    };
    let digests = [
        ("weights", digest(&|h| numbers.iter().for_each(|v| v.to_bits().hash(h)))),
        ("images or labels", digest(&|h| dataset.hash(h))),
        ("options", digest(&|h| format!("{options:?}").hash(h))),
        ("teacher", digest(&|h| teacher.hash(h))),
    ];
    // Halves of 64 bits are whole numbers that a double holds exactly.
    let mine: Vec<f64> = digests.iter().flat_map(|(_, d)| [(d >> 32) as f64, (d & 0xffff_ffff) as f64]).collect();
    let mut leaders = mine.clone();
    workers.from_leader(&mut leaders);
    let mut differ: Vec<f64> =
        mine.chunks(2).zip(leaders.chunks(2)).map(|(a, b)| f64::from(u8::from(a != b))).collect();
    workers.sum(&mut differ);
    let names: Vec<&str> = digests.iter().zip(&differ).filter(|(_, n)| **n > 0.0).map(|((name, _), _)| *name).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::at("mpirun", format!("the workers do not start from the same {}", names.join(", ")))
        .fix("give all of them the same files and options"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::threads;

    #[test]
    fn all_gradients_are_summed_whatever_the_order_of_layers_and_buckets() {
        let len = 2 * BUCKET + 10;
        let sums = threads::run(2, |workers| {
            let mut gradients: Vec<f32> = (0..len).map(|i| (i % 7) as f32 * (1 + workers.rank()) as f32).collect();
            let mut sums = GradientSums::new(workers, len);
            for from in [len - 5, BUCKET + 3, BUCKET, 7] {
                sums.finished(from, &gradients);
            }
            assert_eq!(sums.under_way.len(), 1, "only what fills a bucket leaves early");
            sums.collect(&mut gradients);
            gradients
        });
        for sum in sums {
            assert!(sum.iter().enumerate().all(|(i, g)| *g == (i % 7) as f32 * 3.0));
        }
    }

    #[test]
    fn workers_that_start_from_different_things_all_learn_which() {
        let messages = threads::run(2, |workers| {
            let options = TrainOptions { epochs: 3 + workers.rank(), ..TrainOptions::default() };
            let numbers = [1.0, workers.rank() as f32];
            let teacher = ["a", "b"][workers.rank()];
            assert!(require_same(workers, &numbers[..1], "data", (&TrainOptions::default(), "")).is_ok());
            require_same(workers, &numbers, "data", (&options, teacher)).unwrap_err().to_string()
        });
        assert!(
            messages.iter().all(|m| m.contains("weights, options, teacher") && !m.contains("images")),
            "{messages:?}"
        );
    }
}
