//! When a training ends before its last epoch.

use yoloslim_core::record::EpochRecord;

/// The epoch (from 0) with the best mAP@0.5, if `patience` epochs have passed since and the last of them was measured
/// and no better.
///
/// It depends on the record alone, so that a resumed run ends where the whole one does.
pub(super) fn exhausted(epochs: &[EpochRecord], patience: usize) -> Option<usize> {
    let measured = epochs.iter().filter_map(|epoch| Some((epoch.epoch, epoch.map50?)));
    // The first of equals: standing still is no progress.
    let best = measured.reduce(|best, next| if next.1 > best.1 { next } else { best })?.0;
    let last = epochs.last().filter(|last| last.map50.is_some())?;
    (last.epoch - best >= patience).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_the_first_best_epoch_that_was_measured() {
        let epochs = |map50: &[Option<f64>]| -> Vec<EpochRecord> {
            let epoch =
                |(epoch, map50): (usize, &Option<f64>)| EpochRecord { epoch, map50: *map50, ..EpochRecord::default() };
            map50.iter().enumerate().map(epoch).collect()
        };
        let risen = epochs(&[Some(0.1), Some(0.3), None, Some(0.3), Some(0.2)]);
        assert_eq!(exhausted(&risen, 3), Some(1));
        assert_eq!(exhausted(&risen, 4), None);
        let unmeasured = epochs(&[Some(0.1), Some(0.3), None, None, None]);
        assert_eq!(exhausted(&unmeasured, 2), None);
        assert_eq!(exhausted(&epochs(&[None, None, None]), 1), None);
        assert_eq!(exhausted(&[], 1), None);
    }
}
