//! Pooling over NHWC activations.

use crate::channels::fill;
use crate::path::{Path, for_each_path};
use crate::shape::PoolShape;
use crate::share::SharedMut;
use rayon::prelude::*;
use std::ops::Range;

/// Largest size of windows whose values are compared one by one.
const SMALL: usize = 3;
/// Marks an output whose whole window lies in the padding.
const NOWHERE: u32 = u32::MAX;

/// Largest value of each window; `argmax` receives the flat index of that value in `x` (of the first, if several are
/// equal). An output whose window lies wholly in the padding is minus infinity.
///
/// Large windows are taken apart into rows and columns: `2 size` comparisons a value instead of `size^2`.
///
/// # Panics
/// If a slice does not fit the shape, or `argmax` is asked of an input of 2^32 - 1 values or more.
pub fn max_pool(shape: &PoolShape, x: &[f32], y: &mut [f32], argmax: Option<&mut [u32]>) {
    shape.check();
    assert!(x.len() == shape.input_len() && y.len() == shape.output_len(), "slices of {shape:?}");
    if y.is_empty() {
        return;
    }
    let path = Path::detect();
    let line = shape.out_width() * shape.channels;
    let length = shape.width * shape.channels;
    let columns = || vec![0.0; length];
    let Some(argmax) = argmax else {
        y.par_chunks_mut(line).enumerate().for_each_init(columns, |columns, (line, y)| {
            pool_line(path, shape, line, x, columns, y);
        });
        return;
    };
    assert!(argmax.len() == y.len() && x.len() < NOWHERE as usize, "argmax of {shape:?}");
    let lines = y.par_chunks_mut(line).zip(argmax.par_chunks_mut(line)).enumerate();
    if shape.size <= SMALL {
        let pixels = |(line, (y, argmax)): (usize, (&mut [f32], &mut [u32]))| {
            pool_small_windows_on(path, shape, line, x, y, argmax);
        };
        return lines.for_each(pixels);
    }
    let columns = || (columns(), vec![0; length]);
    lines.for_each_init(columns, |(columns, places), (line, (y, argmax))| {
        pool_line_with_places(path, shape, line, x, (columns, places), (y, argmax));
    });
}

for_each_path! {
    fn pool_small_windows_on(shape: &PoolShape, line: usize, x: &[f32], y: &mut [f32], argmax: &mut [u32]) {
        shape.pool_small_windows(line, x, y, argmax);
    }
}

for_each_path! {
    /// An output row and its places; `columns` and `places` are room for a row of the input.
    fn pool_line_with_places(
        shape: &PoolShape,
        line: usize,
        x: &[f32],
        room: (&mut [f32], &mut [u32]),
        to: (&mut [f32], &mut [u32]),
    ) {
        let ((columns, places), (y, argmax)) = (room, to);
        y.fill(f32::NEG_INFINITY);
        argmax.fill(NOWHERE);
        let mut rows = shape.rows_seen(line);
        let Some(first) = rows.next() else { return };
        columns.copy_from_slice(&x[first..first + columns.len()]);
        places.iter_mut().zip(first as u32..).for_each(|(place, index)| *place = index);
        for from in rows {
            take_largest_below((columns, places), &x[from..], from as u32);
        }
        shape.columns_seen(|to, from, len| {
            let to = (&mut y[to..to + len], &mut argmax[to..to + len]);
            take_first_largest(to, (&columns[from..], &places[from..]));
        });
    }
}

for_each_path! {
    /// An output row; `columns` is room for one of the input.
    fn pool_line(shape: &PoolShape, line: usize, x: &[f32], columns: &mut [f32], y: &mut [f32]) {
        let mut rows = shape.rows_seen(line);
        let Some(first) = rows.next() else { return y.fill(f32::NEG_INFINITY) };
        columns.copy_from_slice(&x[first..first + columns.len()]);
        rows.for_each(|from| take_largest(columns, &x[from..]));
        y.fill(f32::NEG_INFINITY);
        shape.columns_seen(|to, from, len| take_largest(&mut y[to..to + len], &columns[from..]));
    }
}

impl PoolShape {
    /// [`max_pool`] on the thread that calls it.
    pub(crate) fn pool_here(&self, path: Path, x: &[f32], y: &mut [f32]) {
        let mut columns = vec![0.0; self.width * self.channels];
        let lines = y.chunks_exact_mut((self.out_width() * self.channels).max(1));
        lines.enumerate().for_each(|(line, y)| pool_line(path, self, line, x, &mut columns, y));
    }

