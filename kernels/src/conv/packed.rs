//! Weights in the order that the chosen algorithm reads them.

use super::epilogue::Epilogue;
use super::gemm;
use super::grid::{self, Grid};
use super::panels::{self, Panels};
use super::scheme::{Scheme, Work, direct_only};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::split;
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
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Split(split::Columns),
}

/// How a convolution is computed that is not depth-wise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {
    /// By direct sums.
    Direct,
    /// On transformed tiles.
    Transformed(Scheme),
    /// By products of tiles of halves, see [`split`].
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Split,
}

/// Products of a convolution from which on tiles of halves are worth it: before, they take as long as plain sums, which are more
/// precise.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const ENOUGH_PRODUCTS: usize = 1 << 20;

impl Algorithm {
    /// The fastest one on this path.
    pub(super) fn of(path: Path, shape: &ConvShape, work: Work) -> Self {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if path == Path::Amx
            && shape.groups == 1
            && shape.output_pixels() * shape.weights_len() >= ENOUGH_PRODUCTS
            && !direct_only()
        {
            return Self::Split;
        }
        let _ = path;
        Scheme::of(shape, work).map_or(Self::Direct, Self::Transformed)
    }
}

impl PackedConv {
    /// Packs OIHW weights.
    ///
    /// # Panics
    /// If `weights` does not hold `shape.weights_len()` values or the shape describes no convolution.
    pub fn new(shape: &ConvShape, weights: &[f32]) -> Self {
        Self::new_on(Path::detect(), shape, weights)
    }

    /// [`Self::new`] for a path, and those that the same algorithms are for.
    pub(super) fn new_on(path: Path, shape: &ConvShape, weights: &[f32]) -> Self {
        Self::pack(shape, weights, Algorithm::of(path, shape, Work::Inference), Vec::new())
    }

    /// Packs for direct summation in `f32`: slower, with the least rounding error.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn direct(shape: &ConvShape, weights: &[f32]) -> Self {
        Self::pack(shape, weights, Algorithm::Direct, Vec::new())
    }

    /// As [`Self::new_on`], in memory of the pool, to which [`Self::give_back`] returns it.
    pub(crate) fn in_scratch(path: Path, shape: &ConvShape, weights: &[f32], scratch: &Scratch) -> Self {
        if shape.is_depthwise() {
            return Self::pack(shape, weights, Algorithm::Direct, Vec::new());
        }
        let algorithm = Algorithm::of(path, shape, Work::Training);
        let len = match algorithm {
            Algorithm::Direct => weights.len(),
            Algorithm::Transformed(scheme) => Kernel::len(scheme, shape.channels_in, shape.channels_out),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Algorithm::Split => {
                let grid = Grid::forward(shape);
                split::Columns::len(&grid, split::folds(std::slice::from_ref(&grid)), shape.channels_out)
            }
        };
        Self::pack(shape, weights, algorithm, scratch.take_memory(len))
    }

    pub(crate) fn give_back(self, scratch: &Scratch) {
        scratch.give_back(match self.weights {
            Weights::Depthwise(values) => values,
            Weights::Dense(panels) | Weights::Folded(panels) => panels.into_values(),
            Weights::Transformed(kernel) => kernel.into_values(),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Weights::Split(columns) => columns.into_values(),
        });
    }

    /// Packs into `memory` for an algorithm.
    pub(super) fn pack(shape: &ConvShape, weights: &[f32], algorithm: Algorithm, memory: Vec<f32>) -> Self {
        shape.check();
        assert_eq!(weights.len(), shape.weights_len(), "weights of {shape:?}");
        let (inputs, outputs, taps) = (shape.group_in(), shape.group_out(), shape.taps());
        let (column, group) = (inputs * taps, outputs * inputs * taps);
        let columns = panels::Weights { values: weights, group, column, channel: taps };
        let size = (shape.groups, outputs);
        let panels = |memory| Panels::pack(Path::detect(), &Grid::forward(shape), size, columns, memory);
        let weights = match algorithm {
            _ if shape.is_depthwise() => Weights::Depthwise(depthwise::pack(shape, weights)),
            Algorithm::Transformed(scheme) => {
                let taps = Taps { weights, column: inputs * 9, channel: 9, flip: false };
                Weights::Transformed(Kernel::pack(Path::detect(), scheme, (inputs, outputs), taps, memory))
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Algorithm::Split => {
                let grid = Grid::forward(shape);
                let fold = split::folds(std::slice::from_ref(&grid));
                Weights::Split(split::Columns::pack(&grid, fold, outputs, columns, memory))
            }
            Algorithm::Direct if grid::folds(shape) => Weights::Folded(panels(memory)),
            Algorithm::Direct => Weights::Dense(panels(memory)),
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
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Weights::Split(columns) => {
                split::run(path, &[(Grid::forward(shape), columns)], x, y, epilogue, scratch);
            }
        }
    }
}
