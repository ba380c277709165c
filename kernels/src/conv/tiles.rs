//! The tiles of transformed convolutions: where they lie, and their transforms for the instructions in use.

use super::epilogue::Epilogue;
use super::grid::Plane;
use super::microkernel::NR;
use super::scheme::Scheme;
use super::strided;
use super::transforms::{self, Transform, square};
use super::vector::{LANES, Vector, on_each_path};
use crate::path::Path;
use crate::share::SharedMut;

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

    /// Transforms an input tile to `to`: eight channels at a time, values of the source `plane` apart.
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

    /// Transforms the sums in `m`, `plane` apart, to an output tile; then bias, activation and residual.
    pub(crate) fn transform_output(
        &self,
        path: Path,
        tile: usize,
        m: &[f32],
        plane: usize,
        out: SharedMut,
        epilogue: Epilogue,
    ) {
        match self.scheme {
            Scheme::Plain => self.finish::<transforms::Output, 6, 4>(path, tile, m, plane, out, epilogue),
            Scheme::Strided => self.finish::<strided::Output, 5, 4>(path, tile, m, plane, out, epilogue),
            Scheme::StridedData => self.finish::<strided::DataOutput, 9, 8>(path, tile, m, plane, out, epilogue),
        }
    }

    fn finish<T: Transform<N, M>, const N: usize, const M: usize>(
        &self,
        path: Path,
        tile: usize,
        m: &[f32],
        plane: usize,
        out: SharedMut,
        epilogue: Epilogue,
    ) {
        let pixels = self.pixels::<M>(tile, self.dst, self.scheme.steps().1, 0);
        output_tile::<T, N, M>(path, &pixels, m, plane, self.dst.channels, out, epilogue);
        for &start in pixels.as_flattened().iter().filter(|&&start| start != OUTSIDE) {
            // SAFETY: each pixel belongs to one tile.
            epilogue.finish(path, start, unsafe { out.part(start, self.dst.channels) });
        }
    }
}

/// Transforms sixteen 3 x 3 kernels, `[tap][kernel]`: product `i` to `places[i]`.
pub(crate) fn transform_kernel(path: Path, scheme: Scheme, taps: &[[f32; NR]; 9], to: SharedMut, places: &[usize]) {
    match scheme {
        Scheme::Plain => kernel_tile::<transforms::Kernel, 3, 6>(path, taps, to, places),
        Scheme::Strided | Scheme::StridedData => kernel_tile::<strided::Kernel, 3, 9>(path, taps, to, places),
    }
}

/// The transposed transform of eight kernels whose products are `plane` apart in `sums`: their nine gradients,
/// `[tap][kernel]`.
pub(crate) fn transform_kernel_gradient(
    path: Path,
    scheme: Scheme,
    sums: &[f32],
    plane: usize,
    taps: &mut [[f32; LANES]; 9],
) {
    match scheme {
        Scheme::Plain => kernel_gradient_tile::<transforms::KernelGradient, 6, 3>(path, sums, plane, taps),
        Scheme::Strided | Scheme::StridedData => {
            kernel_gradient_tile::<strided::KernelGradient, 9, 3>(path, sums, plane, taps)
        }
    }
}

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
    fn kernel_tile[T: Transform<N, M>, const N: usize, const M: usize] [T, N, M] (taps: &[[f32; NR]; 9], to: SharedMut, places: &[usize])
        => transform_taps::<Vector>
}

on_each_path! {
    fn kernel_gradient_tile[T: Transform<N, M>, const N: usize, const M: usize] [T, N, M] (sums: &[f32], plane: usize, taps: &mut [[f32; LANES]; 9])
        => transform_sums::<Vector>
}

on_each_path! {
    fn output_tile[T: Transform<N, M>, const N: usize, const M: usize] [T, N, M] (
        pixels: &[[usize; M]; M],
        m: &[f32],
        plane: usize,
        channels: usize,
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
    for channel in (0..channels).step_by(LANES) {
        let width = (channels - channel).min(LANES);
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
                unsafe { point.store(to.to.part(place + (row * M + col) * to.plane, LANES).as_mut_ptr()) };
            }
        }
    }
}

