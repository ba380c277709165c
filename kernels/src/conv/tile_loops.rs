//! Tiles transformed, channel by channel, by the instructions in use.

use super::epilogue::Epilogue;
use super::microkernel::NR;
use super::tiles::Taps;
use super::transforms::{Transform, square};
use super::vector::{Vector, on_each_path};
use crate::share::SharedMut;
use std::ops::Range;

/// Channels whose transformed kernels are written together.
const TOGETHER: usize = 8;

/// Start of a pixel that is not there.
pub(super) const OUTSIDE: usize = usize::MAX;

/// Where the values of a transformed tile go: those of channel `c` to `c / 16 * panel + c % 16`, each `plane` apart.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) to: SharedMut<'a>,
    pub(super) panel: usize,
    pub(super) plane: usize,
}

on_each_path! {
    pub(super) fn pixels_tile[T: Transform<N, M>, const N: usize, const M: usize] [T, N, M] (pixels: &[[usize; N]; N], src: &[f32], channels: usize, to: Target)
        => transform_pixels::<Vector>
}

on_each_path! {
    pub(super) fn kernels_panel[T: Transform<N, M>, const N: usize, const M: usize] [T, N, M] (
        taps: Taps,
        columns: usize,
        channels: usize,
        to: SharedMut,
        places: &[usize],
    ) => transform_taps::<Vector>
}

on_each_path! {
    pub(super) fn kernel_gradient_tile[T: Transform<N, M>, const N: usize, const M: usize] [T, N, M] (sums: &[f32], plane: usize, taps: &mut [[f32; NR]; 9])
        => transform_sums::<Vector>
}

on_each_path! {
    /// Sums of `N` by `N` points to `M` by `M` pixels, of which the largest of each window of `M / P` by `M / P` are written.
    pub(super) fn output_tile[T: Transform<N, M>, const N: usize, const M: usize, const P: usize] [T, N, M, P] (
        pixels: &[[usize; P]; P],
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
    let reach = |count: usize, apart: usize| count.saturating_sub(1) * apart;
    let last = reach(channels, taps.channel) + reach(columns.min(NR), taps.column) + 8;
    assert!(last < taps.weights.len(), "weights up to {last} are read of {}", taps.weights.len());
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
                // SAFETY: the weights of all columns and channels are there, as has been asserted.
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
fn transform_output<V: Vector, T: Transform<N, M>, const N: usize, const M: usize, const P: usize>(
    pixels: &[[usize; P]; P],
    m: &[f32],
    plane: usize,
    channels: Range<usize>,
    out: SharedMut,
    epilogue: Epilogue,
) {
    let side = M / P;
    for channel in channels.clone().step_by(V::LANES) {
        let width = (channels.end - channel).min(V::LANES);
        let bias = epilogue.bias.map_or(V::splat(0.0), |bias| load(&bias[channel..channel + width]));
        let values = square::<T, V, N, M>(&load_points(&m[channel - channels.start..], plane));
        for (row, starts) in pixels.iter().enumerate() {
            for (col, &start) in starts.iter().enumerate() {
                let value = largest(&values, row * side, col * side, side);
                if start != OUTSIDE {
                    // SAFETY: each pixel belongs to one tile, and tasks on the same tile have other channels.
                    let to = unsafe { out.part(start + channel, width) };
                    store(value.add(bias), to, epilogue.accumulate);
                }
            }
        }
    }
}

/// The largest values of a square window of `side` pixels.
#[inline(always)]
fn largest<V: Vector, const M: usize>(values: &[[V; M]; M], top: usize, left: usize, side: usize) -> V {
    let mut value = values[top][left];
    for at in 1..side * side {
        value = value.max(values[top + at / side][left + at % side]);
    }
    value
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
    if from.len() == V::LANES {
        // SAFETY: `from` holds the values.
        unsafe { V::load(from.as_ptr()) }
    } else {
        // SAFETY: as above.
        unsafe { V::load_part(from.as_ptr(), from.len()) }
    }
}

/// Stores as many lanes as `to` has room for.
#[inline(always)]
fn store<V: Vector>(value: V, to: &mut [f32], accumulate: bool) {
    let value = if accumulate { value.add(load(to)) } else { value };
    if to.len() == V::LANES {
        // SAFETY: `to` has room for the values.
        unsafe { value.store(to.as_mut_ptr()) }
    } else {
        // SAFETY: as above.
        unsafe { value.store_part(to.as_mut_ptr(), to.len()) }
    }
}