    /// Starts in the input of the rows that the windows of an output row see; `line` counts output rows over the batch.
    #[inline(always)]
    fn rows_seen(&self, line: usize) -> impl Iterator<Item = usize> {
        let (image, row) = (line / self.out_height(), line % self.out_height());
        let before = self.padding / 2;
        let start = (row * self.stride_y).saturating_sub(before);
        let end = (row * self.stride_y + self.size).saturating_sub(before).min(self.height);
        let length = self.width * self.channels;
        let first = image * self.height;
        (start..end).map(move |row| (first + row) * length)
    }

    /// An output row and its places, pixel by pixel.
    #[inline(always)]
    fn pool_small_windows(&self, line: usize, x: &[f32], y: &mut [f32], argmax: &mut [u32]) {
        let channels = self.channels;
        let pixels = y.chunks_exact_mut(channels).zip(argmax.chunks_exact_mut(channels));
        for (col, (y, argmax)) in pixels.enumerate() {
            let start = (col * self.stride_x).saturating_sub(self.padding / 2);
            let end = (col * self.stride_x + self.size).saturating_sub(self.padding / 2).min(self.width);
            let mut sources = self.rows_seen(line).flat_map(|row| (start..end).map(move |col| row + col * channels));
            let Some(first) = sources.next() else {
                y.fill(f32::NEG_INFINITY);
                argmax.fill(NOWHERE);
                continue;
            };
            y.copy_from_slice(&x[first..first + channels]);
            argmax.iter_mut().enumerate().for_each(|(at, place)| *place = first as u32 + at as u32);
            sources.for_each(|from| take_largest_below((y, argmax), &x[from..from + channels], from as u32));
        }
    }

    /// True if no input is seen by the windows of two output rows.
    fn rows_are_apart(&self) -> bool {
        self.stride_y >= self.size
    }

    /// Calls `take(to, from, len)` for runs of values of an output row and those that they see of an input row, each
    /// column of a window in turn from left to right.
    #[inline(always)]
    fn columns_seen(&self, mut take: impl FnMut(usize, usize, usize)) {
        let (before, stride) = (self.padding / 2, self.stride_x);
        for k in 0..self.size {
            // Output columns for which input column `col * stride + k - before` exists.
            let first = before.saturating_sub(k).div_ceil(stride);
            let end = (self.width + before).saturating_sub(k).div_ceil(stride).min(self.out_width());
            let source = |col: usize| (col * stride + k - before) * self.channels;
            if stride == 1 && first < end {
                take(first * self.channels, source(first), (end - first) * self.channels);
            } else {
                (first..end).for_each(|col| take(col * self.channels, source(col), self.channels));
            }
        }
    }
}

/// `y = max(y, x)`, value by value, as far as `y` goes.
#[inline(always)]
fn take_largest(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, &v)| *y = if v > *y { v } else { *y });
}

/// [`take_largest`] with places: those of `x` follow each other from `first` on, behind those that `y` has.
#[inline(always)]
fn take_largest_below((y, places): (&mut [f32], &mut [u32]), x: &[f32], first: u32) {
    for (at, ((y, place), &v)) in y.iter_mut().zip(places).zip(x).enumerate() {
        let wins = v > *y;
        *y = if wins { v } else { *y };
        *place = if wins { first + at as u32 } else { *place };
    }
}

/// [`take_largest`] with places; of equal values that with the smaller place wins.
#[inline(always)]
fn take_first_largest((y, places): (&mut [f32], &mut [u32]), (x, x_places): (&[f32], &[u32])) {
    for (((y, place), &v), &index) in y.iter_mut().zip(places).zip(x).zip(x_places) {
        let wins = (v > *y) | ((v == *y) & (index < *place));
        *y = if wins { v } else { *y };
        *place = if wins { index } else { *place };
    }
}

/// Adds each `dy` to `dx` at its place in `argmax`; if `fresh`, `dx` may hold anything and is overwritten.
///
/// # Panics
/// If the slices do not fit the shape or a place lies outside `dx`.
pub fn max_pool_backward(shape: &PoolShape, argmax: &[u32], dy: &[f32], dx: &mut [f32], fresh: bool) {
    shape.check();
    assert!(argmax.len() == shape.output_len() && dy.len() == argmax.len(), "slices of {shape:?}");
    assert_eq!(dx.len(), shape.input_len(), "input gradient of {shape:?}");
    if fresh && shape.rows_are_apart() && !dy.is_empty() {
        return write_rows(shape, argmax, dy, dx);
    }
    if fresh {
        fill(dx, 0.0);
    }
    add_at_places(argmax, dy, dx);
}

