//! Dense convolution as a matrix product without a copied matrix.
//!
//! Rows of the product are pixels: for each tap the kernel is handed the address of the pixel's channels, or of zeros
//! outside the image (the indirect convolution of Dukhan, arXiv:1907.02129). Columns are output channels, packed once.

use super::Scratch;
use super::epilogue::{Epilogue, Finished, WIDEST, finish};
use super::grid::Grid;
use super::microkernel::{Columns, MR, NR, Next, Rows, multiply, tile};
use super::panels::Panels;
use crate::path::Path;
use crate::shape::PoolShape;
use crate::share::SharedMut;
use rayon::prelude::*;
use std::ops::Range;

/// Pixels in a task: a packed panel of weights is read from memory once for them.
const BLOCK: usize = 96;
/// Values of an output whose rows are pooled while they are in the L2 cache.
const STRIP: usize = 64 * 1024;
/// Tasks below which the columns are divided too.
const ENOUGH_TASKS: usize = 24;

/// Computes the whole grid: `dst = act(src * panels + bias) + residual`.
pub(crate) fn run(path: Path, grid: &Grid, panels: &Panels, src: &[f32], dst: &mut [f32], epilogue: Epilogue) {
    let blocks = grid.pixels().div_ceil(BLOCK);
    let count = panels.columns.div_ceil(NR);
    assert_eq!(panels.depth, grid.taps.len() * grid.run, "weights packed for another kernel");
    let splits = ENOUGH_TASKS.div_ceil((blocks * panels.groups).max(1)).clamp(1, count.max(1));
    let width = count.div_ceil(splits);
    let zeros = vec![0.0; grid.run];
    let out = SharedMut::new(dst);
    (0..blocks * panels.groups * splits).into_par_iter().for_each(|task| {
        let (rest, split) = (task / splits, task % splits);
        let (block, group) = (rest / panels.groups, rest % panels.groups);
        let end = grid.pixels().min((block + 1) * BLOCK);
        let tiles = RowTiles::new(grid, tile(path).0, block * BLOCK..end, src, group * grid.run, &zeros);
        let some = split * width..count.min((split + 1) * width);
        // SAFETY: blocks own disjoint pixels, and splits and groups disjoint columns of them.
        unsafe { run_panels(path, &tiles, panels, (group, some), out, epilogue) };
    });
}

/// [`run`] for one group on a source that is padded, and the pooling of its output, some rows at a time: they are pooled
/// from the cache, and the whole output never goes to memory.
pub(crate) fn run_pooled(
    path: Path,
    grid: &Grid,
    panels: &Panels,
    src: &[f32],
    dst: &mut [f32],
    epilogue: Epilogue,
    scratch: &Scratch,
) {
    assert_eq!(panels.depth, grid.taps.len() * grid.run, "weights packed for another kernel");
    let epilogue = Epilogue { pooled: false, ..epilogue };
    let line = grid.cols * grid.dst.channels;
    let most = (STRIP / (2 * line).max(1)).max(1) * 2;
    let strips = grid.rows.div_ceil(most);
    let zeros = vec![0.0; grid.run];
    let out = SharedMut::new(dst);
    (0..grid.batch * strips).into_par_iter().for_each(|strip| {
        let (image, top) = (strip / strips, strip % strips * most);
        let rows = most.min(grid.rows - top);
        let strip = grid.strip(image, top, rows);
        let mut map = scratch.take(rows * line);
        let to = SharedMut::new(&mut map);
        for first in (0..strip.pixels()).step_by(BLOCK) {
            let pixels = first..strip.pixels().min(first + BLOCK);
            let tiles = RowTiles::new(&strip, tile(path).0, pixels, &src[grid.line_start(image, top)..], 0, &zeros);
            // SAFETY: the strip is this task's.
            unsafe { run_panels(path, &tiles, panels, (0, 0..panels.columns.div_ceil(NR)), to, epilogue) };
        }
        let shape = PoolShape::quarter(1, rows, grid.cols, grid.dst.channels);
        let start = (image * grid.rows + top) * line / 4;
        // SAFETY: strips own disjoint rows.
        shape.pool_here(path, &map, unsafe { out.part(start, rows * line / 4) });
    });
}

