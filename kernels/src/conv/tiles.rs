//! The tiles of transformed convolutions: where they lie, and which transforms they take.

use super::epilogue::Epilogue;
use super::grid::Plane;
use super::microkernel::NR;
use super::scheme::Scheme;
use super::tile_loops::{OUTSIDE, Target, kernel_gradient_tile, kernels_panel, output_tile, pixels_tile};
use super::transforms::{self, Transform};
use super::{small, strided};
use crate::path::Path;
use crate::share::SharedMut;
use std::ops::Range;

/// Square tiles that cover the destination. Tiles of the source may overlap; the first begins `pad` pixels above and left
/// of it.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    pub(crate) scheme: Scheme,
    pub(crate) src: Plane,
    pub(crate) dst: Plane,
    pad: usize,
    rows: usize,
    cols: usize,
    pub(crate) count: usize,
}

impl Tiles {
    pub(crate) fn new(scheme: Scheme, batch: usize, (src, dst): (Plane, Plane), pad: usize) -> Self {
        let (_, step) = scheme.steps();
        let (rows, cols) = (dst.height.div_ceil(step), dst.width.div_ceil(step));
        Self { scheme, src, dst, pad, rows, cols, count: batch * rows * cols }
    }

    /// Starts of the channels of the tile's `N * N` pixels in a plane, [`OUTSIDE`] where there is none.
    fn pixels<const N: usize>(&self, tile: usize, plane: Plane, step: usize, pad: usize) -> [[usize; N]; N] {
        let (line, left) = (tile / self.cols, tile % self.cols * step);
        let (image, top) = (line / self.rows, line % self.rows * step);
        let mut starts = [[OUTSIDE; N]; N];
        for (row, starts) in (top..).zip(&mut starts) {
            let Some(row) = row.checked_sub(pad).filter(|&row| row < plane.height) else { continue };
            let line = (image * plane.height + row) * plane.width;
            for (col, start) in (left..).zip(starts) {
                if let Some(col) = col.checked_sub(pad).filter(|&col| col < plane.width) {
                    *start = (line + col) * plane.channels;
                }
            }
        }
        starts
    }

    /// Transforms an input tile to `to`, values of the source `plane` apart.
    pub(crate) fn transform_input(&self, path: Path, tile: usize, src: &[f32], to: SharedMut, plane: usize) {
        let to = Target { to, panel: NR, plane };
        match self.scheme {
            Scheme::Plain => self.transform_source::<transforms::Input, 6, 6>(path, tile, src, to),
            Scheme::Small => self.transform_source::<small::Input, 4, 4>(path, tile, src, to),
            Scheme::Strided => self.transform_source::<strided::Input, 9, 9>(path, tile, src, to),
            Scheme::StridedData => self.transform_source::<strided::DataInput, 5, 5>(path, tile, src, to),
        }
    }

    fn transform_source<T: Transform<N, M>, const N: usize, const M: usize>(
        &self,
        path: Path,
        tile: usize,
        src: &[f32],
        to: Target,
    ) {
        let pixels = self.pixels(tile, self.src, self.scheme.steps().0, self.pad);
        pixels_tile::<T, N, M>(path, &pixels, src, self.src.channels, to);
    }

    /// Transforms the gradient of an output tile to that of its sums, in panels of 16 channels, `panel` apart; sums `plane`
    /// apart.
    ///
    /// # Panics
    /// For schemes that weights are not summed up by.
    pub(crate) fn transform_gradient(
        &self,
        path: Path,
        tile: usize,
        dy: &[f32],
        to: SharedMut,
        panel: usize,
        plane: usize,
    ) {
        let to = Target { to, panel, plane };
        match self.scheme {
            Scheme::Plain => self.transform_slopes::<transforms::OutputGradient, 4, 6>(path, tile, dy, to),
            Scheme::Strided => self.transform_slopes::<strided::OutputGradient, 4, 5>(path, tile, dy, to),
            Scheme::Small | Scheme::StridedData => unreachable!("{:?} has no gradient of weights", self.scheme),
        }
    }

    fn transform_slopes<T: Transform<N, M>, const N: usize, const M: usize>(
        &self,
        path: Path,
        tile: usize,
        dy: &[f32],
        to: Target,
    ) {
        let pixels = self.pixels(tile, self.dst, self.scheme.steps().1, 0);
        pixels_tile::<T, N, M>(path, &pixels, dy, self.dst.channels, to);
    }

