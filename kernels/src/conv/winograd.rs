//! 3 x 3 convolutions on transformed tiles, as Winograd's F(4x4, 3x3), by any [`Scheme`].
//!
//! A block of tiles is transformed to `V: [source][tile][channel in]`, multiplied by the packed kernel `U` to
//! `M: [sum][tile][channel out]`, where products of the same sum lie side by side in the depth of one matrix product, and
//! transformed back. From few channels a `V` comes that stays in the cache: then `M` does too, being made and transformed a
//! few panels at a time. Long rows and planes are an odd number of cache lines long, so that neither tiles nor planes fall
//! on the same cache sets.

use super::Scratch;
use super::columns::Columns;
use super::epilogue::Epilogue;
use super::microkernel::{MR, NR, Rows, multiply};
use super::scheme::Scheme;
use super::tiles::{Sums, Tiles, transform_kernel};
use crate::path::Path;
use crate::share::SharedMut;
use rayon::prelude::*;
use std::ops::Range;

/// Values in a cache line.
const LINE: usize = 16;
/// Tiles in a block that one thread works through; its `V` stays in the L2 cache for usual channel counts.
const BLOCK: usize = 8 * MR;
/// Values of a block's `V` up to which it stays in the L2 cache with a panel's kernel and sums.
const V_VALUES: usize = 84 * 1024;
/// Values of `M` that stay there beside it.
const M_VALUES: usize = 48 * 1024;
/// Parts that a single block's panels and tiles are divided into at least.
const TASKS: usize = 8;
/// With at most so many tiles they are one block, and threads divide its steps instead.
const ONE_BLOCK: usize = 400;

/// Length of a row of `channels` values: if it is long, an odd number of cache lines.
pub(crate) fn row_length(channels: usize) -> usize {
    let lines = channels.div_ceil(LINE);
    (if lines < 4 { lines } else { lines | 1 }) * LINE
}

/// Length of `count` rows: an odd number of cache lines.
pub(crate) fn plane(count: usize, row: usize) -> usize {
    ((count * row).div_ceil(LINE) | 1) * LINE
}

/// Kernel transformed and packed: `U: [sum][panel][product][channel in][column of the panel]`, or `[panel][sum]..` if there
/// are few input channels; missing columns are zero.
pub(crate) struct Kernel {
    values: Vec<f32>,
    scheme: Scheme,
    sums: Vec<Sum>,
    inputs: usize,
    columns: Columns,
}

/// Products that are summed.
struct Sum {
    products: Vec<usize>,
    /// Rows of a panel for the sums before.
    first: usize,
}

impl Sum {
    /// All sums of a scheme for `inputs` channels.
    fn all(scheme: Scheme, inputs: usize) -> Vec<Self> {
        let mut sums: Vec<Self> = (0..scheme.sums()).map(|_| Self { products: Vec::new(), first: 0 }).collect();
        for product in 0..scheme.products() {
            sums[scheme.sum(product)].products.push(product);
        }
        let mut first = 0;
        for sum in &mut sums {
            sum.first = first;
            first += rows_of(sum.products.len(), inputs);
        }
        sums
    }
}

/// Rows of a panel for a sum of so many products; an odd number, so that a channel's do not fall on the same cache sets.
fn rows_of(products: usize, inputs: usize) -> usize {
    (products * inputs) | 1
}

/// Most products of a sum.
const MOST: usize = 4;

