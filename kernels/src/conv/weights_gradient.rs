//! Gradient of dense weights: for each point (a tap, or one of the products of transformed tiles) the transposed product
//! `M = Vt W` of the inputs `V: [unit][row]` and output gradients `W: [unit][column]`, summed over units (pixels, or
//! tiles). Rows are input channels, columns are output channels.

use super::grid::{self, Grid};
use super::microkernel::{NR, Outer, outer, tile};
use super::scheme::{Scheme, Work};
use super::tiles::{Tiles, transform_kernel_gradient};
use super::winograd::{plane, row_length};
use super::{Buffer, Scratch};
use crate::path::Path;
use crate::shape::ConvShape;
use crate::share::SharedMut;
use rayon::prelude::*;
use std::ops::Range;

/// Units gathered at a time: 6 or 8 rows and 16 or 32 columns of them fit the L1 cache together.
const BLOCK: usize = 128;
/// Values of `M` from which on it is never written as a whole, as it would not fit a cache.
const FUSED_SUMS: usize = 6_000_000;
/// Tiles gathered at a time then: 16 columns of all points fit the L2 cache.
const FUSED_BLOCK: usize = 160;
/// The same where one thread gathers all points, which then fit the L2 cache.
const SMALL_BLOCK: usize = 48;
/// Values of `M` up to which units are divided among tasks that each have an `M` of their own.
const SMALL_SUMS: usize = 100_000;
/// Those tasks; more would give other rounding, as would fewer.
const PARTS: usize = 16;

/// Adds the gradient of the weights, OIHW, to `dw`.
pub(crate) fn add(path: Path, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &Scratch) {
    if let Some(scheme) = Scheme::of(shape, Work::Weights) {
        add_by_tiles(path, scheme, shape, x, dy, dw, scratch);
    } else if grid::folds(shape) {
        let mut padded = scratch.take(grid::padded_len(shape));
        grid::pad(shape, x, &mut padded);
        let sizes = Sizes::new(1, shape.taps() * shape.channels_in, shape.channels_out, shape.output_pixels());
        let source = Source::Pixels { grid: Grid::folded(shape), x: &padded, dy, group: 0, side_by_side: true };
        let sums = source.sum(path, &sizes, scratch);
        add_plain(shape, &sizes, &sums, dw);
    } else {
        for (group, dw) in dw.chunks_exact_mut((shape.weights_len() / shape.groups).max(1)).enumerate() {
            let sizes = Sizes::new(shape.taps(), shape.group_in(), shape.group_out(), shape.output_pixels());
            let source = Source::Pixels { grid: Grid::forward(shape), x, dy, group, side_by_side: false };
            let sums = source.sum(path, &sizes, scratch);
            add_plain(shape, &sizes, &sums, dw);
        }
    }
}

/// [`add`] by the tiles of a scheme for `y = conv(x)`.
pub(crate) fn add_by_tiles(
    path: Path,
    scheme: Scheme,
    shape: &ConvShape,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    scratch: &Scratch,
) {
    let tiles = Tiles::new(scheme, shape.batch, grid::planes(shape), shape.pad);
    let sizes = Sizes::new(scheme.products(), shape.channels_in, shape.channels_out, tiles.count);
    let source = Source::Tiles { tiles, x, dy };
    // With more points each row of a task would read so much of `V` that it is slower.
    if scheme == Scheme::Plain && sizes.sums() > FUSED_SUMS {
        source.add_fused(path, scheme, &sizes, dw, scratch);
    } else {
        let sums = source.sum(path, &sizes, scratch);
        add_transformed(path, scheme, &sizes, &sums, dw);
    }
}

/// Sizes of the product, and how it is cut; depends on the shape alone, so that sums are the same on any machine.
struct Sizes {
    points: usize,
    rows: usize,
    /// Columns rounded up to whole panels.
    columns: usize,
    real_columns: usize,
    units: usize,
    parts: usize,
    block: usize,
}

impl Sizes {
    fn new(points: usize, rows: usize, columns: usize, units: usize) -> Self {
        let small = points * rows * columns <= SMALL_SUMS && units >= PARTS * SMALL_BLOCK;
        let (parts, block) = if small { (PARTS, SMALL_BLOCK) } else { (1, BLOCK) };
        Self { points, rows, columns: columns.next_multiple_of(NR), real_columns: columns, units, parts, block }
    }

    /// Values of a point of `M`, an odd number of cache lines.
    fn plane(&self) -> usize {
        plane(self.rows, self.columns)
    }

    /// Values of `M`.
    fn sums(&self) -> usize {
        self.points * self.plane()
    }
}

/// Where `V` and `W` come from.
enum Source<'a> {
    /// Transformed tiles.
    Tiles { tiles: Tiles, x: &'a [f32], dy: &'a [f32] },
    /// Pixels as they are; a point for each tap, which share `W`, or all taps side by side in the rows of one point.
    Pixels { grid: Grid, x: &'a [f32], dy: &'a [f32], group: usize, side_by_side: bool },
}

