//! Convolutions as sums of products of tiles, for processors with AMX: see [`instructions`] for the products, [`halves`] for
//! their precision and [`layout`] for where tiles of pixels come from.
//!
//! Nothing is transformed, so weights take as much memory as they do anyway, and any kernel, stride and dilation will do.

mod blocks;
mod columns;
mod halves;
mod instructions;
mod layout;
mod source;
mod weights;

pub(crate) use columns::Columns;
pub(crate) use instructions::available;
pub(crate) use layout::folds;
pub(crate) use weights::add as add_weights_gradient;

use super::Scratch;
use super::epilogue::{Epilogue, Finished, WIDEST, finish};
use super::grid::Grid;
use crate::path::Path;
use crate::shape::PoolShape;
use crate::share::SharedMut;
use blocks::{BLOCK, Blocks};
use columns::TOGETHER;
use instructions::{Next, Registers, TILE, To};
use layout::Layout;
use rayon::prelude::*;
use source::{Split, Strip};
use std::ops::Range;

const _: () = assert!(BLOCK == WIDEST && TOGETHER * TILE == BLOCK);
/// Bytes of a strip and of the weights that it is multiplied by, which lie in the L2 cache together.
const STRIP: usize = 384 * 1024;
const WEIGHTS: usize = 1 << 20;
/// Strips from which on each is a task of its own.
const ENOUGH_STRIPS: usize = 8;
/// Blocks of a task that share what is read of the weights, and tasks for a thread below which the columns are divided too.
const BLOCKS: usize = 24;
const TASKS: usize = 4;
/// Steps that all blocks take in turn.
const TURN: usize = 32;

/// Computes grids that read the same source, each with its weights: `dst = act(src * columns + bias) + residual`.
pub(crate) fn run(
    path: Path,
    parts: &[(Grid, &Columns)],
    src: &[f32],
    dst: &mut [f32],
    epilogue: Epilogue,
    scratch: &Scratch,
) {
    let grids: Vec<Grid> = parts.iter().map(|(grid, _)| grid.clone()).collect();
    let rows = grids.iter().map(|grid| grid.rows).max().unwrap_or(0);
    if rows == 0 || dst.is_empty() {
        return;
    }
    let layout = Layout::of(&grids);
    let job = Job { path, layout, parts, src, epilogue, scratch };
    let line = layout.phases() * layout.pitch * layout.apart * 4;
    let weights: usize = parts.iter().map(|(_, columns)| columns.bytes()).sum();
    let even = if epilogue.pooled { 2 } else { 1 };
    let most = (grids[0].batch * rows).div_ceil(ENOUGH_STRIPS);
    let height = (STRIP / line.max(1)).min(most).clamp(4, rows.max(4)).next_multiple_of(even);
    let strips = rows.div_ceil(height);
    if epilogue.pooled || weights <= WEIGHTS && grids[0].batch * strips >= ENOUGH_STRIPS {
        job.run_strips(height, strips, rows, dst);
    } else {
        job.run_images(rows, dst);
    }
}

/// What a run is about.
struct Job<'a> {
    path: Path,
    layout: Layout,
    parts: &'a [(Grid, &'a Columns)],
    src: &'a [f32],
    epilogue: Epilogue<'a>,
    scratch: &'a Scratch,
}

