//! Moving channels about: concatenation, slices, sums and the order of axes.

use crate::activation::CHUNK;
use rayon::prelude::*;

/// Copies channels `from..from + count` of `x: [rows][x_channels]` to channels `to..to + count` of
/// `y: [rows][y_channels]`, or adds them if `add`: concatenation, slicing and their gradients.
///
/// # Panics
/// If the lengths or channel ranges do not fit.
#[expect(clippy::too_many_arguments, reason = "two strided ranges")]
pub fn copy_channels(
    rows: usize,
    x: &[f32],
    x_channels: usize,
    from: usize,
    count: usize,
    y: &mut [f32],
    y_channels: usize,
    to: usize,
    add: bool,
) {
    assert!(x.len() == rows * x_channels && y.len() == rows * y_channels);
    assert!(from + count <= x_channels && to + count <= y_channels);
    if rows == 0 || count == 0 {
        return;
    }
    let block = (CHUNK / y_channels).max(1);
    y.par_chunks_mut(block * y_channels).zip(x.par_chunks(block * x_channels)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(y_channels).zip(x.chunks_exact(x_channels)) {
            let (y, x) = (&mut y[to..to + count], &x[from..from + count]);
            if add {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            } else {
                y.copy_from_slice(x);
            }
        }
    });
}

/// `y = x`, by all threads: a copy of a large map waits for memory, of which one thread gets a part.
///
/// # Panics
/// If the lengths differ.
pub fn copy(y: &mut [f32], x: &[f32]) {
    assert_eq!(x.len(), y.len());
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| y.copy_from_slice(x));
}

/// `y = value` everywhere, by all threads.
pub fn fill(y: &mut [f32], value: f32) {
    y.par_chunks_mut(CHUNK).for_each(|y| y.fill(value));
}

/// `y = a + b`.
///
/// # Panics
/// If the lengths differ.
pub fn sum(y: &mut [f32], a: &[f32], b: &[f32]) {
    assert!(a.len() == y.len() && b.len() == y.len());
    y.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK))).for_each(|(y, (a, b))| {
        y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y = a + b);
    });
}

/// `y += x`.
///
/// # Panics
/// If the lengths differ.
pub fn add_into(y: &mut [f32], x: &[f32]) {
    assert_eq!(x.len(), y.len());
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
    });
}

/// `[batch][channels][height][width]` to `[batch][height][width][channels]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn nchw_to_nhwc(batch: usize, channels: usize, height: usize, width: usize, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == batch * channels * height * width && y.len() == x.len());
    transpose(channels, height * width, x, y);
}

/// `[batch][height][width][channels]` to `[batch][channels][height][width]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn nhwc_to_nchw(batch: usize, channels: usize, height: usize, width: usize, x: &[f32], y: &mut [f32]) {
    assert!(x.len() == batch * channels * height * width && y.len() == x.len());
    transpose(height * width, channels, x, y);
}

/// Each `[rows][columns]` matrix of `x` to `[columns][rows]` in `y`.
fn transpose(rows: usize, columns: usize, x: &[f32], y: &mut [f32]) {
    /// Output rows in a task: a cache line of inputs is read once for them.
    const BLOCK: usize = 16;
    if x.is_empty() {
        return;
    }
    y.par_chunks_mut(rows * columns).zip(x.par_chunks(rows * columns)).for_each(|(y, x)| {
        y.par_chunks_mut(BLOCK * rows).enumerate().for_each(|(block, y)| {
            for (row, x) in x.chunks_exact(columns).enumerate() {
                for (&v, y) in x[block * BLOCK..].iter().zip(y.chunks_exact_mut(rows)) {
                    y[row] = v;
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concatenation_and_its_gradient() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0]);
        let mut y = [0.0; 6];
        copy_channels(2, &a, 2, 0, 2, &mut y, 3, 0, false);
        copy_channels(2, &b, 1, 0, 1, &mut y, 3, 2, false);
        assert_eq!(y, [1.0, 2.0, 5.0, 3.0, 4.0, 6.0]);
        let mut da = [10.0; 4];
        copy_channels(2, &y, 3, 1, 2, &mut da, 2, 0, true);
        assert_eq!(da, [12.0, 15.0, 14.0, 16.0]);
    }

    #[test]
    fn addition_reaches_every_value() {
        let mut y = vec![1.0; 2 * CHUNK + 3];
        let x: Vec<f32> = (0..y.len()).map(|v| v as f32).collect();
        add_into(&mut y, &x);
        assert!(y.iter().zip(&x).all(|(y, x)| *y == x + 1.0));
    }

    #[test]
    fn orders_of_axes_are_inverse_to_each_other() {
        for (batch, channels, height, width) in [(2, 3, 5, 7), (1, 40, 3, 3), (3, 1, 1, 1)] {
            let x: Vec<f32> = (0..batch * channels * height * width).map(|v| v as f32).collect();
            let (mut y, mut back) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            nchw_to_nhwc(batch, channels, height, width, &x, &mut y);
            let (b, c, p) = (batch - 1, channels - 1, height * width - 1);
            let nchw = (b * channels + c) * height * width + p / 2;
            assert_eq!(y[(b * height * width + p / 2) * channels + c], nchw as f32);
            nhwc_to_nchw(batch, channels, height, width, &y, &mut back);
            assert_eq!(back, x);
        }
    }
}
