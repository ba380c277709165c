//! A few images that stand for all.

use std::path::PathBuf;

use yoloslim_core::labels::Dataset;

/// At most `count` images spread evenly over the data set.
#[must_use]
pub fn spread(dataset: &Dataset, count: usize) -> Vec<PathBuf> {
    let step = dataset.samples.len().div_ceil(count.max(1)).max(1);
    dataset.samples.iter().step_by(step).map(|s| s.image.clone()).collect()
}