/// Some units, gathered.
struct Block<'a> {
    v: Buffer<'a>,
    w: Buffer<'a>,
    count: usize,
    row: usize,
    v_plane: usize,
    w_plane: usize,
    /// What `W` holds: a plane for each sum of a scheme, or one plane for all points.
    scheme: Option<Scheme>,
}

impl Source<'_> {
    /// `M` over all units, `[point][row][column]`.
    fn sum<'s>(&self, path: Path, sizes: &Sizes, scratch: &'s Scratch) -> Buffer<'s> {
        let mut sums = scratch.take(sizes.parts * sizes.sums());
        let divide = sizes.parts == 1;
        sums.par_chunks_mut(sizes.sums().max(1)).enumerate().for_each(|(part, sums)| {
            let units = part * sizes.units / sizes.parts..(part + 1) * sizes.units / sizes.parts;
            if units.is_empty() {
                sums.fill(0.0);
            }
            for first in units.clone().step_by(sizes.block) {
                let block = self.gather(path, sizes, first..units.end.min(first + sizes.block), divide, scratch);
                block.multiply(path, sizes, sums, first == units.start, divide);
            }
        });
        let (first, others) = sums.split_at_mut(sizes.sums());
        if !others.is_empty() {
            first.par_chunks_mut(1024).enumerate().for_each(|(at, first)| {
                for other in others.chunks_exact(sizes.sums()) {
                    first.iter_mut().zip(&other[at * 1024..]).for_each(|(sum, v)| *sum += v);
                }
            });
        }
        sums
    }

    /// Adds `Gt M G` to the weights a block of units at a time, without ever writing `M` as a whole.
    fn add_fused(&self, path: Path, scheme: Scheme, sizes: &Sizes, dw: &mut [f32], scratch: &Scratch) {
        let blocks = sizes.units.div_ceil(FUSED_BLOCK).max(1);
        let size = sizes.units.div_ceil(blocks).max(1);
        for first in (0..sizes.units).step_by(size) {
            let block = self.gather(path, sizes, first..sizes.units.min(first + size), true, scratch);
            block.add_fused(path, scheme, sizes, SharedMut::new(dw));
        }
    }

    fn gather<'s>(
        &self,
        path: Path,
        sizes: &Sizes,
        units: Range<usize>,
        divide: bool,
        scratch: &'s Scratch,
    ) -> Block<'s> {
        let (count, row, columns) = (units.len(), row_length(sizes.rows), sizes.columns);
        let (v_plane, w_plane) = (plane(count, row), plane(count, columns));
        let scheme = if let Source::Tiles { tiles, .. } = self { Some(tiles.scheme) } else { None };
        let mut v = scratch.take(sizes.points * v_plane);
        let mut w = scratch.take(scheme.map_or(1, Scheme::sums) * w_plane);
        let (to_v, to_w) = (SharedMut::new(&mut v), SharedMut::new(&mut w));
        let each = |at: usize| {
            let (to_v, to_w) = (to_v.offset(at * row), to_w.offset(at * NR));
            match self {
                Source::Tiles { tiles, x, dy } => {
                    tiles.transform_input(path, units.start + at, x, to_v, v_plane);
                    tiles.transform_gradient(path, units.start + at, dy, to_w, count * NR, w_plane);
                }
                Source::Pixels { grid, x, dy, group, side_by_side } => {
                    let Some(position) = grid.positions(units.start + at..units.start + at + 1).next() else { return };
                    let apart = if *side_by_side { grid.run } else { v_plane };
                    for (tap, &place) in grid.taps.iter().enumerate() {
                        // SAFETY: each task writes the rows of its own unit.
                        let to = unsafe { to_v.part(tap * apart, grid.run) };
                        match grid.source(position, place) {
                            Some(from) => to.copy_from_slice(&x[from + group * grid.run..][..grid.run]),
                            None => to.fill(0.0),
                        }
                    }
                    let dy = &dy[grid.destination(position) + group * sizes.real_columns..][..sizes.real_columns];
                    for (panel, dy) in dy.chunks(NR).enumerate() {
                        // SAFETY: as above.
                        unsafe { to_w.part(panel * count * NR, dy.len()) }.copy_from_slice(dy);
                    }
                }
            }
        };
        if divide {
            (0..count).into_par_iter().with_min_len(8).for_each(each);
        } else {
            (0..count).for_each(each);
        }
        Block { v, w, count, row, v_plane, w_plane, scheme }
    }
}

