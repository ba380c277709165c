//! The gradient of the weights: for each tap the product of the inputs `[channel in][pixel]`, as far from the output's pixels as
//! the tap is, and the output's gradients `[pixel][channel out]`.

use super::columns::TOGETHER;
use super::halves::{add_gathered, load, split_pair, split_transposed};
use super::instructions::{Next, RIGHT, Registers, STEPS, TILE, To};
use super::layout::Layout;
use super::source::{Split, Strip};
use crate::conv::grid::Grid;
use crate::conv::{Buffer, Scratch};
use crate::shape::ConvShape;
use crate::share::SharedMut;
use rayon::prelude::*;
use std::arch::x86_64::_mm512_setzero_ps;

/// Bytes of a strip of inputs and gradients, which lie in the L2 cache together.
const STRIP: usize = 768 * 1024;
/// Bytes that are gathered at most before they are multiplied where strips share their sums.
const GATHERED: usize = 64 << 20;
/// Sums up to which strips are divided among tasks that each have sums of their own.
const FEW_SUMS: usize = 400_000;
/// Those tasks; more would give other rounding, as would fewer.
const PARTS: usize = 8;
/// Rows and columns whose sums the registers hold, and how many those are.
const BLOCK: usize = 2 * TILE;
const SUMS: usize = BLOCK * BLOCK;
/// Steps that all taps take in turn: their pixels lie in the L1 cache together.
const TURN: usize = 24;

/// Adds the gradient of the weights, OIHW, to `dw`; the convolution has one group.
pub(crate) fn add(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &Scratch) {
    let grid = Grid::forward(shape);
    if grid.pixels() == 0 || dw.is_empty() {
        return;
    }
    let layout = Layout::of(std::slice::from_ref(&grid));
    let (inputs, outputs) = (shape.channels_in.next_multiple_of(TILE), shape.channels_out.next_multiple_of(TILE));
    let blocks = inputs.div_ceil(BLOCK) * outputs.div_ceil(BLOCK);
    let line = 4 * layout.pitch * (layout.phases() * inputs + outputs);
    let height = (STRIP / line.max(1)).clamp(1, grid.rows);
    let gradient = Gradient { shape, grid, layout, x, dy, scratch, inputs, outputs };
    let len = blocks * shape.taps() * SUMS;
    if len <= FEW_SUMS && shape.batch * gradient.grid.rows.div_ceil(height) > 1 {
        gradient.add_by_parts(height, len, dw);
    } else {
        gradient.add_by_blocks(line, dw);
    }
}

/// What a gradient is about.
struct Gradient<'a> {
    shape: &'a ConvShape,
    grid: Grid,
    layout: Layout,
    x: &'a [f32],
    dy: &'a [f32],
    scratch: &'a Scratch,
    /// Channels in whole tiles.
    inputs: usize,
    outputs: usize,
}

/// A strip of inputs, `[plane][channel][pixel]`, and of gradients, `[pair of tiles][step][upper halves of a pair, lower halves]`
/// `[16 pairs of pixels][16 channels][2]`.
struct Gathered<'a> {
    strip: Strip,
    x: Split<'a>,
    /// Values of a channel.
    row: usize,
    dy: Buffer<'a>,
    before: usize,
    steps: usize,
}

