//! What happens to a finished sum of products on its way to memory.

use crate::activation::{Activation, activate_on};
use crate::path::Path;

/// `y = act(sum + bias) + residual`: what a convolution does with its sums before it writes them.
#[derive(Clone, Copy, Default, Debug)]
pub struct Epilogue<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<&'a [f32]>,
    /// Add to what the destination holds.
    pub(crate) accumulate: bool,
}

impl<'a> Epilogue<'a> {
    /// Adds `bias: [channels out]` if there is one, then applies the activation.
    pub fn new(bias: Option<&'a [f32]>, activation: Activation) -> Self {
        Self { bias, activation, residual: None, accumulate: false }
    }

    /// Adds `residual`, of the output's shape, after the activation: the sum of a linear shortcut.
    pub fn with_residual(self, residual: &'a [f32]) -> Self {
        Self { residual: Some(residual), ..self }
    }

    /// The epilogue of a gradient, which is written or, if `accumulate`, added.
    pub(crate) fn gradient(accumulate: bool) -> Self {
        Self { accumulate, ..Self::default() }
    }

    /// Activation and residual of values that start at `start` of the output and have their bias already.
    pub(crate) fn finish(&self, path: Path, start: usize, values: &mut [f32]) {
        activate_on(path, values, self.activation);
        if let Some(residual) = self.residual {
            let residual = &residual[start..start + values.len()];
            path.run(|| values.iter_mut().zip(residual).for_each(|(value, residual)| *value += residual));
        }
    }

    /// Panics on slices that do not fit an output of `channels` channels and `len` values.
    pub(crate) fn check(&self, channels: usize, len: usize) {
        assert!(
            self.bias.is_none_or(|bias| bias.len() == channels),
            "a bias is one value for each of {channels} channels"
        );
        assert!(self.residual.is_none_or(|residual| residual.len() == len), "a residual has the output's {len} values");
    }
}
