//! The grid of one tensor, of either scheme.

use serde::{Deserialize, Serialize};

use super::{Linear, NnieLog};

/// The grid that a tensor's numbers are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantiser {
    /// Uniform.
    Linear(Linear),
    /// Logarithmic.
    Log(NnieLog),
}

impl Quantiser {
    /// Sets every number to the grid's nearest.
    pub fn round(&self, values: &mut [f32]) {
        match self {
            Self::Linear(grid) => values.iter_mut().for_each(|v| *v = grid.nearest(*v)),
            Self::Log(grid) => grid.round(values),
        }
    }

    /// The grid's value for `x`.
    #[must_use]
    pub fn nearest(&self, x: f32) -> f32 {
        match self {
            Self::Linear(grid) => grid.nearest(x),
            Self::Log(grid) => grid.nearest(x),
        }
    }

    /// The grid's smallest and largest value.
    #[must_use]
    pub fn range(&self) -> (f32, f32) {
        match self {
            Self::Linear(grid) => grid.range(),
            Self::Log(grid) => grid.range(),
        }
    }
}
