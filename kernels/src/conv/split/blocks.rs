//! The pixels of strips in the order of their planes, as many at a time as the registers hold sums of.

use super::instructions::TILE;
use super::layout::Layout;
use super::source::Strip;
use crate::conv::grid::Grid;
use std::ops::Range;

/// Rows and columns whose sums the registers hold.
pub(super) const BLOCK: usize = 2 * TILE;

/// Blocks of pixels of a grid.
#[derive(Default)]
pub(super) struct Blocks {
    pub(super) blocks: Vec<Block>,
    runs: Vec<Run>,
    /// Where pixels are written to.
    places: Vec<usize>,
}

/// At most [`BLOCK`] pixels, one after the other in the planes.
pub(super) struct Block {
    /// Values from the start of the memory to those of the first pixel.
    pub(super) at: usize,
    /// Tiles of pixels.
    pub(super) tiles: usize,
    runs: Range<usize>,
}

/// Pixels of a block that belong to a line.
struct Run {
    first: usize,
    len: usize,
    places: usize,
}

impl Blocks {
    /// Adds the blocks of a strip whose planes begin at value `at`.
    pub(super) fn add(&mut self, layout: &Layout, grid: &Grid, strip: Strip, at: usize) {
        let rows = strip.rows.min(grid.rows.saturating_sub(strip.first));
        // Behind the last line's last column nothing is left.
        let pixels = (rows * layout.pitch).saturating_sub(layout.pitch - grid.cols);
        let step = grid.dst_step.1 * grid.dst.channels;
        let (mut row, mut col) = (0, 0);
        for first in (0..pixels).step_by(BLOCK) {
            let (count, runs) = ((pixels - first).min(BLOCK), self.runs.len());
            let mut from = 0;
            while from < count {
                let len = grid.cols.saturating_sub(col).min(count - from);
                if len > 0 {
                    self.runs.push(Run { first: from, len, places: self.places.len() });
                    let to = grid.destination((strip.image, strip.first + row, col));
                    self.places.extend((0..len).map(|at| to + at * step));
                }
                let passed = (layout.pitch - col).min(count - from);
                (from, col) = (from + passed, col + passed);
                if col == layout.pitch {
                    (row, col) = (row + 1, 0);
                }
            }
            let runs = runs..self.runs.len();
            self.blocks.push(Block { at: at + first * layout.apart, tiles: count.div_ceil(TILE), runs });
        }
    }

    /// The pixels of a block that belong to lines, and where they are written to.
    pub(super) fn destinations(&self, block: &Block) -> impl Iterator<Item = (Range<usize>, &[usize])> {
        self.runs[block.runs.clone()]
            .iter()
            .map(|run| (run.first..run.first + run.len, &self.places[run.places..run.places + run.len]))
    }
}
