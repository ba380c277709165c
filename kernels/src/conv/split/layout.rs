//! Where the pixels lie that the products of tiles read.
//!
//! A source is divided by the stride into planes (phases) of which neighbours are read by neighbours, and each plane gets so many
//! zero pixels above, to the left and below that no tap leaves it. Lines follow each other without a gap: what lies right of one
//! is what lies left of the next. So the pixel that a tap takes is as far from any grid pixel, and a tile takes sixteen pixels
//! of any line without looking where it ends. What it sums up between two lines nobody reads.

use super::instructions::STEPS;
use crate::conv::grid::{Grid, Plane, Tap};

/// The planes of a strip of lines of an image, for grids that read the same source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) src: Plane,
    /// Source pixels from a pixel of a plane to the next, by row and column; a plane for each remainder.
    pub(super) step: (usize, usize),
    /// Zero lines above the strip's first line and lines below its last that are read, and zero columns on the left.
    pub(super) above: usize,
    below: usize,
    pub(super) left: usize,
    /// Pixels from a line to the next.
    pub(super) pitch: usize,
    /// Values from a pixel to the next.
    pub(super) apart: usize,
    /// True if taps side by side are read as one, see [`folds`].
    pub(super) fold: bool,
    /// Pixels after the last line that may be read.
    slack: usize,
}

impl Layout {
    /// # Panics
    /// If the grids do not read the same source alike.
    pub(super) fn of(grids: &[Grid]) -> Self {
        let (src, step) = (grids[0].src, grids[0].src_step);
        let (mut above, mut below, mut left, mut right, mut pitch) = (0, 0, 0, 0, 0);
        for grid in grids {
            assert_eq!(grid.src_step, step, "grids that read a source alike");
            pitch = pitch.max(grid.cols);
            for &tap in &grid.taps {
                let (_, (row, col)) = place(tap, step);
                (above, below) = (above.max((-row).max(0) as usize), below.max(row.max(0) as usize));
                (left, right) = (left.max((-col).max(0) as usize), right.max(col.max(0) as usize));
                pitch = pitch.max(grid.cols + col.max(0) as usize);
            }
        }
        let pitch = pitch.max(left + src.width.div_ceil(step.1));
        // A last tile's rows, and the steps after its last segment.
        let slack = left + right + 2 * STEPS + STEPS.div_ceil(src.channels.max(1));
        let fold = folds(grids);
        let apart = if fold { src.channels } else { apart(src.channels) };
        Self { src, step, above, below, left, pitch, apart, fold, slack }
    }

    pub(super) fn phases(&self) -> usize {
        self.step.0 * self.step.1
    }

    /// Lines of a plane of a strip of `rows` grid rows.
    pub(super) fn lines(&self, rows: usize) -> usize {
        rows + self.above + self.below
    }

    /// Pixels of a plane of a strip.
    pub(super) fn plane(&self, rows: usize) -> usize {
        self.lines(rows) * self.pitch + self.slack
    }

    /// Pixels from the first of the planes of a strip to the one that its first grid pixel reads for this tap.
    pub(super) fn shift(&self, tap: Tap, rows: usize) -> usize {
        let (phase, (row, col)) = place(tap, self.step);
        let line = self.above.strict_add_signed(row);
        phase * self.plane(rows) + line * self.pitch + self.left.strict_add_signed(col)
    }
}

/// Values from a pixel of so many channels to the next: whole cache lines, as rows of tiles that lie in two lines each take half as
/// long again, but not a multiple of four. Such pixels would share so few places of the L1 cache that what a tap has read were gone
/// when the next one reads it.
fn apart(channels: usize) -> usize {
    let whole = channels.next_multiple_of(STEPS);
    if whole.is_multiple_of(4 * STEPS) { whole + STEPS } else { whole }
}