impl Kernel {
    /// `weight(column, channel)` gives the nine weights; `flip` turns the kernel by half a turn.
    pub(crate) fn pack<'w>(
        path: Path,
        scheme: Scheme,
        (inputs, outputs): (usize, usize),
        flip: bool,
        weight: impl Fn(usize, usize) -> &'w [f32] + Sync,
        mut values: Vec<f32>,
    ) -> Self {
        values.resize(Self::len(scheme, inputs, outputs), 0.0);
        let columns = Columns(outputs);
        let mut kernel = Self { values: Vec::new(), scheme, sums: Sum::all(scheme, inputs), inputs, columns };
        let to = SharedMut::new(&mut values);
        (0..columns.panels()).into_par_iter().for_each(|panel| {
            let (places, width) = (kernel.places(panel), columns.width(panel));
            for channel in 0..inputs {
                let mut taps = [[0.0; NR]; 9];
                for (at, column) in columns.of(panel).enumerate() {
                    for (tap, &value) in weight(column, channel).iter().enumerate() {
                        taps[if flip { 8 - tap } else { tap }][at] = value;
                    }
                }
                transform_kernel(path, scheme, width, &taps, to.offset(channel * width), &places);
            }
        });
        kernel.values = values;
        kernel
    }

    /// What it was packed for.
    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Values of a packed kernel.
    pub(crate) fn len(scheme: Scheme, inputs: usize, outputs: usize) -> usize {
        Sum::all(scheme, inputs).iter().map(|sum| rows_of(sum.products.len(), inputs)).sum::<usize>()
            * Columns(outputs).padded()
    }

    /// Rows of a panel.
    fn depth(&self) -> usize {
        self.sums.last().map_or(0, |last| last.first + rows_of(last.products.len(), self.inputs))
    }

    /// The memory, to pack other weights into.
    pub(crate) fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// True if `V` of a block stays in the cache.
    fn is_narrow(&self) -> bool {
        self.scheme.sources() * BLOCK * row_length(self.inputs) <= V_VALUES
    }

    /// Where the part of a panel lies that a sum is made with.
    fn place(&self, sum: &Sum, panel: usize) -> Range<usize> {
        let rows = sum.products.len() * self.inputs;
        let start = if self.is_narrow() {
            self.columns.place(panel, self.depth()).start + sum.first * self.columns.width(panel)
        } else {
            sum.first * self.columns.padded() + self.columns.place(panel, rows).start
        };
        start..start + rows * self.columns.width(panel)
    }

    /// For each product the start of its part of a panel.
    fn places(&self, panel: usize) -> Vec<usize> {
        let mut places = vec![0; self.scheme.products()];
        for sum in &self.sums {
            let start = self.place(sum, panel).start;
            for (at, &product) in sum.products.iter().enumerate() {
                places[product] = start + at * self.inputs * self.columns.width(panel);
            }
        }
        places
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
        let mut v = scratch.take(tiles.scheme.sources() * block.plane(kernel.inputs));
        block.transform_input(path, src, SharedMut::new(&mut v));
        if one_block && !kernel.is_narrow() {
            block.compute_by_sums(path, kernel, &v, out, epilogue, scratch);
        } else {
            block.compute_by_panels(path, kernel, &v, out, epilogue, scratch);
        }
    });
}

/// Divides a range into as few parts as there are with at most `most` in each, of sizes as even as can be: a few rows left
/// over would take the registers almost as long as many.
fn parts(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = range.len().div_ceil(most);
    let at = move |part: usize| range.start + range.len() * part / count;
    (0..count).map(move |part| at(part)..at(part + 1))
}

/// How sums lie in an `M` that holds the tiles and panels from the first ones on.
#[derive(Clone, Copy)]
struct M {
    row: usize,
    plane: usize,
    first_tile: usize,
    first_panel: usize,
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

    /// Transforms the source for each tile and channel.
    fn transform_input(&self, path: Path, src: &[f32], v: SharedMut) {
        let channels = self.tiles.src.channels;
        let (row, plane) = (row_length(channels), self.plane(channels));
        self.for_each(self.count, 4, |tile| {
            self.tiles.transform_input(path, self.first + tile, src, v.offset(tile * row), plane);
        });
    }

    /// Makes `M` for a few panels at a time and transforms them.
    fn compute_by_panels(
        &self,
        path: Path,
        kernel: &Kernel,
        v: &[f32],
        out: SharedMut,
        epilogue: Epilogue,
        scratch: &Scratch,
    ) {
        let tiles: Vec<Range<usize>> = parts(0..self.count, BLOCK).collect();
        let (all, panel) = (kernel.columns.panels(), kernel.sums.len() * BLOCK.min(self.count) * NR);
        let most = if kernel.is_narrow() { M_VALUES / panel } else { all };
        let most = if self.divide { most.min(all * tiles.len() / TASKS) } else { most };
        let panels: Vec<Range<usize>> = parts(0..all, most.max(1)).collect();
        self.for_each(tiles.len() * panels.len(), 1, |task| {
            let (tiles, panels) = (tiles[task % tiles.len()].clone(), panels[task / tiles.len()].clone());
            let row = panels.len() * NR;
            let plane = plane(tiles.len(), row);
            let mut values = scratch.take(kernel.sums.len() * plane);
            let m = M { row, plane, first_tile: tiles.start, first_panel: panels.start };
            for (sum, values) in kernel.sums.iter().zip(values.chunks_exact_mut(plane)) {
                // SAFETY: nobody else has these values.
                unsafe {
                    self.multiply(path, kernel, (v, sum), (tiles.clone(), panels.clone()), m, SharedMut::new(values))
                };
            }
            for tile in tiles {
                self.transform_output(path, kernel, (tile, panels.clone()), (m, &values), out, epilogue);
            }
        });
    }

