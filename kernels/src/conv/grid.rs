//! A convolution as a regular grid of output pixels that each read the same taps.
//!
//! A forward convolution is one grid. The gradient of its input is one grid for each remainder of the position by the
//! stride: the pixels of one remainder meet the same taps, so no product with an inserted zero is ever computed.

use crate::shape::ConvShape;

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
            })
            .filter(|grid| grid.pixels() > 0)
            .collect()
    }

    /// Pixels of the grid over the whole batch.
    pub(crate) fn pixels(&self) -> usize {
        self.batch * self.rows * self.cols
    }

    /// The pixel's `(image, row, column)` in the grid.
    pub(crate) fn position(&self, pixel: usize) -> (usize, usize, usize) {
        let (rest, col) = (pixel / self.cols, pixel % self.cols);
        (rest / self.rows, rest % self.rows, col)
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

/// Input and output of the convolution.
fn planes(shape: &ConvShape) -> (Plane, Plane) {
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