/// Addresses of the rows of a block of pixels, tile by tile.
struct RowTiles<'a> {
    /// For each tile and tap, `MR` addresses.
    starts: Vec<[*const f32; MR]>,
    /// For each tile, the destinations of its pixels.
    destinations: Vec<[usize; MR]>,
    /// Pixels of a tile.
    rows: usize,
    pixels: usize,
    taps: usize,
    run: usize,
    src: std::marker::PhantomData<&'a [f32]>,
}

impl<'a> RowTiles<'a> {
    /// Tiles have `rows` pixels, at most `MR`. `channel` is the first one read of each pixel; `zeros` stands in for pixels outside.
    fn new(grid: &Grid, rows: usize, pixels: Range<usize>, src: &'a [f32], channel: usize, zeros: &'a [f32]) -> Self {
        let (taps, count) = (grid.taps.len(), pixels.len());
        let tiles = count.div_ceil(rows);
        let mut starts = vec![[zeros.as_ptr(); MR]; tiles * taps];
        let mut destinations = vec![[0; MR]; tiles];
        let mut at = 0;
        for (line, cols) in grid.lines(pixels) {
            for (place, &tap) in grid.taps.iter().enumerate() {
                let Some(seen) = grid.source_line(line, cols.clone(), tap) else { continue };
                // Checked once a line: the addresses in it ascend.
                let last = seen.from + (seen.cols.len() - 1) * seen.apart + channel;
                assert!(last + grid.run <= src.len(), "a pixel outside the source");
                let mut address = src[seen.from + channel..].as_ptr();
                each_lane(rows, at + seen.cols.start - cols.start, seen.cols.len(), |tile, lanes| {
                    for start in &mut starts[tile * taps + place][lanes] {
                        *start = address;
                        address = address.wrapping_add(seen.apart);
                    }
                });
            }
            let mut to = grid.destination((line.0, line.1, cols.start));
            each_lane(rows, at, cols.len(), |tile, lanes| {
                for destination in &mut destinations[tile][lanes] {
                    *destination = to;
                    to += grid.dst_step.1 * grid.dst.channels;
                }
            });
            at += cols.len();
        }
        Self { starts, destinations, rows, pixels: count, taps, run: grid.run, src: std::marker::PhantomData }
    }
}

/// Calls `place(tile, lanes)` for `count` pixels from pixel `first` on, in tiles of `rows`.
#[inline(always)]
fn each_lane(rows: usize, first: usize, count: usize, mut place: impl FnMut(usize, Range<usize>)) {
    let (mut tile, mut lane, mut left) = (first / rows, first % rows, count);
    while left > 0 {
        let lanes = lane..rows.min(lane + left);
        left -= lanes.len();
        place(tile, lanes);
        (tile, lane) = (tile + 1, 0);
    }
}

/// Some panels of columns of a group over all pixels of a block.
///
/// # Safety
/// No other task writes these columns of these pixels.
unsafe fn run_panels(
    path: Path,
    tiles: &RowTiles,
    panels: &Panels,
    (group, some): (usize, Range<usize>),
    out: SharedMut,
    epilogue: Epilogue,
) {
    let most = tile(path).1;
    let mut sums = [[0.0; WIDEST]; MR];
    for panel in some.clone().step_by(most) {
        let count = most.min(some.end - panel);
        let (width, first) = ((panels.columns - panel * NR).min(count * NR), group * panels.columns + panel * NR);
        let mut bias = [0.0; WIDEST];
        if let Some(all) = epilogue.bias {
            bias[..width].copy_from_slice(&all[first..first + width]);
        }
        let values = panels.panels(group, panel, count);
        let columns = Columns { panels: count, values, next: Next::nothing(values) };
        for (at, destinations) in tiles.destinations.iter().enumerate() {
            let used = (tiles.pixels - at * tiles.rows).min(tiles.rows);
            let starts = &tiles.starts[at * tiles.taps..(at + 1) * tiles.taps];
            // SAFETY: `RowTiles` took every address from a slice of `run` values.
            let rows = unsafe { Rows::new(starts, tiles.run) };
            multiply(path, used, rows, columns, sums.as_flattened_mut(), WIDEST);
            let finished = Finished { sums: &sums[..used], bias: &bias, destinations, columns: first..first + width };
            finish(path, finished, out, epilogue);
        }
    }
}
