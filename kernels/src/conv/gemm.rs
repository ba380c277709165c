//! Dense convolution as a matrix product without a copied matrix.
//!
//! Rows of the product are pixels: for each tap the kernel is handed the address of the pixel's channels, or of zeros
//! outside the image (the indirect convolution of Dukhan, arXiv:1907.02129). Columns are output channels, packed once.

use super::grid::Grid;
use super::microkernel::{MR, NR, Rows, Tile, multiply};
use crate::activation::{Activation, fix_activation};
use crate::path::Path;
use crate::share::SharedMut;
use rayon::prelude::*;

/// Pixels in a task: a packed panel of weights is read from memory once for them.
const BLOCK: usize = 16 * MR;
/// Tasks below which the columns are divided too.
const ENOUGH_TASKS: usize = 24;

/// Weights as columns: `[group][panel of 16 columns][tap][source channel][16]`, missing columns zero.
pub(crate) struct Panels {
    values: Vec<f32>,
    groups: usize,
    depth: usize,
    columns: usize,
}

impl Panels {
    /// Packs `columns` columns for each group into `values`; `weight(group, column, channel)` gives the weights of all
    /// taps of the kernel, of which those of the grid are taken.
    pub(crate) fn pack<'w>(
        grid: &Grid,
        groups: usize,
        columns: usize,
        weight: impl Fn(usize, usize, usize) -> &'w [f32] + Sync,
        mut values: Vec<f32>,
    ) -> Self {
        let (taps, run) = (grid.taps.len(), grid.run);
        let panels = columns.div_ceil(NR);
        values.clear();
        values.resize(groups * panels * taps * run * NR, 0.0);
        values.par_chunks_mut((taps * run * NR).max(1)).enumerate().for_each(|(at, panel)| {
            let (group, first) = (at / panels, at % panels * NR);
            for channel in 0..run {
                for column in first..columns.min(first + NR) {
                    let from = weight(group, column, channel);
                    for (place, tap) in grid.taps.iter().enumerate() {
                        panel[(place * run + channel) * NR + column - first] = from[tap.index];
                    }
                }
            }
        });
        Self { values, groups, depth: taps * run, columns }
    }

    fn panel(&self, group: usize, panel: usize) -> &[f32] {
        let size = self.depth * NR;
        &self.values[(group * self.columns.div_ceil(NR) + panel) * size..][..size]
    }

    /// The memory, to pack other weights into.
    pub(crate) fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// What happens to a finished sum on its way to memory.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Activation,
    /// Add to what the destination holds.
    pub(crate) accumulate: bool,
}

/// Computes the whole grid: `dst = act(src * panels + bias)`.
pub(crate) fn run(path: Path, grid: &Grid, panels: &Panels, src: &[f32], dst: &mut [f32], epilogue: Epilogue) {
    let blocks = grid.pixels().div_ceil(BLOCK);
    let count = panels.columns.div_ceil(NR);
    assert_eq!(panels.depth, grid.taps.len() * grid.run, "weights packed for another kernel");
    let splits = ENOUGH_TASKS.div_ceil((blocks * panels.groups).max(1)).clamp(1, count);
    let width = count.div_ceil(splits);
    let zeros = vec![0.0; grid.run];
    let out = SharedMut::new(dst);
    (0..blocks * panels.groups * splits).into_par_iter().for_each(|task| {
        let (rest, split) = (task / splits, task % splits);
        let (block, group) = (rest / panels.groups, rest % panels.groups);
        let end = grid.pixels().min((block + 1) * BLOCK);
        let tiles = RowTiles::new(grid, block * BLOCK..end, src, group * grid.run, &zeros);
        for panel in split * width..count.min((split + 1) * width) {
            // SAFETY: blocks own disjoint pixels, and splits and groups disjoint columns of them.
            unsafe { run_panel(path, &tiles, panels, (group, panel), out, epilogue) };
        }
    });
}

