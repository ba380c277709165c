//! Weights in the order that the chosen algorithm reads them.

use super::depthwise;
use super::gemm::{self, Epilogue, Panels};
use super::grid::Grid;
use crate::path::Path;
use crate::shape::ConvShape;

/// Weights of a convolution packed for use: once at load for inference, once a step in training.
///
/// The algorithm is chosen by the shape it was packed for. Batch and image size may differ from those later on.
pub struct PackedConv {
    weights: Weights,
}

enum Weights {
    Depthwise(Vec<f32>),
    Dense(Panels),
}

impl PackedConv {
    /// Packs OIHW weights.
    ///
    /// # Panics
    /// If `weights` does not hold `shape.weights_len()` values or the shape describes no convolution.
    pub fn new(shape: &ConvShape, weights: &[f32]) -> Self {
        Self::direct(shape, weights)
    }

    /// Packs for direct summation, never for a transform: slower, with the least rounding error.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn direct(shape: &ConvShape, weights: &[f32]) -> Self {
        shape.check();
        assert_eq!(weights.len(), shape.weights_len(), "weights of {shape:?}");
        if shape.is_depthwise() {
            return Self { weights: Weights::Depthwise(depthwise::pack(shape, weights)) };
        }
        let (inputs, outputs, taps) = (shape.group_in(), shape.group_out(), shape.taps());
        let panels = Panels::pack(&Grid::forward(shape), shape.groups, outputs, |group, out, input| {
            &weights[((group * outputs + out) * inputs + input) * taps..][..taps]
        });
        Self { weights: Weights::Dense(panels) }
    }

    pub(crate) fn run(&self, path: Path, shape: &ConvShape, x: &[f32], y: &mut [f32], epilogue: Epilogue) {
        let grid = Grid::forward(shape);
        match &self.weights {
            Weights::Depthwise(weights) => depthwise::run(path, &grid, weights, x, y, epilogue),
            Weights::Dense(panels) => gemm::run(path, &grid, panels, x, y, epilogue),
        }
    }
}
