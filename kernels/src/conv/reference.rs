//! Slow convolutions in double precision that the fast ones are held to.

use crate::shape::ConvShape;

/// Calls `visit(input index, weight index, output index)` for each product of the convolution.
fn for_each_product(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let (inputs, outputs) = (shape.group_in(), shape.group_out());
    for pixel in 0..shape.output_pixels() {
        let (col, line) = (pixel % shape.out_width(), pixel / shape.out_width());
        let (row, image) = (line % shape.out_height(), line / shape.out_height());
        for tap in 0..shape.taps() {
            let y = row * shape.stride_y + tap / shape.size * shape.dilation;
            let x = col * shape.stride_x + tap % shape.size * shape.dilation;
            if y < shape.pad || x < shape.pad || y - shape.pad >= shape.height || x - shape.pad >= shape.width {
                continue;
            }
            let from = (image * shape.height + y - shape.pad) * shape.width + x - shape.pad;
            for out in 0..shape.channels_out {
                for input in 0..inputs {
                    visit(
                        from * shape.channels_in + out / outputs * inputs + input,
                        (out * inputs + input) * shape.taps() + tap,
                        pixel * shape.channels_out + out,
                    );
                }
            }
        }
    }
}

pub(super) fn forward(shape: &ConvShape, x: &[f32], weights: &[f32]) -> Vec<f64> {
    let mut y = vec![0.0; shape.output_len()];
    for_each_product(shape, |i, w, o| y[o] += x[i] as f64 * weights[w] as f64);
    y
}

pub(super) fn backward_data(shape: &ConvShape, weights: &[f32], dy: &[f32]) -> Vec<f64> {
    let mut dx = vec![0.0; shape.input_len()];
    for_each_product(shape, |i, w, o| dx[i] += dy[o] as f64 * weights[w] as f64);
    dx
}

pub(super) fn backward_weights(shape: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f64> {
    let mut dw = vec![0.0; shape.weights_len()];
    for_each_product(shape, |i, w, o| dw[w] += dy[o] as f64 * x[i] as f64);
    dw
}
