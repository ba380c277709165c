//! Convolution and its gradients.

mod depthwise;
mod gemm;
mod grid;
mod microkernel;
mod packed;
#[cfg(test)]
mod reference;
mod scratch;
#[cfg(test)]
mod tests;
mod weights_gradient;

pub use packed::PackedConv;
pub use scratch::Scratch;

use crate::activation::Activation;
use crate::path::Path;
use crate::shape::ConvShape;
use gemm::{Epilogue, Panels};
use grid::Grid;

/// `y = act(conv(x) + bias)`; without a bias, zero.
///
/// # Panics
/// If a slice does not fit the shape, or `packed` was made for other channels or another kernel.
pub fn conv_forward(
    packed: &PackedConv,
    shape: &ConvShape,
    x: &[f32],
    bias: Option<&[f32]>,
    act: Activation,
    y: &mut [f32],
    scratch: &mut Scratch,
) {
    forward_on(Path::detect(), packed, shape, x, bias, act, y, scratch);
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

#[expect(clippy::too_many_arguments, reason = "the public signature and the path")]
fn forward_on(
    path: Path,
    packed: &PackedConv,
    shape: &ConvShape,
    x: &[f32],
    bias: Option<&[f32]>,
    act: Activation,
    y: &mut [f32],
    _scratch: &Scratch,
) {
    shape.check();
    assert_eq!(x.len(), shape.input_len(), "input of {shape:?}");
    assert_eq!(y.len(), shape.output_len(), "output of {shape:?}");
    assert!(bias.is_none_or(|bias| bias.len() == shape.channels_out), "bias of {shape:?}");
    packed.run(path, shape, x, y, Epilogue { bias, activation: act, accumulate: false });
}

fn backward_data_on(
    path: Path,
    shape: &ConvShape,
    weights: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    accumulate: bool,
    _scratch: &Scratch,
) {
    shape.check();
    assert_eq!(weights.len(), shape.weights_len(), "weights of {shape:?}");
    assert_eq!(dy.len(), shape.output_len(), "output gradient of {shape:?}");
    assert_eq!(dx.len(), shape.input_len(), "input gradient of {shape:?}");
    let epilogue = Epilogue { bias: None, activation: Activation::Linear, accumulate };
    let (inputs, outputs, taps) = (shape.group_in(), shape.group_out(), shape.taps());
    let packed = shape.is_depthwise().then(|| depthwise::pack(shape, weights));
    for grid in Grid::backward(shape) {
        if let Some(packed) = &packed {
            depthwise::run(path, &grid, packed, dy, dx, epilogue);
            continue;
        }
        let panels = Panels::pack(&grid, shape.groups, inputs, |group, input, out| {
            &weights[((group * outputs + out) * inputs + input) * taps..][..taps]
        });
        gemm::run(path, &grid, &panels, dy, dx, epilogue);
    }
}

fn backward_weights_on(path: Path, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &Scratch) {
    shape.check();
    assert_eq!(x.len(), shape.input_len(), "input of {shape:?}");
    assert_eq!(dy.len(), shape.output_len(), "output gradient of {shape:?}");
    assert_eq!(dw.len(), shape.weights_len(), "weights gradient of {shape:?}");
    if shape.is_depthwise() {
        depthwise::add_weights_gradient(path, shape, x, dy, dw);
    } else {
        weights_gradient::add(path, shape, x, dy, dw, scratch);
    }
}
