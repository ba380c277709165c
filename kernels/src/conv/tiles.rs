//! The tiles of Winograd's algorithm: where they lie, and their transforms for the instructions in use.

use super::epilogue::Epilogue;
use super::grid::Plane;
use super::microkernel::NR;
use super::transforms::{IN, Input, Kernel, KernelGradient, OUT, Output, OutputGradient, POINTS, Transform, square};
use super::vector::{LANES, Vector, on_each_path};
use crate::path::Path;
use crate::share::SharedMut;

/// 4 x 4 tiles that cover the destination; tile `(i, j)` reads the source from `(4 i - pad, 4 j - pad)` on.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    pub(crate) src: Plane,
    pub(crate) dst: Plane,
    pad: usize,
    rows: usize,
    cols: usize,
    pub(crate) count: usize,
}

impl Tiles {
    pub(crate) fn new(batch: usize, src: Plane, dst: Plane, pad: usize) -> Self {
        let (rows, cols) = (dst.height.div_ceil(OUT), dst.width.div_ceil(OUT));
        Self { src, dst, pad, rows, cols, count: batch * rows * cols }
    }

    /// Starts of the channels of the tile's `N * N` pixels in a plane, [`OUTSIDE`] where there is none.
    fn pixels<const N: usize>(&self, tile: usize, plane: Plane, pad: usize) -> [[usize; N]; N] {
        let (line, left) = (tile / self.cols, tile % self.cols * OUT);
        let (image, top) = (line / self.rows, line % self.rows * OUT);
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

    /// Starts in the destination of the pixels of the output tile, [`OUTSIDE`] where there is none.
    pub(crate) fn destination(&self, tile: usize) -> [[usize; OUT]; OUT] {
        self.pixels(tile, self.dst, 0)
    }

    /// `Bt d B` of an input tile: eight channels at a time, points `plane` apart.
    pub(crate) fn transform_input(&self, path: Path, tile: usize, src: &[f32], to: SharedMut, plane: usize) {
        let pixels = self.pixels::<IN>(tile, self.src, self.pad);
        let to = Target { to, panel: NR, plane };
        input_tile(path, &pixels, src, self.src.channels, to);
    }

    /// `A dY At` of an output tile in panels of 16 channels, `panel` apart; points `plane` apart.
    pub(crate) fn transform_gradient(
        &self,
        path: Path,
        tile: usize,
        dy: &[f32],
        to: SharedMut,
        panel: usize,
        plane: usize,
    ) {
        let pixels = self.destination(tile);
        gradient_tile(path, &pixels, dy, self.dst.channels, Target { to, panel, plane });
    }
}

/// Start of a pixel that is not there.
pub(crate) const OUTSIDE: usize = usize::MAX;

/// Where the points of a transformed tile go: those of channel `c` to `c / 16 * panel + c % 16`, each `plane` apart.
#[derive(Clone, Copy)]
struct Target<'a> {
    to: SharedMut<'a>,
    panel: usize,
    plane: usize,
}

on_each_path! {
    fn input_tile(pixels: &[[usize; IN]; IN], src: &[f32], channels: usize, to: Target) => transform_input::<Vector>
}

on_each_path! {
    fn gradient_tile(pixels: &[[usize; OUT]; OUT], dy: &[f32], channels: usize, to: Target) => transform_gradient::<Vector>
}

on_each_path! {
    /// Transforms sixteen 3 x 3 kernels, `[tap][kernel]`, to points `plane` apart.
    pub(crate) fn kernel_tile(taps: &[[f32; NR]; 9], to: SharedMut, plane: usize) => transform_kernel::<Vector>
}

on_each_path! {
    /// `Gt M G` of eight kernels whose points are `plane` apart in `sums`: their nine gradients, `[tap][kernel]`.
    pub(crate) fn kernel_gradient_tile(sums: &[f32], plane: usize, taps: &mut [[f32; LANES]; 9]) => transform_sums::<Vector>
}

