//! From the distribution of a tensor's numbers to the range that its grid covers.

mod entropy;
mod min_max;
mod mse;
mod percentile;

use serde::{Deserialize, Serialize};

use super::{Histogram, Quantiser, Scheme};

/// A rule that chooses ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Calibration {
    /// All that was seen.
    MinMax,
    /// All but the outermost ten-thousandth.
    Percentile,
    /// What keeps the distribution's shape best by Kullback and Leibler's divergence.
    Entropy,
    /// What has the least mean squared error.
    #[default]
    Mse,
}

impl Calibration {
    /// Its name, as typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MinMax => "minmax",
            Self::Percentile => "percentile",
            Self::Entropy => "entropy",
            Self::Mse => "mse",
        }
    }

    /// The grid of `scheme` for a tensor distributed like `histogram`, which is seen through `effect`: the identity, or
    /// the activation function that follows.
    #[must_use]
    pub fn grid(self, scheme: Scheme, histogram: &Histogram, effect: &dyn Fn(f32) -> f32) -> Quantiser {
        let range = match self {
            Self::MinMax => min_max::range(histogram),
            Self::Percentile => percentile::range(histogram, scheme.is_symmetric()),
            Self::Entropy => entropy::range(histogram, scheme.is_symmetric()),
            Self::Mse => mse::range(histogram, scheme, effect),
        };
        scheme.activations(range)
    }
}

/// A range cut off at a magnitude.
fn within((low, high): (f32, f32), limit: f32) -> (f32, f32) {
    (low.max(-limit), high.min(limit))
}

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::*;

    /// A bell from -0.1 to 1 with one number far out.
    fn with_outlier() -> Histogram {
        let mut histogram = Histogram::default();
        let normal = |i: i32| (0..12).map(|k| ((i * (2 * k + 1) * 7919) % 1000) as f32 / 1000.0).sum::<f32>() / 12.0;
        let values: Vec<f32> = (0..50_000).map(|i| normal(i) * 1.1 - 0.1).collect();
        (0..20).for_each(|_| histogram.add(&values));
        histogram.add(&[10.0]);
        histogram
    }

    #[test]
    fn all_rules_but_min_max_leave_an_outlier_out() {
        let histogram = with_outlier();
        for scheme in [Scheme::Int8(Profile::OnnxRuntime), Scheme::Int8(Profile::TensorRt)] {
            let high = |rule: Calibration| rule.grid(scheme, &histogram, &|x| x).range().1;
            assert!((high(Calibration::MinMax) - 10.0).abs() < 0.05);
            for rule in [Calibration::Percentile, Calibration::Entropy, Calibration::Mse] {
                assert!((0.5..9.0).contains(&high(rule)), "{rule:?}: {}", high(rule));
            }
        }
    }

    #[test]
    fn even_numbers_are_covered_by_all_rules() {
        let mut histogram = Histogram::default();
        histogram.add(&(0..10_000).map(|i| i as f32 / 1000.0 - 2.0).collect::<Vec<_>>());
        for rule in [Calibration::MinMax, Calibration::Percentile, Calibration::Entropy, Calibration::Mse] {
            let (low, high) = rule.grid(Scheme::Int8(Profile::OnnxRuntime), &histogram, &|x| x).range();
            assert!((low + 2.0).abs() < 0.15 && (high - 8.0).abs() < 0.15, "{rule:?}: {low} to {high}");
        }
    }

    #[test]
    fn tensors_of_zeros_and_of_nothing_have_grids() {
        let mut zeros = Histogram::default();
        zeros.add(&[0.0; 100]);
        for histogram in [Histogram::default(), zeros] {
            for rule in [Calibration::MinMax, Calibration::Percentile, Calibration::Entropy, Calibration::Mse] {
                for scheme in [Scheme::Int8(Profile::OnnxRuntime), Scheme::Int8(Profile::TensorRt), Scheme::Nnie] {
                    let mut zero = [0.0];
                    rule.grid(scheme, &histogram, &|x| x).round(&mut zero);
                    assert_eq!(zero, [0.0], "{rule:?} {scheme:?}");
                }
            }
        }
    }
}
