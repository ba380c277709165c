//! The L1 norm of each filter (Li et al. 2017, "Pruning Filters for Efficient ConvNets").

use super::filters;
use crate::network::ConvWeights;

/// The sum of |w|, `[filters]`; normalisation and bias don't count.
#[must_use]
pub fn scores(weights: &ConvWeights) -> Vec<f32> {
    filters(weights).map(|filter| filter.iter().map(|w| f64::from(w.abs())).sum::<f64>() as f32).collect()
}