/// Addresses of the rows of a block of pixels, tile by tile.
struct RowTiles<'a> {
    /// For each tile and tap, `MR` addresses.
    starts: Vec<[*const f32; MR]>,
    /// For each tile, the destinations of its pixels.
    destinations: Vec<[usize; MR]>,
    pixels: usize,
    taps: usize,
    run: usize,
    src: std::marker::PhantomData<&'a [f32]>,
}

impl<'a> RowTiles<'a> {
    /// `channel` is the first one read of each pixel; `zeros` stands in for pixels outside.
    fn new(grid: &Grid, pixels: std::ops::Range<usize>, src: &'a [f32], channel: usize, zeros: &'a [f32]) -> Self {
        let (taps, count) = (grid.taps.len(), pixels.len());
        let tiles = count.div_ceil(MR);
        let mut starts = vec![[zeros.as_ptr(); MR]; tiles * taps];
        let mut destinations = vec![[0; MR]; tiles];
        let mut at = 0;
        for (line, cols) in grid.lines(pixels) {
            for (place, &tap) in grid.taps.iter().enumerate() {
                let sources = grid.source_line(line, cols.clone(), tap).enumerate();
                for (col, from) in sources.filter_map(|(col, from)| Some((at + col, from?))) {
                    starts[col / MR * taps + place][col % MR] = src[from + channel..][..zeros.len()].as_ptr();
                }
            }
            for col in cols {
                destinations[at / MR][at % MR] = grid.destination((line.0, line.1, col));
                at += 1;
            }
        }
        Self { starts, destinations, pixels: count, taps, run: grid.run, src: std::marker::PhantomData }
    }
}

/// One panel of columns over all pixels of a block.
///
/// # Safety
/// No other task writes these columns of these pixels.
unsafe fn run_panel(
    path: Path,
    tiles: &RowTiles,
    panels: &Panels,
    (group, panel): (usize, usize),
    out: SharedMut,
    epilogue: Epilogue,
) {
    let width = (panels.columns - panel * NR).min(NR);
    let first = group * panels.columns + panel * NR;
    let mut bias = [0.0; NR];
    if let Some(all) = epilogue.bias {
        bias[..width].copy_from_slice(&all[first..first + width]);
    }
    let weights = panels.panel(group, panel);
    let mut tile: Tile = [[0.0; NR]; MR];
    for (at, destinations) in tiles.destinations.iter().enumerate() {
        let used = (tiles.pixels - at * MR).min(MR);
        let starts = &tiles.starts[at * tiles.taps..(at + 1) * tiles.taps];
        // SAFETY: `RowTiles` took every address from a slice of `run` values.
        unsafe { multiply(path, used, Rows { starts, run: tiles.run }, weights, tile.as_flattened_mut(), NR) };
        finish(path, &mut tile, &bias, epilogue.activation);
        for (row, &to) in tile.iter().zip(destinations).take(used) {
            // SAFETY: the caller vouches that nobody else writes there.
            let to = unsafe { out.part(to + first, width) };
            store(to, row, epilogue.accumulate);
        }
    }
}

/// Adds the bias and applies the activation.
#[inline(always)]
fn finish(path: Path, tile: &mut Tile, bias: &[f32; NR], activation: Activation) {
    path.run(|| {
        fix_activation!(activation, ACT => for row in tile.iter_mut() {
            for (v, b) in row.iter_mut().zip(bias) {
                *v = ACT.apply(*v + b);
            }
        })
    });
}

#[inline(always)]
fn store(to: &mut [f32], row: &[f32; NR], accumulate: bool) {
    if accumulate {
        to.iter_mut().zip(row).for_each(|(to, v)| *to += v);
    } else if let Some(to) = to.first_chunk_mut::<NR>() {
        *to = *row;
    } else {
        to.copy_from_slice(&row[..to.len()]);
    }
}