#[inline(always)]
fn transform_taps<V: Vector, T: Transform<N, M>, const N: usize, const M: usize>(
    taps: &[[f32; NR]; 9],
    to: SharedMut,
    places: &[usize],
) {
    for half in [0, LANES] {
        let mut tile = [[V::splat(0.0); N]; N];
        for (tile, taps) in tile.as_flattened_mut().iter_mut().zip(taps) {
            *tile = load(&taps[half..half + LANES]);
        }
        let products = square::<T, V, N, M>(&tile);
        for (product, place) in products.as_flattened().iter().zip(places) {
            // SAFETY: callers give each panel to one task.
            unsafe { product.store(to.part(place + half, LANES).as_mut_ptr()) };
        }
    }
}

#[inline(always)]
fn transform_sums<V: Vector, T: Transform<N, M>, const N: usize, const M: usize>(
    sums: &[f32],
    plane: usize,
    taps: &mut [[f32; LANES]; 9],
) {
    let gradients = square::<T, V, N, M>(&load_points(sums, plane));
    for (gradient, taps) in gradients.as_flattened().iter().zip(taps) {
        // SAFETY: `taps` holds eight values for each tap.
        unsafe { gradient.store(taps.as_mut_ptr()) };
    }
}

#[inline(always)]
fn transform_output<V: Vector, T: Transform<N, M>, const N: usize, const M: usize>(
    pixels: &[[usize; M]; M],
    m: &[f32],
    plane: usize,
    channels: usize,
    out: SharedMut,
    epilogue: Epilogue,
) {
    for channel in (0..channels).step_by(LANES) {
        let width = (channels - channel).min(LANES);
        let bias = epilogue.bias.map_or(V::splat(0.0), |bias| load(&bias[channel..channel + width]));
        let values = square::<T, V, N, M>(&load_points(&m[channel..], plane));
        for row in 0..M {
            for col in 0..M {
                if pixels[row][col] != OUTSIDE {
                    // SAFETY: each pixel belongs to one tile.
                    let to = unsafe { out.part(pixels[row][col] + channel, width) };
                    store(values[row][col].add(bias), to, epilogue.accumulate);
                }
            }
        }
    }
}

/// The values of all planes, eight channels of each.
#[inline(always)]
fn load_points<V: Vector, const N: usize>(values: &[f32], plane: usize) -> [[V; N]; N] {
    let values = &values[..(N * N - 1) * plane + LANES];
    let mut points = [[V::splat(0.0); N]; N];
    for (row, points) in points.iter_mut().enumerate() {
        for (col, point) in points.iter_mut().enumerate() {
            // SAFETY: inside the slice just taken.
            *point = unsafe { V::load(values.as_ptr().add((row * N + col) * plane)) };
        }
    }
    points
}

/// Loads up to eight values; missing lanes are zero.
#[inline(always)]
fn load<V: Vector>(from: &[f32]) -> V {
    if from.len() == LANES {
        // SAFETY: `from` holds eight values.
        return unsafe { V::load(from.as_ptr()) };
    }
    let mut lanes = [0.0; LANES];
    lanes[..from.len()].copy_from_slice(from);
    // SAFETY: `lanes` holds eight values.
    unsafe { V::load(lanes.as_ptr()) }
}

/// Stores as many lanes as `to` has room for.
#[inline(always)]
fn store<V: Vector>(value: V, to: &mut [f32], accumulate: bool) {
    if to.len() == LANES {
        let value = if accumulate { value.add(load(to)) } else { value };
        // SAFETY: `to` holds eight values.
        return unsafe { value.store(to.as_mut_ptr()) };
    }
    let mut lanes = [0.0; LANES];
    // SAFETY: `lanes` holds eight values.
    unsafe { value.store(lanes.as_mut_ptr()) };
    for (to, value) in to.iter_mut().zip(lanes) {
        *to = if accumulate { *to + value } else { value };
    }
}
