//! |gamma| times how much the filter's activation varies over images: a filter that always gives the same can be
//! replaced by that constant, however large its gamma.

use super::gamma;
use crate::network::ConvWeights;
use crate::prune::PerFilter;

/// |gamma| times the measured standard deviation, `[filters]`; without normalisation gamma counts as 1. None for a
/// layer that was not measured.
#[must_use]
pub fn scores(weights: &ConvWeights, measured: &PerFilter, layer: usize) -> Option<Vec<f32>> {
    let deviations = measured.get(&layer)?;
    Some(gamma::scale(weights).into_iter().zip(deviations).map(|(gamma, d)| gamma * d).collect())
}
