//! The L2 norm of each filter (He et al. 2018, "Soft Filter Pruning").

use super::filters;
use crate::network::ConvWeights;

/// The root of the sum of w^2, `[filters]`; normalisation and bias don't count.
#[must_use]
pub fn scores(weights: &ConvWeights) -> Vec<f32> {
    filters(weights).map(|filter| filter.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt() as f32).collect()
}
