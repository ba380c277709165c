//! 3 x 3 convolutions on transformed tiles, as Winograd's F(4x4, 3x3), by any [`Scheme`].
//!
//! A block of tiles is transformed to `V: [source][tile][channel in]`, multiplied by some columns of the packed kernel `U`
//! to `M: [sum][tile][column]`, where products of the same sum lie side by side in the depth of one matrix product, and
//! transformed back before the next columns, while `M` is in the cache. Rows of `V` and `M` are an odd number of cache lines long, so that neither tiles nor planes fall on
//! the same cache sets.

use super::Scratch;
use super::epilogue::Epilogue;
use super::microkernel::{Columns, MR, NR, Next, Rows, TOGETHER, multiply, tile};
use super::scheme::Scheme;
use super::tiles::{Taps, Tiles, transform_kernels};
use crate::path::Path;
use crate::share::SharedMut;
use rayon::prelude::*;
use std::ops::Range;

/// Values in a cache line.
const LINE: usize = 16;
/// Values of `V` in a block, and of `M` at a time, that stay in the L2 cache together.
const SOURCES: usize = 128 * 1024;
const SUMS: usize = 64 * 1024;
/// Tiles of a block: at most, and at least so many that reading the kernel again for each block does not cost more than
/// multiplying. Where fewer fit the cache, `V` had better be read from further away.
const MOST_TILES: usize = 48;
const FEWEST_TILES: usize = 24;
const DEEP_TILES: usize = 128;
/// Columns for which `V` is worth reading from further away.
const DEEP_COLUMNS: usize = 128;
/// With fewer blocks threads divide the columns of a block, into at least so many parts.
const ENOUGH_BLOCKS: usize = 4;
const ENOUGH_PARTS: usize = 8;

/// Length of a row of `channels` values: an odd number of cache lines.
pub(crate) fn row_length(channels: usize) -> usize {
    (channels.div_ceil(LINE) | 1) * LINE
}

/// Length of `count` rows: an odd number of cache lines.
pub(crate) fn plane(count: usize, row: usize) -> usize {
    ((count * row).div_ceil(LINE) | 1) * LINE
}

/// Kernel transformed and packed: `U: [sum][panel of 16 columns][product][channel in][16]`, missing columns zero.
pub(crate) struct Kernel {
    values: Vec<f32>,
    scheme: Scheme,
    sums: Vec<Sum>,
    inputs: usize,
    outputs: usize,
}

/// Products that are summed.
struct Sum {
    products: Vec<usize>,
    /// Products of the sums before.
    first: usize,
}

impl Sum {
    /// All sums of a scheme.
    fn all(scheme: Scheme) -> Vec<Self> {
        let mut sums: Vec<Self> = (0..scheme.sums()).map(|_| Self { products: Vec::new(), first: 0 }).collect();
        for product in 0..scheme.products() {
            sums[scheme.sum(product)].products.push(product);
        }
        let mut first = 0;
        for sum in &mut sums {
            sum.first = first;
            first += sum.products.len();
        }
        sums
    }
}

/// Most products of a sum.
const MOST: usize = 4;

