//! |gamma| of the batch normalisation (Liu et al. 2017, "Learning Efficient Convolutional Networks through Network
//! Slimming").

use crate::network::ConvWeights;

/// |gamma|, `[filters]`. None without normalisation: nothing then scales the filter, so it stays.
#[must_use]
pub fn scores(weights: &ConvWeights) -> Option<Vec<f32>> {
    Some(weights.norm.as_ref()?.gamma.iter().map(|g| g.abs()).collect())
}

/// |gamma|, or 1 where there is no normalisation.
pub(super) fn scale(weights: &ConvWeights) -> Vec<f32> {
    scores(weights).unwrap_or_else(|| vec![1.0; weights.bias.len()])
}