    /// Makes the whole of `M`, sums divided among threads, and transforms it, tiles divided among threads: so the kernel,
    /// of which there is much then, is read once.
    fn compute_by_sums(
        &self,
        path: Path,
        kernel: &Kernel,
        v: &[f32],
        out: SharedMut,
        epilogue: Epilogue,
        scratch: &Scratch,
    ) {
        let panels = kernel.columns.panels();
        let row = row_length(panels * NR);
        let m = M { row, plane: self.plane(row), first_tile: 0, first_panel: 0 };
        let mut values = scratch.take(kernel.sums.len() * m.plane);
        let to = SharedMut::new(&mut values);
        let splits: Vec<Range<usize>> = parts(0..panels, panels.div_ceil(2)).collect();
        self.for_each(kernel.sums.len() * splits.len(), 1, |task| {
            let (sum, split) = (task % kernel.sums.len(), splits[task / kernel.sums.len()].clone());
            for tiles in parts(0..self.count, BLOCK) {
                let to = to.offset(sum * m.plane);
                // SAFETY: each task writes its own panels of its sum.
                unsafe { self.multiply(path, kernel, (v, &kernel.sums[sum]), (tiles, split.clone()), m, to) };
            }
        });
        self.for_each(self.count, 4, |tile| {
            self.transform_output(path, kernel, (tile, 0..panels), (m, &values), out, epilogue);
        });
    }

    /// A plane of `M = V U` for some tiles and panels.
    ///
    /// # Safety
    /// No other task writes these panels of these tiles.
    unsafe fn multiply(
        &self,
        path: Path,
        kernel: &Kernel,
        (v, sum): (&[f32], &Sum),
        (tiles, panels): (Range<usize>, Range<usize>),
        m: M,
        to: SharedMut,
    ) {
        for panel in panels {
            let (columns, width) = (&kernel.values[kernel.place(sum, panel)], kernel.columns.width(panel));
            for Range { start, end } in parts(tiles.clone(), MR) {
                let used = end - start;
                let starts = self.rows(kernel, sum, v, start, used);
                let place = (start - m.first_tile) * m.row + (panel - m.first_panel) * NR;
                // SAFETY: rows of `v` hold `inputs` values; the caller vouches for the panel.
                let (rows, to) = unsafe {
                    let rows = Rows::new(&starts[..sum.products.len()], kernel.inputs);
                    (rows, to.part(place, (used - 1) * m.row + width))
                };
                multiply(path, width, used, rows, columns, to, m.row);
            }
        }
    }

    /// Transforms the sums of some panels to a tile of the destination, then bias, activation and residual.
    fn transform_output(
        &self,
        path: Path,
        kernel: &Kernel,
        (tile, panels): (usize, Range<usize>),
        (m, values): (M, &[f32]),
        out: SharedMut,
        epilogue: Epilogue,
    ) {
        let (first, end) = (panels.start * NR, kernel.columns.0.min(panels.end * NR));
        let values = &values[(tile - m.first_tile) * m.row..];
        let sums = Sums { values, plane: m.plane, first, channels: end - first };
        self.tiles.transform_output(path, self.first + tile, sums, out, epilogue);
    }

    /// Starts of the `used` rows from tile `first` on, for each product of a sum.
    fn rows(&self, kernel: &Kernel, sum: &Sum, v: &[f32], first: usize, used: usize) -> [[*const f32; MR]; MOST] {
        let (row, plane) = (row_length(kernel.inputs), self.plane(kernel.inputs));
        let mut starts = [[v.as_ptr(); MR]; MOST];
        for (starts, &product) in starts.iter_mut().zip(&sum.products) {
            let v = &v[kernel.scheme.source(product) * plane..][..self.count * row];
            *starts = std::array::from_fn(|i| v[(first + i.min(used - 1)) * row..].as_ptr());
        }
        starts
    }
}