impl Job<'_> {
    /// Strips of some lines: split, multiplied and written while they are in the L2 cache.
    fn run_strips(&self, height: usize, strips: usize, rows: usize, dst: &mut [f32]) {
        let out = SharedMut::new(dst);
        (0..self.parts[0].0.batch * strips).into_par_iter().for_each(|at| {
            let first = at % strips * height;
            let strip = Strip { image: at / strips, first, rows: height.min(rows - first) };
            let split = Split::new(self.layout.strip_len(strip.rows), self.scratch);
            for line in 0..self.layout.lines(strip.rows) {
                for phase in 0..self.layout.phases() {
                    // SAFETY: the memory is this task's.
                    unsafe { self.layout.fill(strip, (phase, line), self.src, &split, 0) };
                }
            }
            if self.epilogue.pooled {
                self.run_pooled(strip, &split, out);
                return;
            }
            for (part, (grid, columns)) in self.parts.iter().enumerate() {
                let mut blocks = Blocks::default();
                blocks.add(&self.layout, grid, strip, 0);
                let (some, pairs) = (0..blocks.blocks.len(), 0..columns.tiles().div_ceil(TOGETHER));
                // SAFETY: strips own disjoint pixels, and so do grids.
                unsafe { self.multiply((part, strip.rows), &split, (&blocks, some), pairs, out) };
            }
        });
    }

    /// The only grid over a strip, and the largest of each 2 x 2 pixels of that.
    fn run_pooled(&self, strip: Strip, split: &Split, out: SharedMut) {
        let (grid, columns) = &self.parts[0];
        let line = grid.cols * grid.dst.channels;
        let mut map = self.scratch.take(strip.rows * line);
        let local = Strip { image: 0, first: 0, ..strip };
        let mut blocks = Blocks::default();
        blocks.add(&self.layout, grid, local, 0);
        let every = 0..blocks.blocks.len();
        let job = Job { epilogue: Epilogue { pooled: false, ..self.epilogue }, ..*self };
        let all = 0..columns.tiles().div_ceil(TOGETHER);
        // SAFETY: the map is this task's.
        unsafe { job.multiply((0, strip.rows), split, (&blocks, every), all, SharedMut::new(&mut map)) };
        let shape = PoolShape::quarter(1, strip.rows, grid.cols, grid.dst.channels);
        let start = (strip.image * grid.rows + strip.first) * line / 4;
        // SAFETY: strips own disjoint rows.
        shape.pool_here(self.path, &map, unsafe { out.part(start, strip.rows * line / 4) });
    }

    /// All images at once: split by all threads, then multiplied by them.
    fn run_images(&self, rows: usize, dst: &mut [f32]) {
        let (batch, lines) = (self.parts[0].0.batch, self.layout.lines(rows));
        let len = self.layout.strip_len(rows);
        let split = Split::new(batch * len, self.scratch);
        let strip = |image| Strip { image, first: 0, rows };
        let planes = self.layout.phases();
        (0..batch * planes * lines).into_par_iter().with_min_len(4).for_each(|at| {
            let (image, place) = (at / (planes * lines), (at % planes, at / planes % lines));
            // SAFETY: each task writes its own line.
            unsafe { self.layout.fill(strip(image), place, self.src, &split, image * len) };
        });
        let out = SharedMut::new(dst);
        for (part, (grid, columns)) in self.parts.iter().enumerate() {
            let mut blocks = Blocks::default();
            (0..batch).for_each(|image| blocks.add(&self.layout, grid, strip(image), image * len));
            let count = blocks.blocks.len();
            let ranges = count.div_ceil(BLOCKS).max(1);
            let pairs = columns.tiles().div_ceil(TOGETHER);
            let enough = TASKS * rayon::current_num_threads();
            let width = pairs.div_ceil(enough.div_ceil(ranges).clamp(1, pairs.max(1))).max(1);
            let splits = pairs.div_ceil(width);
            (0..ranges * splits).into_par_iter().for_each(|task| {
                // Tasks side by side share the weights, which are read from farther away.
                let (range, at) = (task % ranges, task / ranges);
                let some = (&blocks, range * count / ranges..(range + 1) * count / ranges);
                // SAFETY: tasks own disjoint pixels, or disjoint columns of them.
                unsafe { self.multiply((part, rows), &split, some, at * width..pairs.min((at + 1) * width), out) };
            });
        }
    }

    /// Some pairs of tiles of columns over some blocks of a part's grid, of strips of so many rows.
    ///
    /// # Safety
    /// No other task writes these columns of these pixels of `out`.
    unsafe fn multiply(
        &self,
        (part, rows): (usize, usize),
        split: &Split,
        (blocks, some): (&Blocks, Range<usize>),
        pairs: Range<usize>,
        out: SharedMut,
    ) {
        let (grid, columns) = &self.parts[part];
        let steps = columns::steps(grid, &self.layout, rows);
        assert_eq!(steps.len(), columns.steps, "weights packed for another kernel");
        // SAFETY: such weights are packed only where the instructions are there.
        let registers = unsafe { Registers::new() };
        // Of columns so many steps at a time that all blocks find them in the L2 cache, and that sums seldom leave the registers.
        let turns: Vec<&[usize]> = steps.chunks(TURN).collect();
        let together = if turns.len() > 1 { BLOCKS } else { 1 };
        let mut sums = vec![[[0.0; BLOCK]; BLOCK]; together.min(some.len())];
        for pair in pairs {
            let from = pair * BLOCK;
            let width = (columns.columns - from).min(BLOCK);
            let tiles = width.div_ceil(TILE);
            let mut bias = [0.0; WIDEST];
            if let Some(all) = self.epilogue.bias {
                bias[..width].copy_from_slice(&all[from..from + width]);
            }
            for some in blocks.blocks[some.clone()].chunks(together) {
                for (turn, &steps) in turns.iter().enumerate() {
                    let right = columns.right(pair, turn * TURN * tiles);
                    for (at, (block, sums)) in some.iter().zip(&mut sums).enumerate() {
                        let left = split.left(block.at, self.layout.apart);
                        let next = Next::share(right, (steps.len(), tiles), at, some.len());
                        let to = To { start: sums.as_mut_ptr().cast(), stride: 4 * BLOCK, fresh: turn == 0 };
                        // SAFETY: planes have pixels behind the last one for whole tiles and steps, columns whole tiles.
                        unsafe { registers.multiply((block.tiles, tiles), left, steps, right, next, to) };
                    }
                }
                for (block, sums) in some.iter().zip(&mut sums) {
                    if turns.is_empty() {
                        *sums = [[0.0; BLOCK]; BLOCK];
                    }
                    for (rows, destinations) in blocks.destinations(block) {
                        let columns = from..from + width;
                        let finished = Finished { sums: &sums[rows], bias: &bias, destinations, columns };
                        finish(self.path, finished, out, self.epilogue);
                    }
                }
            }
        }
    }
}