    /// Transforms the sums of these channels in `m`, `plane` apart, to an output tile; then bias, activation and residual.
    #[expect(clippy::too_many_arguments, reason = "where from, what, where to and how")]
    pub(crate) fn transform_output(
        &self,
        path: Path,
        tile: usize,
        m: &[f32],
        plane: usize,
        channels: Range<usize>,
        out: SharedMut,
        epilogue: Epilogue,
    ) {
        match self.scheme {
            Scheme::Plain => self.finish::<transforms::Output, 6, 4, 2>(path, tile, m, plane, channels, out, epilogue),
            Scheme::Small => self.finish::<small::Output, 4, 2, 1>(path, tile, m, plane, channels, out, epilogue),
            Scheme::Strided => self.finish::<strided::Output, 5, 4, 2>(path, tile, m, plane, channels, out, epilogue),
            Scheme::StridedData => {
                self.finish::<strided::DataOutput, 9, 8, 4>(path, tile, m, plane, channels, out, epilogue)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "as above")]
    fn finish<T: Transform<N, M>, const N: usize, const M: usize, const HALF: usize>(
        &self,
        path: Path,
        tile: usize,
        m: &[f32],
        plane: usize,
        channels: Range<usize>,
        out: SharedMut,
        epilogue: Epilogue,
    ) {
        let step = self.scheme.steps().1;
        let finish = |pixels: &[usize]| {
            for start in pixels.iter().filter(|&&start| start != OUTSIDE).map(|start| start + channels.start) {
                // SAFETY: each pixel belongs to one tile, and tasks on the same tile have other channels.
                epilogue.finish(path, start, unsafe { out.part(start, channels.len()) });
            }
        };
        if epilogue.pooled {
            let dst = Plane { height: self.dst.height / 2, width: self.dst.width / 2, ..self.dst };
            let pixels = self.pixels::<HALF>(tile, dst, step / 2, 0);
            output_tile::<T, N, M, HALF>(path, &pixels, m, plane, channels.clone(), out, epilogue);
            finish(pixels.as_flattened());
        } else {
            let pixels = self.pixels::<M>(tile, self.dst, step, 0);
            output_tile::<T, N, M, M>(path, &pixels, m, plane, channels.clone(), out, epilogue);
            finish(pixels.as_flattened());
        }
    }
}

/// Where the nine values of the 3 x 3 kernel from one channel to one column lie, and in which order.
#[derive(Clone, Copy)]
pub(crate) struct Taps<'a> {
    pub(crate) weights: &'a [f32],
    /// From a column to the next, and from a channel to the next.
    pub(crate) column: usize,
    pub(crate) channel: usize,
    /// Kernels are turned by half a turn.
    pub(crate) flip: bool,
}

/// Transforms a panel of at most sixteen kernels, from column `first` on, for each of `channels` channels: of the first
/// one product `i` to `places[i]`, sixteen values, those of the next one after it. Missing columns become zero.
///
/// # Panics
/// If there are no such weights.
pub(crate) fn transform_kernels(
    path: Path,
    scheme: Scheme,
    taps: Taps,
    (first, columns): (usize, usize),
    channels: usize,
    to: SharedMut,
    places: &[usize],
) {
    if columns == 0 || channels == 0 {
        return;
    }
    let last = (first + columns - 1) * taps.column + (channels - 1) * taps.channel + 9;
    assert!(columns <= NR && last <= taps.weights.len(), "kernels outside the weights");
    let taps = Taps { weights: &taps.weights[first * taps.column..], ..taps };
    match scheme {
        Scheme::Plain => kernels_panel::<transforms::Kernel, 3, 6>(path, taps, columns, channels, to, places),
        Scheme::Small => kernels_panel::<small::Kernel, 3, 4>(path, taps, columns, channels, to, places),
        Scheme::Strided | Scheme::StridedData => {
            kernels_panel::<strided::Kernel, 3, 9>(path, taps, columns, channels, to, places)
        }
    }
}

/// The transposed transform of sixteen kernels whose products are `plane` apart in `sums`: their nine gradients,
/// `[tap][kernel]`.
pub(crate) fn transform_kernel_gradient(
    path: Path,
    scheme: Scheme,
    sums: &[f32],
    plane: usize,
    taps: &mut [[f32; NR]; 9],
) {
    match scheme {
        Scheme::Plain => kernel_gradient_tile::<transforms::KernelGradient, 6, 3>(path, sums, plane, taps),
        Scheme::Strided => kernel_gradient_tile::<strided::KernelGradient, 9, 3>(path, sums, plane, taps),
        Scheme::Small | Scheme::StridedData => unreachable!("{scheme:?} has no gradient of weights"),
    }
}
