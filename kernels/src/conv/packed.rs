//! Weights in the order that the chosen algorithm reads them.

use super::epilogue::Epilogue;
use super::gemm;
use super::grid::{self, Grid};
use super::panels::{self, Panels};
use super::scheme::{Scheme, Work};
use super::tiles::{Taps, Tiles};
use super::winograd::{self, Kernel};
use super::{Scratch, depthwise};
use crate::path::Path;
use crate::pool::max_pool;
use crate::shape::ConvShape;

/// Weights of a convolution packed once and used many times, for inference. In training, where weights change each step,
/// [`super::conv_forward_once`] packs into reused memory.
///
/// The algorithm is chosen by the shape it was packed for. Batch and image size may differ from those later on.
pub struct PackedConv {
    weights: Weights,
    kernel: KernelShape,
}

/// What weights are packed for: channels in and out, size, strides, padding, dilation, groups.
type KernelShape = [usize; 8];

fn kernel_shape(s: &ConvShape) -> KernelShape {
    [s.channels_in, s.channels_out, s.size, s.stride_y, s.stride_x, s.pad, s.dilation, s.groups]
}

enum Weights {
    Depthwise(Vec<f32>),
    Dense(Panels),
    Folded(Panels),
    Transformed(Kernel),
}

impl PackedConv {
    /// Packs OIHW weights.
    ///
    /// # Panics
    /// If `weights` does not hold `shape.weights_len()` values or the shape describes no convolution.
    pub fn new(shape: &ConvShape, weights: &[f32]) -> Self {
        Self::pack(shape, weights, Scheme::of(shape, Work::Inference), Vec::new())
    }

    /// Packs for direct summation, never for a transform: slower, with the least rounding error.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn direct(shape: &ConvShape, weights: &[f32]) -> Self {
        Self::pack(shape, weights, None, Vec::new())
    }

    /// As [`Self::new`], in memory of the pool, to which [`Self::give_back`] returns it.
    pub(crate) fn in_scratch(shape: &ConvShape, weights: &[f32], scratch: &Scratch) -> Self {
        if shape.is_depthwise() {
            return Self::pack(shape, weights, None, Vec::new());
        }
        let scheme = Scheme::of(shape, Work::Training);
        let transformed = |scheme| Kernel::len(scheme, shape.channels_in, shape.channels_out);
        Self::pack(shape, weights, scheme, scratch.take_memory(scheme.map_or(weights.len(), transformed)))
    }

    pub(crate) fn give_back(self, scratch: &Scratch) {
        scratch.give_back(match self.weights {
            Weights::Depthwise(values) => values,
            Weights::Dense(panels) | Weights::Folded(panels) => panels.into_values(),
            Weights::Transformed(kernel) => kernel.into_values(),
        });
    }

    /// Packs into `memory` for a scheme, or for direct summation.
    pub(super) fn pack(shape: &ConvShape, weights: &[f32], scheme: Option<Scheme>, memory: Vec<f32>) -> Self {
        shape.check();
        assert_eq!(weights.len(), shape.weights_len(), "weights of {shape:?}");
        let (inputs, outputs, taps) = (shape.group_in(), shape.group_out(), shape.taps());
        let (column, group) = (inputs * taps, outputs * inputs * taps);
        let columns = panels::Weights { values: weights, group, column, channel: taps };
        let size = (shape.groups, outputs);
        let panels = |memory| Panels::pack(Path::detect(), &Grid::forward(shape), size, columns, memory);
        let weights = if shape.is_depthwise() {
            Weights::Depthwise(depthwise::pack(shape, weights))
        } else if let Some(scheme) = scheme {
            let taps = Taps { weights, column: inputs * 9, channel: 9, flip: false };
            Weights::Transformed(Kernel::pack(Path::detect(), scheme, (inputs, outputs), taps, memory))
        } else if grid::folds(shape) {
            Weights::Folded(panels(memory))
        } else {
            Weights::Dense(panels(memory))
        };
        Self { weights, kernel: kernel_shape(shape) }
    }

    pub(crate) fn run(
        &self,
        path: Path,
        shape: &ConvShape,
        x: &[f32],
        y: &mut [f32],
        epilogue: Epilogue,
        scratch: &Scratch,
    ) {
        assert_eq!(kernel_shape(shape), self.kernel, "the weights were packed for another kernel");
        if epilogue.pooled && matches!(self.weights, Weights::Depthwise(_) | Weights::Dense(_)) {
            let mut map = scratch.take(shape.output_len());
            self.run(path, shape, x, &mut map, Epilogue { pooled: false, ..epilogue }, scratch);
            return max_pool(&shape.pooled(), &map, y, None);
        }
        match &self.weights {
            Weights::Depthwise(weights) => depthwise::run(path, &Grid::forward(shape), weights, x, y, epilogue),
            Weights::Dense(panels) => gemm::run(path, &Grid::forward(shape), panels, x, y, epilogue),
            Weights::Folded(panels) => {
                let mut padded = scratch.take(grid::padded_len(shape));
                grid::pad(shape, x, &mut padded);
                let grid = Grid::folded(shape);
                if epilogue.pooled {
                    gemm::run_pooled(path, &grid, panels, &padded, y, epilogue, scratch);
                } else {
                    gemm::run(path, &grid, panels, &padded, y, epilogue);
                }
            }
            Weights::Transformed(kernel) => {
                let tiles = Tiles::new(kernel.scheme(), shape.batch, grid::planes(shape), shape.pad);
                winograd::run(path, &tiles, kernel, x, y, epilogue, scratch);
            }
        }
    }
}
