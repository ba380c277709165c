//! Depth-wise convolution: each output channel sees one input channel, its own. Channels run along the vectors.

use super::epilogue::Epilogue;
use super::grid::Grid;
use crate::path::{Path, for_each_path};
use crate::shape::ConvShape;
use crate::share::SharedMut;
use rayon::prelude::*;

/// Pixels in a task.
const BLOCK: usize = 256;
/// Partial sums of the weights' gradient, added in order.
const PARTS: usize = 16;

/// Weights as `[tap][channel]`, from `[channel][tap]`.
pub(crate) fn pack(shape: &ConvShape, weights: &[f32]) -> Vec<f32> {
    let (taps, channels) = (shape.taps(), shape.channels_out);
    (0..taps * channels).map(|at| weights[at % channels * taps + at / channels]).collect()
}

/// Computes the whole grid from weights packed by [`pack`].
pub(crate) fn run(path: Path, grid: &Grid, weights: &[f32], src: &[f32], dst: &mut [f32], epilogue: Epilogue) {
    let channels = grid.dst.channels;
    let out = SharedMut::new(dst);
    (0..grid.pixels().div_ceil(BLOCK)).into_par_iter().for_each(|block| {
        let mut sums = vec![0.0; channels];
        for position in grid.positions(block * BLOCK..grid.pixels().min((block + 1) * BLOCK)) {
            match epilogue.bias {
                Some(bias) => sums.copy_from_slice(bias),
                None => sums.fill(0.0),
            }
            for &tap in &grid.taps {
                if let Some(from) = grid.source(position, tap) {
                    let weights = &weights[tap.index * channels..][..channels];
                    add_products(path, &mut sums, &src[from..from + channels], weights);
                }
            }
            let start = grid.destination(position);
            epilogue.finish(path, start, &mut sums);
            // SAFETY: each task owns its pixels.
            let to = unsafe { out.part(start, channels) };
            if epilogue.accumulate {
                to.iter_mut().zip(&sums).for_each(|(to, v)| *to += v);
            } else {
                to.copy_from_slice(&sums);
            }
        }
    });
}

/// Adds the gradient of the weights, `[channel][tap]`, to `dw`.
pub(crate) fn add_weights_gradient(path: Path, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let grid = Grid::forward(shape);
    let (taps, channels) = (shape.taps(), shape.channels_out);
    let part = grid.pixels().div_ceil(PARTS);
    let partial: Vec<Vec<f32>> = (0..PARTS)
        .into_par_iter()
        .map(|at| {
            let mut sums = vec![0.0; taps * channels];
            for position in grid.positions(grid.pixels().min(at * part)..grid.pixels().min((at + 1) * part)) {
                let dy = &dy[grid.destination(position)..][..channels];
                for &tap in &grid.taps {
                    if let Some(from) = grid.source(position, tap) {
                        let sums = &mut sums[tap.index * channels..][..channels];
                        add_products(path, sums, &x[from..from + channels], dy);
                    }
                }
            }
            sums
        })
        .collect();
    for sums in &partial {
        for (at, v) in sums.iter().enumerate() {
            dw[at % channels * taps + at / channels] += v;
        }
    }
}

for_each_path! {
    /// `sums += a * b`, value by value.
    fn add_products(sums: &mut [f32], a: &[f32], b: &[f32]) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
}