/// True if the pixels of taps side by side had better follow each other without a gap, and be read as one. That leaves fewer steps
/// that are not full, but pixels begin anywhere in a cache line.
pub(crate) fn folds(grids: &[Grid]) -> bool {
    let steps = |fold: bool| grids.iter().map(|grid| depth(grid, fold)).sum::<usize>();
    steps(false) * 4 > steps(true) * 5
}

/// Steps of a product of tiles over a grid's taps.
pub(super) fn depth(grid: &Grid, fold: bool) -> usize {
    segments(grid, fold).iter().map(|taps| (taps.len() * grid.run).div_ceil(STEPS)).sum()
}

/// The plane that a tap reads, and where in it relative to the grid pixel.
fn place(tap: Tap, (rows, cols): (usize, usize)) -> (usize, (isize, isize)) {
    let (row, col) = (tap.row.rem_euclid(rows as isize) as usize, tap.col.rem_euclid(cols as isize) as usize);
    (row * cols + col, (tap.row.div_euclid(rows as isize), tap.col.div_euclid(cols as isize)))
}

/// The taps of a grid; together, if they are to `fold`, those that lie side by side in a plane.
pub(super) fn segments(grid: &Grid, fold: bool) -> Vec<Vec<Tap>> {
    let mut taps = grid.taps.clone();
    taps.sort_by_key(|&tap| place(tap, grid.src_step));
    let mut segments: Vec<Vec<Tap>> = Vec::new();
    for tap in taps {
        let (phase, (row, col)) = place(tap, grid.src_step);
        let follows = |before: Tap| fold && place(before, grid.src_step) == (phase, (row, col - 1));
        match segments.last_mut().filter(|last| last.last().is_some_and(|&before| follows(before))) {
            Some(last) => last.push(tap),
            None => segments.push(vec![tap]),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::ConvShape;

    fn shape(size: usize, stride: usize) -> ConvShape {
        ConvShape {
            batch: 1,
            height: 26,
            width: 26,
            channels_in: 24,
            channels_out: 24,
            size,
            stride_y: stride,
            stride_x: stride,
            pad: size / 2,
            dilation: 1,
            groups: 1,
        }
    }

    #[test]
    fn a_column_of_zeros_stands_between_lines() {
        let layout = Layout::of(&[Grid::forward(&shape(3, 1))]);
        assert_eq!((layout.above, layout.below, layout.left, layout.pitch, layout.phases()), (1, 1, 1, 27, 1));
        let layout = Layout::of(&[Grid::forward(&shape(3, 2))]);
        assert_eq!((layout.above, layout.below, layout.left, layout.pitch, layout.phases()), (1, 0, 1, 14, 4));
        let layout = Layout::of(&[Grid::forward(&shape(1, 1))]);
        assert_eq!((layout.above, layout.below, layout.left, layout.pitch, layout.phases()), (0, 0, 0, 26, 1));
    }

    #[test]
    fn taps_side_by_side_are_one_segment() {
        let lengths = |grid: &Grid| segments(grid, true).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&Grid::forward(&shape(3, 1))), [3, 3, 3]);
        // One even and two odd columns, of one even and two odd rows.
        assert_eq!(lengths(&Grid::forward(&shape(3, 2))), [1, 2, 1, 1, 2, 2]);
        let backward: Vec<_> = Grid::backward(&shape(3, 2)).iter().map(lengths).collect();
        assert_eq!(backward, [vec![1], vec![2], vec![1, 1], vec![2, 2]]);
    }

    #[test]
    fn taps_are_folded_where_steps_would_be_half_empty() {
        let folded =
            |channels_in: usize, size: usize| folds(&[Grid::forward(&ConvShape { channels_in, ..shape(size, 1) })]);
        assert_eq!(
            [3, 19, 40, 93, 231, 256].map(|channels| folded(channels, 3)),
            [true, true, true, false, false, false]
        );
        assert!(!folded(19, 1));
        assert_eq!([3, 32, 93, 231, 465].map(apart), [32, 32, 96, 288, 480]);
    }
}