impl<'a> Gradient<'a> {
    fn gather(&self, strip: Strip, divide: bool) -> Gathered<'a> {
        let layout = &self.layout;
        // An odd number of cache lines, lest all channels' pixels meet in the same part of a cache.
        let row = (layout.plane(strip.rows).div_ceil(STEPS) | 1) * STEPS;
        let x = Split::new(layout.phases() * self.inputs * row, self.scratch);
        let pixels = strip.rows * layout.pitch;
        let steps = pixels.div_ceil(STEPS);
        let mut dy = self.scratch.take(steps * self.outputs * STEPS + TILE);
        let before = dy.as_ptr().align_offset(64).min(TILE);
        let to = SharedMut::new(&mut dy).offset(before);
        // Phases that read the same lines follow each other.
        let phases = layout.phases();
        let tasks = phases * (row / STEPS);
        let each = |task: usize| {
            if task < tasks {
                // SAFETY: each task writes its own pixels. Whoever splits has the instructions.
                unsafe { self.gather_inputs(strip, (task % phases, task / phases), &x, row) };
            } else {
                let step = task - tasks;
                // SAFETY: as above.
                unsafe { self.gather_gradients(strip, step, steps, to) };
            }
        };
        if divide {
            (0..tasks + steps).into_par_iter().with_min_len(4).for_each(each);
        } else {
            (0..tasks + steps).for_each(each);
        }
        Gathered { strip, x, row, dy, before, steps }
    }

    /// All channels of 32 pixels of a plane.
    ///
    /// # Safety
    /// No other task writes them, and the instructions are there.
    unsafe fn gather_inputs(&self, strip: Strip, (phase, block): (usize, usize), to: &Split, row: usize) {
        let (layout, channels) = (&self.layout, self.shape.channels_in);
        let lines = layout.lines(strip.rows);
        let places = self.places(block, |line, col| {
            let col = col.checked_sub(layout.left)? * layout.step.1 + phase % layout.step.1;
            let row = (line < lines).then(|| layout.source_row(strip, phase, line))??;
            (col < layout.src.width).then(|| (row * layout.src.width + col) * channels)
        });
        let to = to.places(phase * self.inputs * row + block * STEPS);
        // SAFETY: there are such pixels, and so is the memory.
        unsafe { split_transposed(self.x, &places, channels, self.inputs, to, row) };
    }

    /// All channels of a step's 32 pixels.
    ///
    /// # Safety
    /// No other task writes them, and the instructions are there.
    unsafe fn gather_gradients(&self, strip: Strip, step: usize, steps: usize, to: SharedMut) {
        let places = self.places(step, |row, col| {
            let inside = row < strip.rows && col < self.grid.cols;
            inside.then(|| self.grid.destination((strip.image, strip.first + row, col)))
        });
        let tiles = self.outputs / TILE;
        for tile in 0..tiles {
            let (pair, together) = (tile / TOGETHER, TOGETHER.min(tiles - tile / TOGETHER * TOGETHER));
            let at = (pair * TOGETHER * steps + step * together) * RIGHT + tile % TOGETHER * RIGHT / 2;
            // SAFETY: as the caller promises.
            let (upper, lower) = unsafe { (to.part(at, RIGHT / 2), to.part(at + together * RIGHT / 2, RIGHT / 2)) };
            let count = TILE.min(self.shape.channels_out - tile * TILE);
            // SAFETY: pixels have that many channels from there on.
            unsafe { pack_pixels(self.dy, &places, tile * TILE, count, upper, lower) };
        }
    }

    /// Where the pixels of a block of 32 begin that are side by side in a plane, by line and column.
    fn places(&self, block: usize, place: impl Fn(usize, usize) -> Option<usize>) -> [Option<usize>; STEPS] {
        let (mut line, mut col) = (block * STEPS / self.layout.pitch, block * STEPS % self.layout.pitch);
        let mut places = [None; STEPS];
        for to in &mut places {
            *to = place(line, col);
            col += 1;
            if col == self.layout.pitch {
                (line, col) = (line + 1, 0);
            }
        }
        places
    }

    /// Strips of some lines one after the other, while they are in the L2 cache, to the sums of a part of them; those of all
    /// parts then to the weights.
    fn add_by_parts(&self, height: usize, len: usize, dw: &mut [f32]) {
        let strips = self.grid.rows.div_ceil(height);
        let count = self.shape.batch * strips;
        let parts = PARTS.min(count);
        let each = self.shape.taps() * SUMS;
        let mut sums = self.scratch.take(parts * len);
        sums.par_chunks_mut(len).enumerate().for_each(|(part, sums)| {
            // SAFETY: the gradient is computed by tiles only where the instructions are there.
            let registers = unsafe { Registers::new() };
            for (nth, at) in (part * count / parts..(part + 1) * count / parts).enumerate() {
                let first = at % strips * height;
                let strip = Strip { image: at / strips, first, rows: height.min(self.grid.rows - first) };
                let gathered = self.gather(strip, false);
                for (block, sums) in sums.chunks_exact_mut(each).enumerate() {
                    self.add_products(&registers, &gathered, block, sums, nth == 0);
                }
            }
        });
        let (first, others) = sums.split_at_mut(len);
        let to = SharedMut::new(dw);
        first.par_chunks_exact_mut(each).enumerate().for_each(|(block, sums)| {
            for other in others.chunks_exact(len) {
                sums.iter_mut().zip(&other[block * each..]).for_each(|(sum, v)| *sum += v);
            }
            // SAFETY: blocks own disjoint weights.
            unsafe { self.finish(block, sums, to) };
        });
    }

    /// As many images as the memory is meant for at once: blocks of weights then sum up over them one by one.
    fn add_by_blocks(&self, line: usize, dw: &mut [f32]) {
        let rows = self.grid.rows;
        let together = (GATHERED / (line * rows).max(1)).clamp(1, self.shape.batch);
        let blocks = self.inputs.div_ceil(BLOCK) * self.outputs.div_ceil(BLOCK);
        let to = SharedMut::new(dw);
        for first in (0..self.shape.batch).step_by(together) {
            let images = first..self.shape.batch.min(first + together);
            let gathered: Vec<_> = images.map(|image| self.gather(Strip { image, first: 0, rows }, true)).collect();
            (0..blocks).into_par_iter().for_each(|block| {
                // SAFETY: as above.
                let registers = unsafe { Registers::new() };
                let mut sums = vec![0.0; self.shape.taps() * SUMS];
                for (nth, gathered) in gathered.iter().enumerate() {
                    self.add_products(&registers, gathered, block, &mut sums, nth == 0);
                }
                // SAFETY: blocks own disjoint weights.
                unsafe { self.finish(block, &sums, to) };
            });
        }
    }

    /// First channels in and out of a block, and how many there are in whole tiles.
    fn block(&self, block: usize) -> ((usize, usize), (usize, usize)) {
        let across = self.inputs.div_ceil(BLOCK);
        let (input, output) = (block % across * BLOCK, block / across * BLOCK);
        ((input, output), ((self.inputs - input).min(BLOCK), (self.outputs - output).min(BLOCK)))
    }

    /// Adds a block's products over a strip to its sums, `[tap][32 channels in][32 channels out]`, or starts them.
    fn add_products(&self, registers: &Registers, strip: &Gathered, block: usize, sums: &mut [f32], fresh: bool) {
        /// Bytes to each step's pixels.
        const STARTS: [usize; TURN] = {
            let (mut starts, mut at) = ([0; TURN], 0);
            while at < TURN {
                starts[at] = 2 * at * STEPS;
                at += 1;
            }
            starts
        };
        let ((input, output), (rows, columns)) = self.block(block);
        let (tiles, plane) = ((rows / TILE, columns / TILE), self.layout.plane(strip.strip.rows));
        let right = strip.before + output / TILE * strip.steps * RIGHT;
        for first in (0..strip.steps).step_by(TURN) {
            let steps = &STARTS[..TURN.min(strip.steps - first)];
            let right = strip.dy[right + first * tiles.1 * RIGHT..].as_ptr().cast();
            for (tap, sums) in self.grid.taps.iter().zip(sums.chunks_exact_mut(SUMS)) {
                let shift = self.layout.shift(*tap, strip.strip.rows);
                let channel = shift / plane * self.inputs + input;
                let left = strip.x.left(channel * strip.row + shift % plane + first * STEPS, strip.row);
                let to = To { start: sums.as_mut_ptr(), stride: 4 * BLOCK, fresh: fresh && first == 0 };
                // SAFETY: rows have pixels behind the last one for whole steps, and gradients are whole tiles.
                unsafe { registers.multiply(tiles, left, steps, right, Next::NOTHING, to) };
            }
        }
    }

    /// Adds a block's sums to the weights.
    ///
    /// # Safety
    /// Nobody else uses the block's weights, and the instructions are there.
    unsafe fn finish(&self, block: usize, sums: &[f32], dw: SharedMut) {
        let (taps, inputs) = (self.shape.taps(), self.shape.channels_in);
        let ((input, output), _) = self.block(block);
        let rows = (inputs - input).min(BLOCK);
        let places: Vec<i32> = (0..rows * taps).map(|at| (at % taps * SUMS + at / taps * BLOCK) as i32).collect();
        for column in 0..(self.shape.channels_out - output).min(BLOCK) {
            // SAFETY: as the caller promises, and the places are those of sums.
            unsafe {
                let dw = dw.part(((output + column) * inputs + input) * taps, rows * taps);
                add_gathered(&sums[column..], &places, dw);
            }
        }
    }
}

/// The halves of `count` channels from `first` on of 32 pixels that start there, as a right tile.
///
/// # Safety
/// Pixels have these channels.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_pixels(
    src: &[f32],
    starts: &[Option<usize>; STEPS],
    first: usize,
    count: usize,
    upper: &mut [f32],
    lower: &mut [f32],
) {
    let rows = upper.chunks_exact_mut(TILE).zip(lower.chunks_exact_mut(TILE));
    for (pair, (upper, lower)) in starts.chunks_exact(2).zip(rows) {
        let mut pixels = [_mm512_setzero_ps(); 2];
        for (values, place) in pixels.iter_mut().zip(pair) {
            if let Some(place) = place {
                // SAFETY: as the caller promises.
                *values = unsafe { load(src.as_ptr().wrapping_add(place + first), count) };
            }
        }
        // SAFETY: a row is sixteen `f32`, which are 32 halves.
        unsafe { split_pair(pixels[0], pixels[1], upper.as_mut_ptr().cast(), lower.as_mut_ptr().cast()) };
    }
}
