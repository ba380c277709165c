//! Depth-wise convolution: each output channel sees one input channel, its own. Vectors run along the channels and on into
//! the next pixels, which lie side by side.

use super::epilogue::{Epilogue, add};
use super::grid::{Grid, SourceLine};
use crate::path::{Path, for_each_path};
use crate::shape::ConvShape;
use crate::share::SharedMut;
use rayon::prelude::*;

/// Numbers that a task sums up, which stay in a core's cache while each tap adds to them; a multiple of the channels.
const BLOCK: usize = 4096;
/// Partial sums of the weights' gradient, added in order.
const PARTS: usize = 16;
/// Numbers of the widest vector.
const LANES: usize = 16;
/// Numbers that are worth a loop.
const ENOUGH: usize = 8 * LANES;
/// More channels than this are not repeated, beyond [`ENOUGH`], to fill whole vectors.
const REPEATED: usize = 2048;

/// Numbers of the pixels side by side that are taken together: they fill whole vectors, if those are not too many.
fn period(channels: usize) -> usize {
    let pixels = LANES >> channels.trailing_zeros().min(LANES.trailing_zeros());
    let filled = if channels * pixels <= REPEATED { channels * pixels } else { channels };
    filled * ENOUGH.div_ceil(filled)
}

/// Weights as `[tap][pixel][channel]`, the same for each pixel of a period, from `[channel][tap]`.
pub(crate) fn pack(shape: &ConvShape, weights: &[f32]) -> Vec<f32> {
    let (taps, channels) = (shape.taps(), shape.channels_out);
    let period = period(channels);
    (0..taps * period).map(|at| weights[at % period % channels * taps + at / period]).collect()
}

/// Computes the whole grid from weights packed by [`pack`].
pub(crate) fn run(path: Path, grid: &Grid, weights: &[f32], src: &[f32], dst: &mut [f32], epilogue: Epilogue) {
    let channels = grid.dst.channels;
    let (period, block) = (period(channels), (BLOCK / channels).max(1));
    // Whether the pixels of a line lie side by side in the destination.
    let together = grid.dst_step.1 == 1;
    let bias: Option<Vec<f32>> = epilogue.bias.map(|bias| bias.iter().copied().cycle().take(period).collect());
    let out = SharedMut::new(dst);
    (0..grid.pixels().div_ceil(block)).into_par_iter().for_each_init(Vec::new, |sums: &mut Vec<f32>, at| {
        for ((image, row), cols) in grid.lines(at * block..grid.pixels().min((at + 1) * block)) {
            sums.resize(cols.len() * channels, 0.0);
            match &bias {
                Some(bias) => sums.chunks_mut(period).for_each(|sums| sums.copy_from_slice(&bias[..sums.len()])),
                None => sums.fill(0.0),
            }
            for &tap in &grid.taps {
                let Some(line) = grid.source_line((image, row), cols.clone(), tap) else { continue };
                let to = (line.cols.start - cols.start) * channels..(line.cols.end - cols.start) * channels;
                let weights = &weights[tap.index * period..][..period];
                add_line(path, &mut sums[to], &src[line.from..], line.apart, weights, channels);
            }
            let pixels = if together { cols.len() } else { 1 };
            for (sums, col) in sums.chunks_exact_mut(pixels * channels).zip(cols.step_by(pixels)) {
                let start = grid.destination((image, row, col));
                epilogue.finish(path, start, sums);
                // SAFETY: each task owns its pixels.
                let to = unsafe { out.part(start, sums.len()) };
                if epilogue.accumulate {
                    add(path, to, sums);
                } else {
                    to.copy_from_slice(sums);
                }
            }
        }
    });
}

/// Adds the gradient of the weights, `[channel][tap]`, to `dw`.
pub(crate) fn add_weights_gradient(path: Path, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let grid = Grid::forward(shape);
    let (taps, channels) = (shape.taps(), shape.channels_out);
    let (period, part) = (period(channels), grid.pixels().div_ceil(PARTS));
    let sum_part = |at: usize| {
        let mut sums = vec![0.0; taps * period];
        let pixels = grid.pixels().min(at * part)..grid.pixels().min((at + 1) * part);
        for ((image, row), cols) in grid.lines(pixels) {
            for &tap in &grid.taps {
                let Some(line) = grid.source_line((image, row), cols.clone(), tap) else { continue };
                let SourceLine { cols, from, apart } = line;
                let dy = &dy[grid.destination((image, row, cols.start))..][..cols.len() * channels];
                let sums = &mut sums[tap.index * period..][..period];
                add_products(path, sums, &x[from..], apart, dy, channels);
            }
        }
        sums
    };
    let partial: Vec<Vec<f32>> = (0..PARTS).into_par_iter().map(sum_part).collect();
    for (at, v) in partial.iter().flat_map(|sums| sums.iter().enumerate()) {
        dw[at % period % channels * taps + at / period] += v;
    }
}

for_each_path! {
    /// `sums += x * weights`, pixel by pixel of a line; those of `x` start `apart` from each other.
    fn add_line(sums: &mut [f32], x: &[f32], apart: usize, weights: &[f32], channels: usize) {
        if apart == channels {
            for (sums, x) in sums.chunks_mut(weights.len()).zip(x.chunks(weights.len())) {
                sums.iter_mut().zip(x).zip(weights).for_each(|((sum, x), weight)| *sum += x * weight);
            }
        } else {
            for (sums, x) in sums.chunks_exact_mut(channels).zip(x.chunks(apart)) {
                sums.iter_mut().zip(x).zip(weights).for_each(|((sum, x), weight)| *sum += x * weight);
            }
        }
    }
}

for_each_path! {
    /// `sums += x * dy`, summed over the pixels of a line; those of `x` start `apart` from each other.
    fn add_products(sums: &mut [f32], x: &[f32], apart: usize, dy: &[f32], channels: usize) {
        if apart == channels {
            for (x, dy) in x.chunks(sums.len()).zip(dy.chunks(sums.len())) {
                sums.iter_mut().zip(x).zip(dy).for_each(|((sum, x), dy)| *sum += x * dy);
            }
        } else {
            for (x, dy) in x.chunks(apart).zip(dy.chunks_exact(channels)) {
                sums.iter_mut().zip(x).zip(dy).for_each(|((sum, x), dy)| *sum += x * dy);
            }
        }
    }
}
