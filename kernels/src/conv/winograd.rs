//! 3 x 3 convolutions with stride 1 by Winograd's F(4x4, 3x3): 36 products where direct summation takes 144.
//!
//! A block of tiles is transformed to `V: [point][tile][channel in]`, multiplied for each of the 36 points by the packed
//! kernel `U` to `M: [point][tile][channel out]`, and transformed back. Rows of `V` and `M` are an odd number of cache
//! lines long, so that neither tiles nor points fall on the same cache sets.

use super::Scratch;
use super::epilogue::Epilogue;
use super::microkernel::{MR, NR, Rows, multiply};
use super::tiles::{OUTSIDE, Tiles, kernel_tile, output_tile};
use super::transforms::{OUT, POINTS};
use crate::path::Path;
use crate::shape::ConvShape;
use crate::share::SharedMut;
use rayon::prelude::*;

/// Values in a cache line.
const LINE: usize = 16;
/// Tiles in a block that one thread works through; its `V` and `M` stay in the L2 cache for usual channel counts.
const BLOCK: usize = 8 * MR;
/// With at most so many tiles they are one block, and threads divide its steps instead.
const ONE_BLOCK: usize = 400;

/// True if the convolution can be computed so, and enough is won to pay for the transforms.
pub(crate) fn suits(shape: &ConvShape) -> bool {
    let plain = shape.size == 3 && (shape.stride_y, shape.stride_x) == (1, 1) && shape.dilation == 1;
    let pixels = shape.out_height() * shape.out_width();
    let tiles = shape.out_height().div_ceil(OUT) * shape.out_width().div_ceil(OUT);
    let pays = tiles * POINTS * 3 <= pixels * 9 * 2;
    plain && shape.groups == 1 && shape.channels_in >= 8 && shape.channels_out >= 8 && shape.pad <= 2 && pays
}

/// Length of a row of `channels` values: an odd number of cache lines.
pub(crate) fn row_length(channels: usize) -> usize {
    (channels.div_ceil(LINE) | 1) * LINE
}

/// Length of `count` rows: an odd number of cache lines.
pub(crate) fn plane(count: usize, row: usize) -> usize {
    ((count * row).div_ceil(LINE) | 1) * LINE
}

/// Kernel transformed and packed: `U: [point][panel of 16 columns][channel in][16]`, missing columns zero.
pub(crate) struct Kernel {
    values: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl Kernel {
    /// `weight(column, channel)` gives the nine weights; `flip` turns the kernel by half a turn.
    pub(crate) fn pack<'w>(
        path: Path,
        (inputs, outputs): (usize, usize),
        flip: bool,
        weight: impl Fn(usize, usize) -> &'w [f32] + Sync,
        mut values: Vec<f32>,
    ) -> Self {
        let panels = outputs.div_ceil(NR);
        let plane = Self::plane(inputs, outputs);
        values.resize(Self::len(inputs, outputs), 0.0);
        let to = SharedMut::new(&mut values);
        (0..panels).into_par_iter().for_each(|panel| {
            for channel in 0..inputs {
                let mut taps = [[0.0; NR]; 9];
                for column in panel * NR..outputs.min((panel + 1) * NR) {
                    for (tap, &value) in weight(column, channel).iter().enumerate() {
                        taps[if flip { 8 - tap } else { tap }][column - panel * NR] = value;
                    }
                }
                let to = to.offset((panel * inputs + channel) * NR);
                kernel_tile(path, &taps, to, plane);
            }
        });
        Self { values, inputs, outputs }
    }

    /// Values of a packed kernel.
    pub(crate) fn len(inputs: usize, outputs: usize) -> usize {
        POINTS * Self::plane(inputs, outputs)
    }

    /// Values of a point.
    fn plane(inputs: usize, outputs: usize) -> usize {
        plane(inputs, outputs.next_multiple_of(NR))
    }

    /// The memory, to pack other weights into.
    pub(crate) fn into_values(self) -> Vec<f32> {
        self.values
    }

    fn panel(&self, point: usize, panel: usize) -> &[f32] {
        let size = self.inputs * NR;
        &self.values[point * Self::plane(self.inputs, self.outputs) + panel * size..][..size]
    }
}