/// [`max_pool_backward`] of windows whose rows no two of them share: each row of windows writes its own rows of `dx`,
/// zeros included, while they are in the cache.
fn write_rows(shape: &PoolShape, argmax: &[u32], dy: &[f32], dx: &mut [f32]) {
    let (line, lines) = (shape.out_width() * shape.channels, shape.out_height());
    let image = shape.height * shape.width * shape.channels;
    let images = dx.par_chunks_mut(image).zip(argmax.par_chunks(line * lines).zip(dy.par_chunks(line * lines)));
    images.enumerate().for_each(|(number, (dx, (argmax, dy)))| {
        let dx = SharedMut::new(dx);
        argmax.par_chunks(line).zip(dy.par_chunks(line)).enumerate().for_each(|(row, (argmax, dy))| {
            // From the first row that this row of windows sees to that of the next one.
            let seen = |row: usize| (row * shape.stride_y).saturating_sub(shape.padding / 2).min(shape.height);
            let start = if row == 0 { 0 } else { seen(row) };
            let end = if row + 1 == lines { shape.height } else { seen(row + 1) };
            let length = shape.width * shape.channels;
            // SAFETY: these rows belong to this row of windows alone.
            let dx = unsafe { dx.part(start * length, (end - start) * length) };
            dx.fill(0.0);
            let first = number * image + start * length;
            for (&place, &d) in argmax.iter().zip(dy) {
                if place != NOWHERE {
                    dx[place as usize - first] += d;
                }
            }
        });
    });
}

/// Adds each `dy` to `dx` at its place.
fn add_at_places(argmax: &[u32], dy: &[f32], dx: &mut [f32]) {
    /// Values in a task.
    const PART: usize = 16 * 1024;
    let reach: Vec<Range<usize>> = argmax.par_chunks(PART).map(reach).collect();
    assert!(reach.iter().all(|reach| reach.end <= dx.len()), "a place of argmax lies outside dx");
    // Windows of neighbouring parts may share inputs. Where those of every second part do not, even parts go side by
    // side and then odd ones; otherwise all go one after the other.
    let apart = reach.windows(3).all(|r| r[0].end <= r[2].start);
    let dx_shared = SharedMut::new(dx);
    let add = |part: usize| {
        let Range { start, end } = reach[part];
        // SAFETY: inside `dx`, as asserted; parts that run side by side have disjoint ranges.
        let dx = unsafe { dx_shared.part(start, end - start) };
        for (&place, &d) in argmax[part * PART..].iter().zip(&dy[part * PART..]).take(PART) {
            if place != NOWHERE {
                dx[place as usize - start] += d;
            }
        }
    };
    if apart {
        for odd in 0..2 {
            (odd..reach.len()).into_par_iter().step_by(2).for_each(add);
        }
    } else {
        (0..reach.len()).for_each(add);
    }
}

/// The range that places lie in.
fn reach(places: &[u32]) -> Range<usize> {
    let real = || places.iter().filter(|&&place| place != NOWHERE);
    match (real().min(), real().max()) {
        (Some(&low), Some(&high)) => low as usize..high as usize + 1,
        _ => 0..0,
    }
}

/// Mean over the rows of each image: `x: [batch][rows][channels]`, `y: [batch][channels]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn average_pool(batch: usize, rows: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == batch * rows * channels && y.len() == batch * channels);
    if x.is_empty() {
        return y.fill(0.0);
    }
    y.par_chunks_mut(channels).zip(x.par_chunks(rows * channels)).for_each(|(y, x)| {
        let mut sums = vec![0.0_f64; channels];
        for row in x.chunks_exact(channels) {
            sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += v as f64);
        }
        y.iter_mut().zip(sums).for_each(|(y, sum)| *y = (sum / rows as f64) as f32);
    });
}

/// Backward of [`average_pool`]: adds `dy / rows` to every row of `dx`.
///
/// # Panics
/// If the lengths do not fit.
pub fn average_pool_backward(batch: usize, rows: usize, channels: usize, dy: &[f32], dx: &mut [f32]) {
    assert!(dx.len() == batch * rows * channels && dy.len() == batch * channels);
    if dx.is_empty() {
        return;
    }
    dx.par_chunks_mut(rows * channels).zip(dy.par_chunks(channels)).for_each(|(dx, dy)| {
        for row in dx.chunks_exact_mut(channels) {
            row.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy / rows as f32);
        }
    });
}

#[cfg(test)]
mod tests;
