//! Weights as the right tiles of products.

use super::halves::{gather, split_pair};
use super::instructions::{RIGHT, STEPS, TILE};
use super::layout::{Layout, depth, segments};
use crate::conv::grid::{Grid, Tap};
use crate::conv::panels::Weights;
use rayon::prelude::*;

/// Tiles of columns that are multiplied together.
pub(super) const TOGETHER: usize = 2;

/// Weights as columns: `[pair of tiles][step][upper halves of a pair, lower halves][16 pairs of steps][16 columns][2]`, missing
/// columns and steps zero. The last pair may be one tile.
pub(crate) struct Columns {
    /// Two halves in the bits of each.
    values: Vec<f32>,
    /// Values before the first tile, which begins a cache line.
    before: usize,
    pub(super) columns: usize,
    /// Steps of a product of tiles.
    pub(super) steps: usize,
}

/// `f32` in which one tile's upper and lower halves lie.
const VALUES: usize = RIGHT;

impl Columns {
    /// `f32` that `columns` columns of this grid take.
    pub(crate) fn len(grid: &Grid, fold: bool, columns: usize) -> usize {
        columns.div_ceil(TILE) * depth(grid, fold) * VALUES + TILE
    }

    /// Packs columns into `values`, and of the kernel the taps of the grid, which are read as [`folds`](super::folds) says of it and
    /// those that it is run with.
    ///
    /// # Panics
    /// If there are no such weights, or the grid is one of several groups.
    pub(crate) fn pack(grid: &Grid, fold: bool, columns: usize, weights: Weights, mut values: Vec<f32>) -> Self {
        assert_eq!(grid.run, grid.src.channels, "weights of one group");
        assert!(weights.column <= i32::MAX as usize / TILE, "columns of {} weights", weights.column);
        let steps = depth(grid, fold);
        values.resize(Self::len(grid, fold, columns), 0.0);
        let before = values.as_ptr().align_offset(64).min(TILE);
        if let (Some(last), 1..) = (grid.taps.iter().map(|tap| tap.index).max(), columns) {
            let last = last + (columns - 1) * weights.column + (grid.run - 1) * weights.channel;
            assert!(last < weights.values.len(), "columns outside the weights");
        }
        let segments = segments(grid, fold);
        let takes = takes(&segments, grid.run);
        let tiles = columns.div_ceil(TILE);
        values[before..][..tiles * steps * VALUES]
            .par_chunks_mut((TOGETHER * steps * VALUES).max(1))
            .enumerate()
            .for_each(|(pair, values)| {
                for tile in 0..TOGETHER.min(tiles - pair * TOGETHER) {
                    let first = (pair * TOGETHER + tile) * TILE;
                    let weights = Weights { values: &weights.values[first * weights.column..], ..weights };
                    // SAFETY: whoever packs for tiles has the instructions, and the weights are there, as asserted.
                    unsafe { pack_tile(weights, TILE.min(columns - first), &takes, grid.run, tile, values) };
                }
            });
        Self { values, before, columns, steps }
    }

    /// Tiles of columns.
    pub(super) fn tiles(&self) -> usize {
        self.columns.div_ceil(TILE)
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> usize {
        4 * self.values.len()
    }

    /// The tiles of this pair after so many.
    pub(super) fn right(&self, pair: usize, tiles: usize) -> *const u16 {
        self.values[self.before + (pair * TOGETHER * self.steps + tiles) * VALUES..].as_ptr().cast()
    }

    /// The memory, to pack other weights into.
    pub(crate) fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// What each step takes: values from this one on of these taps, read as one. Those that read the same channels of neighbours follow
/// each other, so that these are read from the L1 cache.
fn takes(segments: &[Vec<Tap>], run: usize) -> Vec<(&[Tap], usize)> {
    let each = |taps: &'_ [Tap]| (0..taps.len() * run).step_by(STEPS);
    let mut takes: Vec<_> = segments.iter().flat_map(|taps| each(taps).map(move |from| (&taps[..], from))).collect();
    takes.sort_by_key(|&(_, from)| from % run / STEPS);
    takes
}

/// Bytes from a grid pixel's place in the planes of a strip to what each step takes.
pub(super) fn steps(grid: &Grid, layout: &Layout, rows: usize) -> Vec<usize> {
    let segments = segments(grid, layout.fold);
    let takes = takes(&segments, grid.run);
    takes.iter().map(|&(taps, from)| 2 * (layout.shift(taps[0], rows) * layout.apart + from)).collect()
}

/// Packs tile `tile` of a pair, the first of which column begins at the first of the weights.
///
/// # Safety
/// The weights of all columns are there.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_tile(
    weights: Weights,
    columns: usize,
    takes: &[(&[Tap], usize)],
    run: usize,
    tile: usize,
    pair: &mut [f32],
) {
    let step_len = (pair.len() / takes.len().max(1)).max(1);
    for (&(taps, from), step) in takes.iter().zip(pair.chunks_exact_mut(step_len)) {
        let (upper, lower) = step.split_at_mut(step_len / 2);
        let (upper, lower) = (&mut upper[tile * VALUES / 2..], &mut lower[tile * VALUES / 2..]);
        let rows = upper.chunks_exact_mut(TILE).zip(lower.chunks_exact_mut(TILE));
        for (row, (upper, lower)) in rows.take(TILE).enumerate() {
            let column = |at: usize| {
                let (tap, channel) = (at / run, at % run);
                let count = if tap < taps.len() { columns } else { 0 };
                let start = taps.get(tap).map_or(0, |tap| channel * weights.channel + tap.index);
                // SAFETY: as the caller promises.
                unsafe { gather(weights.values.as_ptr().wrapping_add(start), weights.column, count) }
            };
            let (first, second) = (column(from + 2 * row), column(from + 2 * row + 1));
            // SAFETY: a row is sixteen `f32`, which are 32 halves.
            unsafe { split_pair(first, second, upper.as_mut_ptr().cast(), lower.as_mut_ptr().cast()) };
        }
    }
}
