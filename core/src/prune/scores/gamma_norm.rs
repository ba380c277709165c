//! |gamma| times the filter's L2 norm: what the convolution gives and what normalisation makes of it, both.

use super::{gamma, l2};
use crate::network::ConvWeights;

/// |gamma| |w|_2, `[filters]`. Without normalisation gamma counts as 1.
#[must_use]
pub fn scores(weights: &ConvWeights) -> Vec<f32> {
    l2::scores(weights).into_iter().zip(gamma::scale(weights)).map(|(norm, gamma)| norm * gamma).collect()
}
