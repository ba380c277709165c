//! The tiles of transformed convolutions: where they lie, and their transforms for the instructions in use.

use super::epilogue::Epilogue;
use super::grid::Plane;
use super::microkernel::NR;
use super::scheme::Scheme;
use super::strided;
use super::transforms::{self, Transform, square};
use super::vector::{Vector, on_each_path};
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
    /// For tiles of an input's gradient, which have no gradient themselves.
    pub(crate) fn transform_gradient(
        &self,
        path: Path,
        tile: usize,
        dy: &[f32],
        to: SharedMut,
        panel: usize,
        plane: usize,
    ) {
        let pixels = self.pixels(tile, self.dst, self.scheme.steps().1, 0);
        let to = Target { to, panel, plane };
        match self.scheme {
            Scheme::Plain => pixels_tile::<transforms::OutputGradient, 4, 6>(path, &pixels, dy, self.dst.channels, to),
            Scheme::Strided => pixels_tile::<strided::OutputGradient, 4, 5>(path, &pixels, dy, self.dst.channels, to),
            Scheme::StridedData => unreachable!("weights are summed over tiles of the forward convolution"),
        }
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
            Scheme::Plain => self.finish::<transforms::Output, 6, 4>(path, tile, m, plane, channels, out, epilogue),
            Scheme::Strided => self.finish::<strided::Output, 5, 4>(path, tile, m, plane, channels, out, epilogue),
            Scheme::StridedData => {
                self.finish::<strided::DataOutput, 9, 8>(path, tile, m, plane, channels, out, epilogue)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "as above")]
    fn finish<T: Transform<N, M>, const N: usize, const M: usize>(
        &self,
        path: Path,
        tile: usize,
        m: &[f32],
        plane: usize,
        channels: Range<usize>,
        out: SharedMut,
        epilogue: Epilogue,
    ) {
        let pixels = self.pixels::<M>(tile, self.dst, self.scheme.steps().1, 0);
        output_tile::<T, N, M>(path, &pixels, m, plane, channels.clone(), out, epilogue);
        for &start in pixels.as_flattened().iter().filter(|&&start| start != OUTSIDE) {
            let start = start + channels.start;
            // SAFETY: each pixel belongs to one tile, and tasks on the same tile have other channels.
            epilogue.finish(path, start, unsafe { out.part(start, channels.len()) });
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
        Scheme::Strided | Scheme::StridedData => {
            kernel_gradient_tile::<strided::KernelGradient, 9, 3>(path, sums, plane, taps)
        }
    }
}

/// Channels whose transformed kernels are written together.
const TOGETHER: usize = 8;

/// Start of a pixel that is not there.
const OUTSIDE: usize = usize::MAX;

/// Where the values of a transformed tile go: those of channel `c` to `c / 16 * panel + c % 16`, each `plane` apart.
#[derive(Clone, Copy)]
struct Target<'a> {
    to: SharedMut<'a>,
    panel: usize,
    plane: usize,
}

on_each_path! {
    fn pixels_tile[T: Transform<N, M>, const N: usize, const M: usize] [T, N, M] (pixels: &[[usize; N]; N], src: &[f32], channels: usize, to: Target)
        => transform_pixels::<Vector>
}

on_each_path! {
    fn kernels_panel[T: Transform<N, M>, const N: usize, const M: usize] [T, N, M] (
        taps: Taps,
        columns: usize,
        channels: usize,
        to: SharedMut,
        places: &[usize],
    ) => transform_taps::<Vector>
}

on_each_path! {
    fn kernel_gradient_tile[T: Transform<N, M>, const N: usize, const M: usize] [T, N, M] (sums: &[f32], plane: usize, taps: &mut [[f32; NR]; 9])
        => transform_sums::<Vector>
}

on_each_path! {
    fn output_tile[T: Transform<N, M>, const N: usize, const M: usize] [T, N, M] (
        pixels: &[[usize; M]; M],
        m: &[f32],
        plane: usize,
        channels: Range<usize>,
        out: SharedMut,
        epilogue: Epilogue,
    ) => transform_output::<Vector>
}

#[inline(always)]
fn transform_pixels<V: Vector, T: Transform<N, M>, const N: usize, const M: usize>(
    pixels: &[[usize; N]; N],
    src: &[f32],
    channels: usize,
    to: Target,
) {
    let mut tile = [[V::splat(0.0); N]; N];
    for channel in (0..channels).step_by(V::LANES) {
        let width = (channels - channel).min(V::LANES);
        for row in 0..N {
            for col in 0..N {
                if pixels[row][col] != OUTSIDE {
                    tile[row][col] = load(&src[pixels[row][col] + channel..][..width]);
                }
            }
        }
        let points = square::<T, V, N, M>(&tile);
        let place = channel / NR * to.panel + channel % NR;
        for (row, points) in points.iter().enumerate() {
            for (col, point) in points.iter().enumerate() {
                // SAFETY: callers give each tile's values to one task; rows hold whole vectors.
                unsafe { point.store(to.to.part(place + (row * M + col) * to.plane, V::LANES).as_mut_ptr()) };
            }
        }
    }
}

