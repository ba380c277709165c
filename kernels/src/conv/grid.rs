//! A convolution as a regular grid of output pixels that each read the same taps.
//!
//! A forward convolution is one grid. The gradient of its input is one grid for each remainder of the position by the
//! stride: the pixels of one remainder meet the same taps, so no product with an inserted zero is ever computed.

use crate::shape::ConvShape;
use rayon::prelude::*;
use std::ops::Range;

/// A source pixel relative to `(row * step, column * step)` of a grid pixel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    pub(crate) row: isize,
    pub(crate) col: isize,
    /// `kernel row * size + kernel column`, the tap's place in the weights.
    pub(crate) index: usize,
}

/// One plane of pixels, NHWC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plane {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

/// Columns of a grid line whose tap lies inside the source.
pub(crate) struct SourceLine {
    /// The columns; at least one.
    pub(crate) cols: Range<usize>,
    /// Where the first one's values start in the source.
    pub(crate) from: usize,
    /// From one column's start to the next.
    pub(crate) apart: usize,
}

/// `(row, column)` pairs of a grid.
type Pair = (usize, usize);

/// Grid pixel `(i, j)` of an image is destination pixel `start + (i, j) * dst_step` and reads, for each tap, source
/// pixel `(i, j) * src_step + tap` if that lies inside the source.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    pub(crate) batch: usize,
    pub(crate) src: Plane,
    pub(crate) dst: Plane,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) src_step: Pair,
    pub(crate) dst_step: Pair,
    pub(crate) start: Pair,
    pub(crate) taps: Vec<Tap>,
    /// Values read from each tap's source pixel on.
    pub(crate) run: usize,
}

impl Grid {
    /// The grid of `y = conv(x)`.
    pub(crate) fn forward(shape: &ConvShape) -> Self {
        let (src, dst) = planes(shape);
        let at = |k: usize| (k * shape.dilation) as isize - shape.pad as isize;
        let taps = (0..shape.taps())
            .map(|index| Tap { row: at(index / shape.size), col: at(index % shape.size), index })
            .collect();
        Self {
            batch: shape.batch,
            src,
            dst,
            rows: dst.height,
            cols: dst.width,
            src_step: (shape.stride_y, shape.stride_x),
            dst_step: (1, 1),
            start: (0, 0),
            taps,
            run: shape.group_in(),
        }
    }

    /// The grids of `dx` from `dy`, which together cover every pixel of `dx` once.
    pub(crate) fn backward(shape: &ConvShape) -> Vec<Self> {
        let (dst, src) = planes(shape);
        let remainders = (0..shape.stride_y).flat_map(|row| (0..shape.stride_x).map(move |col| (row, col)));
        remainders
            .map(|start| Self {
                batch: shape.batch,
                src,
                dst,
                rows: dst.height.saturating_sub(start.0).div_ceil(shape.stride_y),
                cols: dst.width.saturating_sub(start.1).div_ceil(shape.stride_x),
                src_step: (1, 1),
                dst_step: (shape.stride_y, shape.stride_x),
                start,
                taps: taps_meeting(shape, start),
                run: shape.group_out(),
            })
            .filter(|grid| grid.pixels() > 0)
            .collect()
    }

    /// The grid of `y = conv(x)` over an `x` that [`pad`] has put zeros around: the pixels under a row of the kernel lie
    /// side by side and are one tap.
    pub(crate) fn folded(shape: &ConvShape) -> Self {
        let mut grid = Self::forward(shape);
        grid.src.height += 2 * shape.pad;
        grid.src.width += 2 * shape.pad;
        grid.taps = (0..shape.size).map(|row| Tap { row: row as isize, col: 0, index: row * shape.size }).collect();
        grid.run = shape.size * shape.channels_in;
        grid
    }

    /// Some rows of an image as a grid of their own, where no tap reads outside of the source; what it reads starts at
    /// [`Self::line_start`].
    pub(crate) fn strip(&self, image: usize, top: usize, rows: usize) -> Self {
        let first = image * self.src.height + top * self.src_step.0;
        let src = Plane { height: self.batch * self.src.height - first, ..self.src };
        Self { batch: 1, rows, src, dst: Plane { height: rows, ..self.dst }, ..self.clone() }
    }

    /// Where the source's line starts that the taps of a row are relative to.
    pub(crate) fn line_start(&self, image: usize, row: usize) -> usize {
        (image * self.src.height + row * self.src_step.0) * self.src.width * self.src.channels
    }

    /// Pixels of the grid over the whole batch.
    pub(crate) fn pixels(&self) -> usize {
        self.batch * self.rows * self.cols
    }

    /// `(image, row, column)` in the grid of each of these pixels.
    pub(crate) fn positions(&self, pixels: Range<usize>) -> impl Iterator<Item = (usize, usize, usize)> {
        let (rest, mut col) = (pixels.start / self.cols.max(1), pixels.start % self.cols.max(1));
        let (mut image, mut row) = (rest / self.rows.max(1), rest % self.rows.max(1));
        pixels.map(move |_| {
            let position = (image, row, col);
            col += 1;
            if col == self.cols {
                (col, row) = (0, row + 1);
            }
            if row == self.rows {
                (row, image) = (0, image + 1);
            }
            position
        })
    }

