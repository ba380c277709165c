//! How much the loss would change without each filter, to first order: the slope of the loss along a gate on what the
//! filter gives, from that to zero (Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", formula 9) or,
//! for `taylor-mean`, to the constant that is to stand in for it. The slopes are measured by whoever can train.

use crate::prune::PerFilter;

/// The measured |slopes|, `[filters]`; none for a layer that was not measured.
#[must_use]
pub fn scores(measured: &PerFilter, layer: usize) -> Option<Vec<f32>> {
    measured.get(&layer).map(|slopes| slopes.iter().map(|slope| slope.abs()).collect())
}