#[inline(always)]
fn transform_taps<V: Vector, T: Transform<N, M>, const N: usize, const M: usize>(
    taps: Taps,
    columns: usize,
    channels: usize,
    to: SharedMut,
    places: &[usize],
) {
    // Products go to far more places than the processor can fetch for writing at a time, so they go there some lines at once.
    let mut products = vec![0.0; M * M * TOGETHER * NR];
    for first in (0..channels).step_by(TOGETHER) {
        let count = TOGETHER.min(channels - first);
        for (at, half) in (0..count).flat_map(|at| (0..NR).step_by(V::LANES).map(move |half| (at, half))) {
            let mut tile = [[V::splat(0.0); N]; N];
            let width = columns.saturating_sub(half).min(V::LANES);
            let start = ((first + at) * taps.channel + half * taps.column).min(taps.weights.len());
            for (at, tile) in tile.as_flattened_mut().iter_mut().enumerate() {
                let tap = if taps.flip { 8 - at } else { at };
                // SAFETY: the caller has checked that the weights of all columns and channels are there.
                *tile = unsafe { V::gather(taps.weights.as_ptr().add(start).wrapping_add(tap), taps.column, width) };
            }
            let values = square::<T, V, N, M>(&tile);
            let to = &mut products[at * NR + half..];
            for (product, value) in values.as_flattened().iter().enumerate() {
                // SAFETY: the slice holds whole vectors.
                unsafe { value.store(to[product * TOGETHER * NR..][..V::LANES].as_mut_ptr()) };
            }
        }
        for (products, place) in products.chunks_exact(TOGETHER * NR).zip(places) {
            // SAFETY: callers give each panel to one task.
            unsafe { to.part(place + first * NR, count * NR) }.copy_from_slice(&products[..count * NR]);
        }
    }
}

#[inline(always)]
fn transform_sums<V: Vector, T: Transform<N, M>, const N: usize, const M: usize>(
    sums: &[f32],
    plane: usize,
    taps: &mut [[f32; NR]; 9],
) {
    for half in (0..NR).step_by(V::LANES) {
        let gradients = square::<T, V, N, M>(&load_points(&sums[half..], plane));
        for (gradient, taps) in gradients.as_flattened().iter().zip(&mut *taps) {
            // SAFETY: `taps` holds sixteen values for each tap.
            unsafe { gradient.store(taps[half..half + V::LANES].as_mut_ptr()) };
        }
    }
}

#[inline(always)]
fn transform_output<V: Vector, T: Transform<N, M>, const N: usize, const M: usize>(
    pixels: &[[usize; M]; M],
    m: &[f32],
    plane: usize,
    channels: Range<usize>,
    out: SharedMut,
    epilogue: Epilogue,
) {
    for channel in channels.clone().step_by(V::LANES) {
        let width = (channels.end - channel).min(V::LANES);
        let bias = epilogue.bias.map_or(V::splat(0.0), |bias| load(&bias[channel..channel + width]));
        let values = square::<T, V, N, M>(&load_points(&m[channel - channels.start..], plane));
        for row in 0..M {
            for col in 0..M {
                if pixels[row][col] != OUTSIDE {
                    // SAFETY: each pixel belongs to one tile, and tasks on the same tile have other channels.
                    let to = unsafe { out.part(pixels[row][col] + channel, width) };
                    store(values[row][col].add(bias), to, epilogue.accumulate);
                }
            }
        }
    }
}

/// The values of all planes, a vector of channels of each.
#[inline(always)]
fn load_points<V: Vector, const N: usize>(values: &[f32], plane: usize) -> [[V; N]; N] {
    let values = &values[..(N * N - 1) * plane + V::LANES];
    let mut points = [[V::splat(0.0); N]; N];
    for (row, points) in points.iter_mut().enumerate() {
        for (col, point) in points.iter_mut().enumerate() {
            // SAFETY: inside the slice just taken.
            *point = unsafe { V::load(values.as_ptr().add((row * N + col) * plane)) };
        }
    }
    points
}

/// Loads up to a vector of values; missing lanes are zero.
#[inline(always)]
fn load<V: Vector>(from: &[f32]) -> V {
    // SAFETY: `from` holds the values.
    if from.len() == V::LANES {
        unsafe { V::load(from.as_ptr()) }
    } else {
        unsafe { V::load_part(from.as_ptr(), from.len()) }
    }
}

/// Stores as many lanes as `to` has room for.
#[inline(always)]
fn store<V: Vector>(value: V, to: &mut [f32], accumulate: bool) {
    let value = if accumulate { value.add(load(to)) } else { value };
    // SAFETY: `to` has room for the values.
    if to.len() == V::LANES {
        unsafe { value.store(to.as_mut_ptr()) }
    } else {
        unsafe { value.store_part(to.as_mut_ptr(), to.len()) }
    }
}
