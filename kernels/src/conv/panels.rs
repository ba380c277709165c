//! Weights of direct sums in the order that products read them.

use super::grid::{Grid, Tap};
use super::microkernel::NR;
use super::vector::{Vector, on_each_path};
use crate::path::Path;
use rayon::prelude::*;

/// Weights as columns: `[group][panel of 16 columns][tap][source channel][16]`, missing columns zero.
pub(crate) struct Panels {
    values: Vec<f32>,
    pub(crate) groups: usize,
    /// Values of a column.
    pub(crate) depth: usize,
    /// Columns of a group.
    pub(crate) columns: usize,
}

/// Weights, and how far it is in them from a group, a column and a channel to the next; taps lie side by side.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) group: usize,
    pub(crate) column: usize,
    pub(crate) channel: usize,
}

impl Panels {
    /// Packs `columns` columns for each group into `values`, and of the kernel the taps of the grid.
    ///
    /// # Panics
    /// If there are no such weights.
    pub(crate) fn pack(
        path: Path,
        grid: &Grid,
        (groups, columns): (usize, usize),
        weights: Weights,
        mut values: Vec<f32>,
    ) -> Self {
        let (taps, run) = (grid.taps.len(), grid.run);
        let panels = columns.div_ceil(NR);
        assert!(weights.column <= i32::MAX as usize / NR, "columns of {} weights", weights.column);
        values.resize(groups * panels * taps * run * NR, 0.0);
        if !values.is_empty() {
            let last = grid.taps.iter().map(|tap| tap.index).max().unwrap_or(0);
            let last =
                last + (groups - 1) * weights.group + (columns - 1) * weights.column + (run - 1) * weights.channel;
            assert!(last < weights.values.len(), "columns outside the weights");
        }
        values.par_chunks_mut((taps * run * NR).max(1)).enumerate().for_each(|(at, panel)| {
            let (group, first) = (at / panels, at % panels * NR);
            let values = &weights.values[group * weights.group + first * weights.column..];
            pack_panel(path, Weights { values, ..weights }, NR.min(columns - first), &grid.taps, run, panel);
        });
        Self { values, groups, depth: taps * run, columns }
    }

    /// `count` panels of a group from `panel` on.
    pub(crate) fn panels(&self, group: usize, panel: usize, count: usize) -> &[f32] {
        let size = self.depth * NR;
        &self.values[(group * self.columns.div_ceil(NR) + panel) * size..][..count * size]
    }

    /// The memory, to pack other weights into.
    pub(crate) fn into_values(self) -> Vec<f32> {
        self.values
    }
}

on_each_path! {
    /// A panel of `columns` columns, the first of which begins at the first of the weights.
    fn pack_panel(weights: Weights, columns: usize, taps: &[Tap], run: usize, panel: &mut [f32])
        => gather_panel::<Vector>
}

#[inline(always)]
fn gather_panel<V: Vector>(weights: Weights, columns: usize, taps: &[Tap], run: usize, panel: &mut [f32]) {
    for (tap, panel) in taps.iter().zip(panel.chunks_exact_mut((run * NR).max(1))) {
        for (channel, row) in panel.chunks_exact_mut(NR).enumerate() {
            let from = channel * weights.channel + tap.index;
            for half in (0..NR).step_by(V::LANES) {
                let width = columns.saturating_sub(half).min(V::LANES);
                let start = weights.values.as_ptr().wrapping_add(from + half * weights.column);
                // SAFETY: `pack` has checked that the weights of all columns are there, and a row holds whole vectors.
                unsafe { V::gather(start, weights.column, width).store(row[half..half + V::LANES].as_mut_ptr()) };
            }
        }
    }
}
