//! A few images that stand for all.

use std::path::PathBuf;

use yoloslim_core::labels::{Dataset, Sample};

/// The images of so many samples, or of all, spread evenly over the data set.
#[must_use]
pub fn spread(dataset: &Dataset, count: usize) -> Vec<PathBuf> {
    spread_samples(dataset, count).map(|sample| sample.image.clone()).collect()
}

/// So many samples, or all, spread evenly over the data set; at least one, if there is one.
pub fn spread_samples(dataset: &Dataset, count: usize) -> impl Iterator<Item = &Sample> {
    let all: Vec<&Sample> = dataset.samples.iter().collect();
    spread_over(&all, count).into_iter()
}

/// So many of a list, or all, spread evenly over it; at least one, if there is one.
#[must_use]
pub fn spread_over<T: Clone>(all: &[T], count: usize) -> Vec<T> {
    let count = count.clamp(all.len().min(1), all.len());
    (0..count).map(|i| all[i * all.len() / count].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_asked_for_are_taken_from_everywhere() {
        let image = |i: usize| PathBuf::from(i.to_string());
        let sample = |i| Sample { image: image(i), width: i, height: 1, objects: Vec::new() };
        let dataset = Dataset { samples: (0..205).map(sample).collect(), ..Dataset::default() };
        let taken: Vec<usize> = spread_samples(&dataset, 128).map(|sample| sample.width).collect();
        assert_eq!((taken.len(), taken[0], taken[127]), (128, 0, 203));
        assert!(taken.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!([0, 205, 999].map(|count| spread(&dataset, count).len()), [1, 205, 205]);
        assert!(spread(&Dataset::default(), 9).is_empty());
    }
}