impl Kernel {
    /// Transforms the kernels of `inputs` channels and `outputs` columns.
    pub(crate) fn pack(
        path: Path,
        scheme: Scheme,
        (inputs, outputs): (usize, usize),
        taps: Taps,
        mut values: Vec<f32>,
    ) -> Self {
        values.resize(Self::len(scheme, inputs, outputs), 0.0);
        let mut kernel = Self { values: Vec::new(), scheme, sums: Sum::all(scheme), inputs, outputs };
        let to = SharedMut::new(&mut values);
        (0..outputs.div_ceil(NR)).into_par_iter().for_each(|panel| {
            let columns = (panel * NR, NR.min(outputs - panel * NR));
            transform_kernels(path, scheme, taps, columns, inputs, to, &kernel.places(panel));
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
        scheme.products() * Self::plane(inputs, outputs)
    }

    /// Values of a product.
    fn plane(inputs: usize, outputs: usize) -> usize {
        plane(inputs, outputs.next_multiple_of(NR))
    }

    /// The memory, to pack other weights into.
    pub(crate) fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// Start and length of a panel of a sum.
    fn place(&self, sum: &Sum, panel: usize) -> (usize, usize) {
        let size = sum.products.len() * self.inputs * NR;
        (sum.first * Self::plane(self.inputs, self.outputs) + panel * size, size)
    }

    /// For each product the start of its part of a panel.
    fn places(&self, panel: usize) -> Vec<usize> {
        let mut places = vec![0; self.scheme.products()];
        for sum in &self.sums {
            let (start, _) = self.place(sum, panel);
            for (at, &product) in sum.products.iter().enumerate() {
                places[product] = start + at * self.inputs * NR;
            }
        }
        places
    }

    /// All sums in order, and in each some panels, at most `most` at a time: number of the sum, first panel, values.
    fn steps(&self, panels: Range<usize>, most: usize) -> impl Iterator<Item = (usize, usize, &[f32])> {
        self.sums.iter().enumerate().flat_map(move |(at, sum)| {
            let first = panels.clone().step_by(most);
            let end = panels.end;
            first.map(move |panel| (at, panel, self.panels(sum, panel, most.min(end - panel))))
        })
    }

    /// `count` panels of a sum from `panel` on.
    fn panels(&self, sum: &Sum, panel: usize, count: usize) -> &[f32] {
        let (start, size) = self.place(sum, panel);
        &self.values[start..][..count * size]
    }
}

/// How the work is cut; by the shape alone, so that results do not depend on the number of threads.
struct Cut {
    /// Tiles of a block.
    tiles: usize,
    /// Panels whose sums are computed and transformed at a time.
    panels: usize,
    /// Threads divide the work in a block; otherwise one thread goes through it.
    divide: bool,
}

impl Cut {
    fn new(scheme: Scheme, tiles: usize, inputs: usize, outputs: usize) -> Self {
        let fitting = SOURCES / (scheme.sources() * row_length(inputs)).max(1);
        let deep = fitting < FEWEST_TILES;
        let most = if deep { DEEP_TILES } else { fitting.min(MOST_TILES) };
        let blocks = tiles.div_ceil(most).max(1);
        let size = tiles.div_ceil(blocks).next_multiple_of(MR);
        let columns = (SUMS / (scheme.sums() * size).max(1)).max(if deep { DEEP_COLUMNS } else { 1 });
        let divide = blocks < ENOUGH_BLOCKS;
        let all = outputs.div_ceil(NR);
        let most = (columns / (TOGETHER * NR)).max(1) * TOGETHER;
        // Parts of one size, and enough of them for threads to be done at the same time.
        let parts = all.div_ceil(most).max(if divide { ENOUGH_PARTS } else { 1 });
        Self { tiles: size, panels: all.div_ceil(parts).next_multiple_of(TOGETHER).min(all).max(1), divide }
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
    let cut = Cut::new(tiles.scheme, tiles.count, kernel.inputs, kernel.outputs);
    let out = SharedMut::new(dst);
    (0..tiles.count.div_ceil(cut.tiles.max(1))).into_par_iter().for_each(|block| {
        let first = block * cut.tiles;
        let block = Block { tiles, first, count: cut.tiles.min(tiles.count - first), divide: cut.divide };
        let mut v = scratch.take(tiles.scheme.sources() * block.plane(kernel.inputs));
        block.transform_input(path, src, SharedMut::new(&mut v));
        let panels = kernel.outputs.div_ceil(NR);
        block.for_each(panels.div_ceil(cut.panels), 1, |group| {
            let panels = group * cut.panels..panels.min((group + 1) * cut.panels);
            let mut m = scratch.take(tiles.scheme.sums() * block.plane(panels.len() * NR));
            block.multiply(path, kernel, &v, panels.clone(), &mut m);
            block.transform_output(path, &m, panels, out, epilogue);
        });
    });
}

/// Divides a range into as few parts as there are with at most `most` in each, of sizes as even as can be: a few rows left
/// over would take the registers almost as long as many.
fn parts(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = range.len().div_ceil(most);
    let at = move |part: usize| range.start + range.len() * part / count;
    (0..count).map(move |part| at(part)..at(part + 1))
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

    /// `M = V U` for each sum and these panels.
    fn multiply(&self, path: Path, kernel: &Kernel, v: &[f32], panels: Range<usize>, m: &mut [f32]) {
        let width = panels.len() * NR;
        let (row, plane) = (row_length(width), self.plane(width));
        let (rows, most) = tile(path);
        let mut steps = kernel.steps(panels.clone(), most).peekable();
        while let Some((at, panel, values)) = steps.next() {
            let count = values.len() / (kernel.sums[at].products.len() * kernel.inputs * NR).max(1);
            let after = steps.peek().map_or(values, |(.., after)| after);
            for (part, Range { start, end }) in parts(0..self.count, rows).enumerate() {
                let next = Next::share(after, part, self.count.div_ceil(rows), values.len() / (count * NR).max(1));
                let starts = self.rows(kernel, &kernel.sums[at], v, start, end - start);
                // SAFETY: rows of `v` hold `inputs` values.
                let rows = unsafe { Rows::new(&starts[..kernel.sums[at].products.len()], kernel.inputs) };
                let to = &mut m[at * plane + start * row + (panel - panels.start) * NR..];
                multiply(path, end - start, rows, Columns { panels: count, values, next }, to, row);
            }
        }
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

    /// Transforms the sums of these panels to the destination for each tile, then bias, activation and residual.
    fn transform_output(&self, path: Path, m: &[f32], panels: Range<usize>, out: SharedMut, epilogue: Epilogue) {
        let width = panels.len() * NR;
        let channels = panels.start * NR..self.tiles.dst.channels.min(panels.end * NR);
        for tile in 0..self.count {
            let m = &m[tile * row_length(width)..];
            self.tiles.transform_output(path, self.first + tile, m, self.plane(width), channels.clone(), out, epilogue);
        }
    }
}