impl Block<'_> {
    /// Adds `Gt M G` of this block to the weights; `M` exists for the rows and columns of one tile of
    /// registers at a time.
    fn add_fused(&self, path: Path, scheme: Scheme, sizes: &Sizes, dw: SharedMut) {
        let (panels, (height, most)) = (sizes.columns / NR, tile(path));
        // Values of a point.
        let (wide, plane) = (most * NR, height * most * NR);
        let groups = panels.div_ceil(most);
        let rows = sizes.rows.div_ceil(height).div_ceil(PARTS.div_ceil(groups)) * height;
        let splits = sizes.rows.div_ceil(rows.max(1));
        (0..groups * splits).into_par_iter().for_each(|task| {
            let (panel, split) = (task / splits * most, task % splits);
            let together = most.min(panels - panel);
            let mut sums = vec![0.0; sizes.points * plane];
            for row in (split * rows..sizes.rows.min((split + 1) * rows)).step_by(height) {
                let used = (sizes.rows - row).min(height);
                for (point, sums) in sums.chunks_exact_mut(plane).enumerate() {
                    outer(path, used, together, self.pair(point, row, panel, together), sums, wide, true);
                }
                for (at, part) in (0..used).flat_map(|at| (0..together).map(move |part| (at, part))) {
                    let sums = &sums[at * wide + part * NR..];
                    // SAFETY: the task owns these rows and columns.
                    unsafe { add_row(path, scheme, sizes, (sums, plane), row + at, panel + part, dw) };
                }
            }
        });
    }

    /// The units of a point: input channels from `row` on, and `panels` panels of output channels.
    fn pair(&self, point: usize, row: usize, panel: usize, panels: usize) -> Outer<'_> {
        let columns = self.scheme.map_or(0, |scheme| scheme.sum(point)) * self.w_plane;
        let right = &self.w[columns + panel * self.count * NR..][..panels * self.count * NR];
        Outer { depth: self.count, left: &self.v[point * self.v_plane + row..], stride: self.row, right }
    }

    /// Adds to `M`, or starts it if `fresh`.
    fn multiply(&self, path: Path, sizes: &Sizes, sums: &mut [f32], fresh: bool, divide: bool) {
        // Tasks own rows of a point. A few points are not enough tasks, so their rows are divided too.
        let (height, most) = tile(path);
        let tiles = sizes.rows.div_ceil(height);
        let rows = tiles.div_ceil(PARTS.div_ceil(sizes.points).min(tiles.max(1))) * height;
        let splits = sizes.rows.div_ceil(rows.max(1));
        let to = SharedMut::new(sums);
        let each = |task: usize| {
            let (point, split) = (task / splits, task % splits);
            let panels = sizes.columns / NR;
            for panel in (0..panels).step_by(most) {
                let together = most.min(panels - panel);
                for row in (split * rows..sizes.rows.min((split + 1) * rows)).step_by(height) {
                    let used = (sizes.rows - row).min(height);
                    let start = point * sizes.plane() + row * sizes.columns + panel * NR;
                    // SAFETY: the task owns these rows, of which it has one reference at a time.
                    let to = unsafe { to.part(start, (used - 1) * sizes.columns + together * NR) };
                    outer(path, used, together, self.pair(point, row, panel, together), to, sizes.columns, fresh);
                }
            }
        };
        if divide {
            (0..sizes.points * splits).into_par_iter().for_each(each);
        } else {
            (0..sizes.points * splits).for_each(each);
        }
    }
}

/// Adds plain sums to the weights of a group. Their rows are input channels of the point's tap, or of all taps in turn.
fn add_plain(shape: &ConvShape, sizes: &Sizes, sums: &[f32], dw: &mut [f32]) {
    let (inputs, taps) = (shape.group_in(), shape.taps());
    dw.par_chunks_mut((inputs * taps).max(1)).enumerate().for_each(|(column, dw)| {
        for point in 0..sizes.points {
            for row in 0..sizes.rows {
                let (tap, input) = if sizes.points == taps { (point, row) } else { (row / inputs, row % inputs) };
                dw[input * taps + tap] += sums[point * sizes.plane() + row * sizes.columns + column];
            }
        }
    });
}

/// Adds `Gt M G` to the weights.
fn add_transformed(path: Path, scheme: Scheme, sizes: &Sizes, sums: &[f32], dw: &mut [f32]) {
    let dw = SharedMut::new(dw);
    (0..sizes.columns / NR).into_par_iter().for_each(|panel| {
        for row in 0..sizes.rows {
            let sums = &sums[row * sizes.columns + panel * NR..];
            // SAFETY: the task owns the columns of its panel.
            unsafe { add_row(path, scheme, sizes, (sums, sizes.plane()), row, panel, dw) };
        }
    });
}

/// Adds `Gt M G` of one input channel and a panel of output channels to the weights; points are `plane` apart in `sums`.
///
/// # Safety
/// No other task writes the weights between these channels.
unsafe fn add_row(
    path: Path,
    scheme: Scheme,
    sizes: &Sizes,
    (sums, plane): (&[f32], usize),
    row: usize,
    panel: usize,
    dw: SharedMut,
) {
    let mut taps = [[0.0; NR]; 9];
    transform_kernel_gradient(path, scheme, sums, plane, &mut taps);
    let first = panel * NR;
    for lane in 0..NR.min(sizes.real_columns - first) {
        // SAFETY: as the caller promises.
        let dw = unsafe { dw.part(((first + lane) * sizes.rows + row) * 9, 9) };
        dw.iter_mut().zip(&taps).for_each(|(dw, tap)| *dw += tap[lane]);
    }
}
