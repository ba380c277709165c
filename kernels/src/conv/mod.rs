//! Convolution and its gradients.

mod depthwise;
mod epilogue;
mod gemm;
mod grid;
mod microkernel;
mod packed;
mod panels;
#[cfg(test)]
mod reference;
mod scheme;
mod scratch;
mod small;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod split;
mod strided;
#[cfg(test)]
mod tests;
mod tile_loops;
mod tiles;
mod transforms;
mod vector;
mod weights_gradient;
mod winograd;

pub use epilogue::Epilogue;
pub use packed::PackedConv;
pub use scratch::Scratch;

use crate::path::Path;
use crate::shape::ConvShape;
use grid::Grid;
use packed::Algorithm;
use panels::{Panels, Weights};
use scheme::{Scheme, Work};
pub(crate) use scratch::Buffer;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use split::available as tile_products_are_available;
use tiles::{Taps, Tiles};
use winograd::Kernel;

/// `y = act(conv(x) + bias) + residual`, see [`Epilogue`].
///
/// # Panics
/// If a slice does not fit the shape, or `packed` was made for other channels or another kernel.
pub fn conv_forward(
    packed: &PackedConv,
    shape: &ConvShape,
    x: &[f32],
    epilogue: Epilogue,
    y: &mut [f32],
    scratch: &mut Scratch,
) {
    forward_on(Path::detect(), packed, shape, x, epilogue, y, scratch);
}

/// [`conv_forward`] with weights (OIHW) that are packed for this one call, in memory of `scratch`. In training this spares
/// the operating system hundreds of megabytes of fresh pages a step, which take as long as the convolutions themselves.
///
/// # Panics
/// If a slice does not fit the shape.
pub fn conv_forward_once(
    shape: &ConvShape,
    weights: &[f32],
    x: &[f32],
    epilogue: Epilogue,
    y: &mut [f32],
    scratch: &mut Scratch,
) {
    let path = Path::detect();
    let packed = PackedConv::in_scratch(path, shape, weights, scratch);
    forward_on(path, &packed, shape, x, epilogue, y, scratch);
    packed.give_back(scratch);
}

/// Gradient `dx` of the input from the gradient `dy` of the output, overwritten or, if `accumulate`, added to.
///
/// # Panics
/// If a slice does not fit the shape.
pub fn conv_backward_data(
    shape: &ConvShape,
    weights: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    accumulate: bool,
    scratch: &mut Scratch,
) {
    backward_data_on(Path::detect(), shape, weights, dy, dx, accumulate, scratch);
}

/// Adds the gradient of the weights (OIHW) to `dw`, from the input `x` and the gradient `dy` of the output.
///
/// # Panics
/// If a slice does not fit the shape.
pub fn conv_backward_weights(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut Scratch) {
    backward_weights_on(Path::detect(), shape, x, dy, dw, scratch);
}

fn forward_on(
    path: Path,
    packed: &PackedConv,
    shape: &ConvShape,
    x: &[f32],
    epilogue: Epilogue,
    y: &mut [f32],
    scratch: &Scratch,
) {
    shape.check();
    assert_eq!(x.len(), shape.input_len(), "input of {shape:?}");
    epilogue.check(shape, y.len());
    packed.run(path, shape, x, y, epilogue, scratch);
}

fn backward_data_on(
    path: Path,
    shape: &ConvShape,
    weights: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    accumulate: bool,
    scratch: &Scratch,
) {
    shape.check();
    assert_eq!(weights.len(), shape.weights_len(), "weights of {shape:?}");
    assert_eq!(dy.len(), shape.output_len(), "output gradient of {shape:?}");
    assert_eq!(dx.len(), shape.input_len(), "input gradient of {shape:?}");
    let epilogue = Epilogue::gradient(accumulate);
    let (inputs, outputs, taps) = (shape.group_in(), shape.group_out(), shape.taps());
    let columns = Weights { values: weights, group: outputs * inputs * taps, column: taps, channel: inputs * taps };
    match Algorithm::of(path, shape, Work::Training) {
        Algorithm::Transformed(scheme) => {
            return transformed_backward_data(path, scheme, shape, weights, dy, dx, epilogue, scratch);
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Algorithm::Split => return split_backward_data(path, shape, columns, dy, dx, epilogue, scratch),
        Algorithm::Direct => {}
    }
    let packed = shape.is_depthwise().then(|| depthwise::pack(shape, weights));
    for grid in Grid::backward(shape) {
        if let Some(packed) = &packed {
            depthwise::run(path, &grid, packed, dy, dx, epilogue);
            continue;
        }
        let memory = scratch.take_memory(weights.len());
        let panels = Panels::pack(path, &grid, (shape.groups, inputs), columns, memory);
        gemm::run(path, &grid, &panels, dy, dx, epilogue);
        scratch.give_back(panels.into_values());
    }
}

/// The input's gradient by products of tiles of halves.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn split_backward_data(
    path: Path,
    shape: &ConvShape,
    weights: Weights,
    dy: &[f32],
    dx: &mut [f32],
    epilogue: Epilogue,
    scratch: &Scratch,
) {
    let grids = Grid::backward(shape);
    let fold = split::folds(&grids);
    let pack = |grid: Grid| {
        let memory = scratch.take_memory(split::Columns::len(&grid, fold, shape.channels_in));
        let columns = split::Columns::pack(&grid, fold, shape.channels_in, weights, memory);
        (grid, columns)
    };
    let packed: Vec<_> = grids.into_iter().map(pack).collect();
    let parts: Vec<_> = packed.iter().map(|(grid, columns)| (grid.clone(), columns)).collect();
    split::run(path, &parts, dy, dx, epilogue, scratch);
    packed.into_iter().for_each(|(_, columns)| scratch.give_back(columns.into_values()));
}

/// The input's gradient by the tiles of a scheme for `y = conv(x)`.
#[expect(clippy::too_many_arguments, reason = "the public signature, the path and the scheme")]
fn transformed_backward_data(
    path: Path,
    scheme: Scheme,
    shape: &ConvShape,
    weights: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    epilogue: Epilogue,
    scratch: &Scratch,
) {
    let scheme = scheme.gradient();
    let (dst, src) = grid::planes(shape);
    let tiles = Tiles::new(scheme, shape.batch, (src, dst), scheme.gradient_pad(shape.pad));
    let (inputs, outputs) = (shape.channels_in, shape.channels_out);
    let taps = Taps { weights, column: 9, channel: inputs * 9, flip: true };
    let memory = scratch.take_memory(Kernel::len(scheme, outputs, inputs));
    let kernel = Kernel::pack(path, scheme, (outputs, inputs), taps, memory);
    winograd::run(path, &tiles, &kernel, dy, dx, epilogue, scratch);
    scratch.give_back(kernel.into_values());
}

fn backward_weights_on(path: Path, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &Scratch) {
    shape.check();
    assert_eq!(x.len(), shape.input_len(), "input of {shape:?}");
    assert_eq!(dy.len(), shape.output_len(), "output gradient of {shape:?}");
    assert_eq!(dw.len(), shape.weights_len(), "weights gradient of {shape:?}");
    if shape.is_depthwise() {
        depthwise::add_weights_gradient(path, shape, x, dy, dw);
        return;
    }
    match Algorithm::of(path, shape, Work::Weights) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Algorithm::Split => split::add_weights_gradient(shape, x, dy, dw, scratch),
        _ => weights_gradient::add(path, shape, x, dy, dw, scratch),
    }
}
