//! How much the loss would change without each filter, to first order (Molchanov et al. 2019, "Importance Estimation
//! for Neural Network Pruning"): the slope of the loss along a gate on the filter's output is gamma dL/dgamma +
//! beta dL/dbeta, or w dL/dw + b dL/db without normalisation. The gradients are measured by whoever can train.

use crate::prune::PerFilter;

/// The measured |slopes|, `[filters]`; none for a layer that was not measured.
#[must_use]
pub fn scores(measured: &PerFilter, layer: usize) -> Option<Vec<f32>> {
    measured.get(&layer).map(|slopes| slopes.iter().map(|slope| slope.abs()).collect())
}