on_each_path! {
    /// `At M A + bias` of one tile whose points are `plane` apart in `m`; written to the pixels, or added to them. The
    /// activation is left to the caller.
    pub(crate) fn output_tile(
        pixels: &[[usize; OUT]; OUT],
        m: &[f32],
        plane: usize,
        channels: usize,
        out: SharedMut,
        epilogue: Epilogue,
    ) => transform_output::<Vector>
}

#[inline(always)]
fn transform_input<V: Vector>(pixels: &[[usize; IN]; IN], src: &[f32], channels: usize, to: Target) {
    transform_pixels::<Input, V, IN>(pixels, src, channels, to);
}

#[inline(always)]
fn transform_gradient<V: Vector>(pixels: &[[usize; OUT]; OUT], dy: &[f32], channels: usize, to: Target) {
    transform_pixels::<OutputGradient, V, OUT>(pixels, dy, channels, to);
}

#[inline(always)]
fn transform_pixels<T: Transform<N, IN>, V: Vector, const N: usize>(
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
        let points = square::<T, V, N, IN>(&tile);
        let place = channel / NR * to.panel + channel % NR;
        for (row, points) in points.iter().enumerate() {
            for (col, point) in points.iter().enumerate() {
                // SAFETY: callers give each tile's values to one task; rows hold whole vectors.
                unsafe { point.store(to.to.part(place + (row * IN + col) * to.plane, LANES).as_mut_ptr()) };
            }
        }
    }
}

#[inline(always)]
fn transform_kernel<V: Vector>(taps: &[[f32; NR]; 9], to: SharedMut, plane: usize) {
    for half in [0, LANES] {
        let mut tile = [[V::splat(0.0); 3]; 3];
        for row in 0..3 {
            for col in 0..3 {
                tile[row][col] = load(&taps[row * 3 + col][half..half + LANES]);
            }
        }
        let points = square::<Kernel, V, 3, IN>(&tile);
        for (row, points) in points.iter().enumerate() {
            for (col, point) in points.iter().enumerate() {
                // SAFETY: callers give each panel to one task.
                unsafe { point.store(to.part((row * IN + col) * plane + half, LANES).as_mut_ptr()) };
            }
        }
    }
}

#[inline(always)]
fn transform_sums<V: Vector>(sums: &[f32], plane: usize, taps: &mut [[f32; LANES]; 9]) {
    let gradients = square::<KernelGradient, V, IN, 3>(&load_points(sums, plane));
    for row in 0..3 {
        for col in 0..3 {
            // SAFETY: `taps` holds eight values for each tap.
            unsafe { gradients[row][col].store(taps[row * 3 + col].as_mut_ptr()) };
        }
    }
}

#[inline(always)]
fn transform_output<V: Vector>(
    pixels: &[[usize; OUT]; OUT],
    m: &[f32],
    plane: usize,
    channels: usize,
    out: SharedMut,
    epilogue: Epilogue,
) {
    for channel in (0..channels).step_by(LANES) {
        let width = (channels - channel).min(LANES);
        let bias = epilogue.bias.map_or(V::splat(0.0), |bias| load(&bias[channel..channel + width]));
        let values = square::<Output, V, IN, OUT>(&load_points(&m[channel..], plane));
        for row in 0..OUT {
            for col in 0..OUT {
                if pixels[row][col] != OUTSIDE {
                    // SAFETY: each pixel belongs to one tile.
                    let to = unsafe { out.part(pixels[row][col] + channel, width) };
                    store(values[row][col].add(bias), to, epilogue.accumulate);
                }
            }
        }
    }
}

/// The 36 points, eight channels of each.
#[inline(always)]
fn load_points<V: Vector>(values: &[f32], plane: usize) -> [[V; IN]; IN] {
    let values = &values[..(POINTS - 1) * plane + LANES];
    let mut points = [[V::splat(0.0); IN]; IN];
    for (row, points) in points.iter_mut().enumerate() {
        for (col, point) in points.iter_mut().enumerate() {
            // SAFETY: inside the slice just taken.
            *point = unsafe { V::load(values.as_ptr().add((row * IN + col) * plane)) };
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
