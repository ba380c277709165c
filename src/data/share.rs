//! Which images of a batch are whose, where workers share it.

use std::ops::Range;

/// One worker's part in every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The worker's number, from 0.
    pub rank: usize,
    /// How many workers there are.
    pub size: usize,
}

impl Share {
    /// All of every batch.
    pub const ALL: Self = Self { rank: 0, size: 1 };

    /// The worker's places in batch `number` of `count` images, where all batches before have `full`. Shares of a batch
    /// differ by at most one image, and so do the sums over all batches so far: who gets one more goes round.
    #[must_use]
    pub fn of(self, number: usize, full: usize, count: usize) -> Range<usize> {
        let (each, more) = (count / self.size, count % self.size);
        let first = number * (full % self.size) % self.size;
        let has_more = |rank: usize| usize::from((rank + self.size - first) % self.size < more);
        let start = (0..self.rank).map(|rank| each + has_more(rank)).sum();
        start..start + each + has_more(self.rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_cover_every_batch_once_and_differ_by_one_at_most(
            size in 1..7_usize, full in 1..20_usize, batches in 1..9_usize, last in 1..20_usize,
        ) {
            let last = last.min(full);
            let mut totals = vec![0; size];
            for number in 0..batches {
                let count = if number + 1 == batches { last } else { full };
                let shares: Vec<_> = (0..size).map(|rank| Share { rank, size }.of(number, full, count)).collect();
                prop_assert_eq!(shares.iter().cloned().flatten().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
                totals.iter_mut().zip(&shares).for_each(|(total, share)| *total += share.len());
                for lengths in [shares.iter().map(Range::len).collect(), totals.clone()] {
                    prop_assert!(lengths.iter().max() <= lengths.iter().min().map(|min| min + 1).as_ref());
                }
            }
        }
    }
}