    /// These pixels line by line: `(image, row)` and the columns.
    pub(crate) fn lines(&self, pixels: Range<usize>) -> impl Iterator<Item = ((usize, usize), Range<usize>)> {
        let lines = pixels.start / self.cols.max(1)..pixels.end.div_ceil(self.cols.max(1));
        lines.map(move |line| {
            let first = line * self.cols;
            let cols = pixels.start.max(first) - first..pixels.end.min(first + self.cols) - first;
            ((line / self.rows, line % self.rows), cols)
        })
    }

    /// What these columns of a grid line `(image, row)` read for `tap`; None if all of it lies outside the source.
    pub(crate) fn source_line(&self, (image, row): Pair, cols: Range<usize>, tap: Tap) -> Option<SourceLine> {
        let row = (row * self.src_step.0).checked_add_signed(tap.row).filter(|&row| row < self.src.height)?;
        let step = self.src_step.1;
        let before = (-tap.col).max(0) as usize;
        let end = self.src.width.checked_add_signed(-tap.col)?.div_ceil(step);
        let cols = cols.start.max(before.div_ceil(step))..cols.end.min(end);
        let first = (!cols.is_empty()).then(|| (cols.start * step).wrapping_add_signed(tap.col))?;
        let from = ((image * self.src.height + row) * self.src.width + first) * self.src.channels;
        Some(SourceLine { cols, from, apart: step * self.src.channels })
    }

    /// Start in the source of the values that the pixel at `(image, row, col)` reads for `tap`; None outside.
    #[inline]
    pub(crate) fn source(&self, (image, row, col): (usize, usize, usize), tap: Tap) -> Option<usize> {
        let row = (row * self.src_step.0).checked_add_signed(tap.row).filter(|&row| row < self.src.height)?;
        let col = (col * self.src_step.1).checked_add_signed(tap.col).filter(|&col| col < self.src.width)?;
        Some(((image * self.src.height + row) * self.src.width + col) * self.src.channels)
    }

    /// Start in the destination of the pixel at `(image, row, col)`.
    #[inline]
    pub(crate) fn destination(&self, (image, row, col): (usize, usize, usize)) -> usize {
        let (row, col) = (self.start.0 + row * self.dst_step.0, self.start.1 + col * self.dst_step.1);
        ((image * self.dst.height + row) * self.dst.width + col) * self.dst.channels
    }
}

/// True if so few channels lie under a row of the kernel that they had better be one tap, see [`Grid::folded`].
pub(crate) fn folds(shape: &ConvShape) -> bool {
    shape.groups == 1 && shape.dilation == 1 && shape.size > 1 && shape.channels_in <= 8
}

/// Values of an input with its padding.
pub(crate) fn padded_len(shape: &ConvShape) -> usize {
    shape.batch * (shape.height + 2 * shape.pad) * (shape.width + 2 * shape.pad) * shape.channels_in
}

/// Copies `x` into `to` with zeros around each image.
pub(crate) fn pad(shape: &ConvShape, x: &[f32], to: &mut [f32]) {
    let (line, edge) = (shape.width * shape.channels_in, shape.pad * shape.channels_in);
    let height = shape.height + 2 * shape.pad;
    to.par_chunks_mut((line + 2 * edge).max(1)).with_min_len(16).enumerate().for_each(|(at, to)| {
        match (at % height).checked_sub(shape.pad).filter(|&row| row < shape.height) {
            Some(row) => {
                to[..edge].fill(0.0);
                to[edge..edge + line].copy_from_slice(&x[(at / height * shape.height + row) * line..][..line]);
                to[edge + line..].fill(0.0);
            }
            None => to.fill(0.0),
        }
    });
}

/// Input and output of the convolution.
pub(crate) fn planes(shape: &ConvShape) -> (Plane, Plane) {
    let input = Plane { height: shape.height, width: shape.width, channels: shape.channels_in };
    (input, Plane { height: shape.out_height(), width: shape.out_width(), channels: shape.channels_out })
}

/// Taps by which output pixels reach the input pixels of one remainder. Input row `start + i * stride` is met by output
/// row `i + (start + pad - k * dilation) / stride` for the kernel rows `k` where that division leaves no rest.
fn taps_meeting(shape: &ConvShape, start: Pair) -> Vec<Tap> {
    let axis = |start: usize, stride: usize| -> Vec<(usize, isize)> {
        (0..shape.size)
            .map(|k| (k, (start + shape.pad) as isize - (k * shape.dilation) as isize))
            .filter(|(_, offset)| offset.rem_euclid(stride as isize) == 0)
            .map(|(k, offset)| (k, offset.div_euclid(stride as isize)))
            .collect()
    };
    let cols = axis(start.1, shape.stride_x);
    axis(start.0, shape.stride_y)
        .into_iter()
        .flat_map(|(ky, row)| cols.iter().map(move |&(kx, col)| Tap { row, col, index: ky * shape.size + kx }))
        .collect()
}