/// Computes all tiles: `dst = act(src * kernel + bias)`.
pub(crate) fn run(
    path: Path,
    tiles: &Tiles,
    kernel: &Kernel,
    src: &[f32],
    dst: &mut [f32],
    epilogue: Epilogue,
    scratch: &Scratch,
) {
    let one_block = tiles.count <= ONE_BLOCK;
    let size = if one_block { tiles.count } else { BLOCK };
    let out = SharedMut::new(dst);
    (0..tiles.count.div_ceil(size.max(1))).into_par_iter().for_each(|block| {
        let first = block * size;
        let block = Block { tiles, first, count: size.min(tiles.count - first), divide: one_block };
        let mut v = scratch.take(POINTS * block.plane(kernel.inputs));
        let mut m = scratch.take(POINTS * block.plane(kernel.outputs));
        block.transform_input(path, src, SharedMut::new(&mut v));
        block.multiply(path, kernel, &v, SharedMut::new(&mut m));
        block.transform_output(path, &m, out, epilogue);
    });
}

/// Some consecutive tiles.
struct Block<'a> {
    tiles: &'a Tiles,
    first: usize,
    count: usize,
    /// Threads divide the steps; otherwise one thread goes through them.
    divide: bool,
}

impl Block<'_> {
    /// Values of one point: a row for each tile, and an odd number of cache lines too.
    fn plane(&self, channels: usize) -> usize {
        plane(self.count, row_length(channels))
    }

    fn for_each(&self, count: usize, divided: usize, run: impl Fn(usize) + Sync + Send) {
        if self.divide {
            (0..count).into_par_iter().with_min_len(divided).for_each(run);
        } else {
            (0..count).for_each(run);
        }
    }

    /// `V = Bt d B` for each tile and channel.
    fn transform_input(&self, path: Path, src: &[f32], v: SharedMut) {
        let channels = self.tiles.src.channels;
        let (row, plane) = (row_length(channels), self.plane(channels));
        self.for_each(self.count, 4, |tile| {
            self.tiles.transform_input(path, self.first + tile, src, v.offset(tile * row), plane);
        });
    }

    /// `M = V U` for each point.
    fn multiply(&self, path: Path, kernel: &Kernel, v: &[f32], m: SharedMut) {
        let (row_in, row_out) = (row_length(kernel.inputs), row_length(kernel.outputs));
        let (plane_in, plane_out) = (self.plane(kernel.inputs), self.plane(kernel.outputs));
        let panels = kernel.outputs.div_ceil(NR);
        let width = if self.divide { panels.div_ceil(2) } else { panels };
        self.for_each(POINTS * panels.div_ceil(width), 1, |task| {
            let (point, split) = (task % POINTS, task / POINTS);
            let v = &v[point * plane_in..][..self.count * row_in];
            for panel in split * width..panels.min((split + 1) * width) {
                for first in (0..self.count).step_by(MR) {
                    let used = (self.count - first).min(MR);
                    let start = |i: usize| v[(first + i.min(used - 1)) * row_in..].as_ptr();
                    let starts = [std::array::from_fn(start)];
                    let place = point * plane_out + first * row_out + panel * NR;
                    // SAFETY: rows of `v` hold `inputs` values; each task writes its own panels of its point.
                    let (rows, to) =
                        unsafe { (Rows::new(&starts, kernel.inputs), m.part(place, (used - 1) * row_out + NR)) };
                    multiply(path, used, rows, kernel.panel(point, panel), to, row_out);
                }
            }
        });
    }

    /// `Y = At M A` for each tile and channel, then bias, activation and residual.
    fn transform_output(&self, path: Path, m: &[f32], out: SharedMut, epilogue: Epilogue) {
        let channels = self.tiles.dst.channels;
        self.for_each(self.count, 4, |tile| {
            let pixels = self.tiles.destination(self.first + tile);
            let m = &m[tile * row_length(channels)..];
            let plane = self.plane(channels);
            output_tile(path, &pixels, m, plane, channels, out, epilogue);
            for &start in pixels.as_flattened().iter().filter(|&&start| start != OUTSIDE) {
                // SAFETY: each pixel belongs to one tile.
                epilogue.finish(path, start, unsafe { out.part(start, channels) });
            }
        });
    }
}
