//! A few images that stand for all.

use std::path::PathBuf;

use yoloslim_core::labels::Dataset;

/// So many images, or all, spread evenly over the data set.
#[must_use]
pub fn spread(dataset: &Dataset, count: usize) -> Vec<PathBuf> {
    let all = dataset.samples.len();
    let count = count.clamp(all.min(1), all);
    (0..count).map(|i| dataset.samples[i * all / count].image.clone()).collect()
}
