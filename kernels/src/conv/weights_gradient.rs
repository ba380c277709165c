//! Gradient of dense weights: a matrix product summed over pixels.

use super::Scratch;
use super::grid::Grid;
use super::microkernel::{MR, NR, add_outer};
use crate::path::Path;
use crate::shape::ConvShape;
use rayon::prelude::*;

/// Pixels gathered at a time: 6 rows and 16 columns of them fit the L1 cache together.
const DEPTH: usize = 192;
/// Output channels in a task.
const COLUMNS: usize = 16 * NR;
/// Tasks below which pixels are divided too.
const ENOUGH_TASKS: usize = 16;

/// How the work is cut; depends on the shape alone, so that sums come out the same on any machine.
struct Cut {
    /// Parts of the pixels, each with its own partial sums.
    parts: usize,
    /// Parts of the output channels of a group.
    splits: usize,
    /// Input channels of a group, rounded up to whole tiles.
    rows: usize,
    /// Output channels of a split, rounded up to whole tiles.
    columns: usize,
}

impl Cut {
    fn new(shape: &ConvShape) -> Self {
        let splits = shape.group_out().div_ceil(COLUMNS);
        let tasks = shape.groups * shape.taps() * splits;
        let pieces = shape.output_pixels().div_ceil(DEPTH).max(1);
        Self {
            parts: ENOUGH_TASKS.div_ceil(tasks).min(pieces),
            splits,
            rows: shape.group_in().next_multiple_of(MR),
            columns: shape.group_out().div_ceil(splits).next_multiple_of(NR),
        }
    }
}

/// Adds the gradient of the weights, OIHW, to `dw`.
pub(crate) fn add(path: Path, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &Scratch) {
    let grid = Grid::forward(shape);
    let cut = Cut::new(shape);
    let size = cut.rows * cut.columns;
    let tasks = shape.groups * shape.taps() * cut.splits;
    let mut partial = scratch.take(cut.parts * tasks * size);
    partial.par_chunks_mut(size).enumerate().for_each(|(at, sums)| {
        sums.fill(0.0);
        let (part, task) = (at / tasks, at % tasks);
        let pieces = shape.output_pixels().div_ceil(DEPTH);
        for piece in part * pieces / cut.parts..(part + 1) * pieces / cut.parts {
            let pixels = piece * DEPTH..shape.output_pixels().min((piece + 1) * DEPTH);
            add_piece(path, shape, &grid, &cut, task, pixels, (x, dy), sums, scratch);
        }
    });
    let (inputs, taps) = (shape.group_in(), shape.taps());
    dw.par_chunks_mut(inputs * taps).enumerate().for_each(|(out, dw)| {
        let (group, column) = (out / shape.group_out(), out % shape.group_out());
        let (split, column) = (column / cut.columns, column % cut.columns);
        for part in 0..cut.parts {
            for tap in 0..taps {
                let task = part * tasks + (group * taps + tap) * cut.splits + split;
                let sums = &partial[task * size..][..size];
                for input in 0..inputs {
                    dw[input * taps + tap] += sums[input * cut.columns + column];
                }
            }
        }
    });
}

/// Adds the products of some pixels to the sums `[input channel][output channel]` of one task.
#[expect(clippy::too_many_arguments, reason = "one call, all of it is the loop's state")]
fn add_piece(
    path: Path,
    shape: &ConvShape,
    grid: &Grid,
    cut: &Cut,
    task: usize,
    pixels: std::ops::Range<usize>,
    (x, dy): (&[f32], &[f32]),
    sums: &mut [f32],
    scratch: &Scratch,
) {
    let (group, tap, split) = (task / cut.splits / shape.taps(), task / cut.splits % shape.taps(), task % cut.splits);
    let depth = pixels.len();
    let mut rows = scratch.take(cut.rows * depth);
    let mut columns = scratch.take(cut.columns * depth);
    let inputs = shape.group_in();
    let outputs = cut.columns.min(shape.group_out() - split * cut.columns);
    for (at, pixel) in pixels.enumerate() {
        let position = grid.position(pixel);
        let source = grid.source(position, grid.taps[tap]).map(|from| &x[from + group * inputs..][..inputs]);
        scatter::<MR>(source.unwrap_or(&[]), at, depth, &mut rows);
        let from = grid.destination(position) + group * shape.group_out() + split * cut.columns;
        scatter::<NR>(&dy[from..from + outputs], at, depth, &mut columns);
    }
    for (first, columns) in columns.chunks_exact(NR * depth).enumerate() {
        for (row, rows) in rows.chunks_exact(MR * depth).enumerate() {
            let sums = &mut sums[row * MR * cut.columns + first * NR..];
            add_outer(path, depth, rows, columns, sums, cut.columns);
        }
    }
}

/// Spreads the channels of pixel `at` over panels of `WIDTH` channels by `depth` pixels; missing channels are zero.
#[inline(always)]
fn scatter<const WIDTH: usize>(values: &[f32], at: usize, depth: usize, panels: &mut [f32]) {
    let mut rest = values;
    for panel in panels.chunks_exact_mut(WIDTH * depth) {
        let to = &mut panel[at * WIDTH..(at + 1) * WIDTH];
        if let Some((full, tail)) = rest.split_first_chunk::<WIDTH>() {
            to.copy_from_slice(full);
            rest = tail;
        } else {
            to.fill(0.0);
            to[..rest.len()].copy_from_slice(rest);
            rest = &[];
        }
    }
}
