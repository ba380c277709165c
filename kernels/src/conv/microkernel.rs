//! The inner loops that all dense convolutions end in: a tile of 6 rows by 16 columns kept in registers.
//!
//! 6 x 16 is what AVX2's sixteen registers hold: twelve sums, two columns and one broadcast row value. Rows are read
//! where they lie, so activations are never repacked; columns (weights) come packed, 16 side by side.

use crate::path::Path;

/// Rows of a tile.
pub(crate) const MR: usize = 6;
/// Columns of a tile.
pub(crate) const NR: usize = 16;
/// Sums of a tile, row by row.
pub(crate) type Tile = [[f32; NR]; MR];

/// The rows of a product: `starts` holds for each segment of the depth the starts of `MR` rows, each `run` long.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) starts: &'a [[*const f32; MR]],
    pub(crate) run: usize,
}

/// Calls `$kernel::<USED>` with the number of used rows as a constant.
macro_rules! with_used {
    ($used:expr, $kernel:ident, $($argument:expr),*) => {
        match $used {
            1 => avx2::$kernel::<1>($($argument),*),
            2 => avx2::$kernel::<2>($($argument),*),
            3 => avx2::$kernel::<3>($($argument),*),
            4 => avx2::$kernel::<4>($($argument),*),
            5 => avx2::$kernel::<5>($($argument),*),
            _ => avx2::$kernel::<6>($($argument),*),
        }
    };
}

/// Products of the first `used` rows with 16 packed columns:
/// `to[i * stride + j] = sum over k of row_i[k] * columns[16 k + j]`.
///
/// # Safety
/// Each of the first `used` starts of each segment points to `run` readable values.
///
/// # Panics
/// If a slice is too short.
#[inline]
pub(crate) unsafe fn multiply(path: Path, used: usize, rows: Rows, columns: &[f32], to: &mut [f32], stride: usize) {
    assert!((1..=MR).contains(&used) && to.len() >= (used - 1) * stride + NR);
    assert!(columns.len() >= rows.starts.len() * rows.run * NR);
    match path {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller vouches for the rows, slices were checked, and `Path::Avx2` implies the instructions.
        Path::Avx2 => unsafe { with_used!(used, multiply, rows, columns, to, stride) },
        // SAFETY: as above.
        Path::Portable => unsafe { portable_multiply(used, rows, columns, to, stride) },
    }
}

/// # Safety
/// As [`multiply`].
unsafe fn portable_multiply(used: usize, rows: Rows, columns: &[f32], to: &mut [f32], stride: usize) {
    let mut tile: Tile = [[0.0; NR]; MR];
    for (starts, columns) in rows.starts.iter().zip(columns.chunks_exact((rows.run * NR).max(1))) {
        for (&start, sums) in starts.iter().zip(tile.iter_mut()).take(used) {
            // SAFETY: the caller vouches for `run` values.
            let row = unsafe { std::slice::from_raw_parts(start, rows.run) };
            for (&a, column) in row.iter().zip(columns.chunks_exact(NR)) {
                for (sum, &b) in sums.iter_mut().zip(column) {
                    *sum += a * b;
                }
            }
        }
    }
    for (i, row) in tile.iter().enumerate().take(used) {
        to[i * stride..][..NR].copy_from_slice(row);
    }
}

/// Two matrices whose product is summed over their rows: `left` with rows `stride` apart, `right` with 16 columns.
#[derive(Clone, Copy)]
pub(crate) struct Outer<'a> {
    pub(crate) depth: usize,
    pub(crate) left: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) right: &'a [f32],
}

/// Transposed product of `used` columns of `left` with `right`:
/// `to[i * stride + j] += sum over k of left[k * left_stride + i] * right[16 k + j]`, or `=` if `fresh`.
///
/// # Panics
/// If a slice is too short.
#[inline]
pub(crate) fn outer(path: Path, used: usize, pair: Outer, to: &mut [f32], stride: usize, fresh: bool) {
    assert!((1..=MR).contains(&used) && to.len() >= (used - 1) * stride + NR && pair.depth > 0);
    assert!(pair.left.len() >= (pair.depth - 1) * pair.stride + used && pair.right.len() >= pair.depth * NR);
    match path {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: slices were checked, and `Path::Avx2` implies the instructions.
        Path::Avx2 => unsafe { with_used!(used, outer, pair, to, stride, fresh) },
        Path::Portable => {
            let mut tile: Tile = [[0.0; NR]; MR];
            for (left, right) in pair.left.chunks(pair.stride).zip(pair.right.chunks_exact(NR)).take(pair.depth) {
                for (sums, &a) in tile.iter_mut().zip(left).take(used) {
                    for (sum, &b) in sums.iter_mut().zip(right) {
                        *sum += a * b;
                    }
                }
            }
            for (i, row) in tile.iter().enumerate().take(used) {
                for (to, v) in to[i * stride..].iter_mut().zip(row) {
                    *to = if fresh { *v } else { *to + v };
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{NR, Outer, Rows};
    use std::arch::x86_64::*;

    /// # Safety
    /// As [`super::multiply`] after its checks, and the processor has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn multiply<const USED: usize>(rows: Rows, columns: &[f32], to: &mut [f32], stride: usize) {
        let mut sums = [[_mm256_setzero_ps(); 2]; USED];
        let mut column = columns.as_ptr();
        for segment in rows.starts {
            for k in 0..rows.run {
                // SAFETY: `columns` holds 16 values for each step, rows `run` values from each start.
                unsafe {
                    let low = _mm256_loadu_ps(column);
                    let high = _mm256_loadu_ps(column.add(8));
                    for (sums, start) in sums.iter_mut().zip(segment) {
                        let a = _mm256_broadcast_ss(&*start.add(k));
                        sums[0] = _mm256_fmadd_ps(a, low, sums[0]);
                        sums[1] = _mm256_fmadd_ps(a, high, sums[1]);
                    }
                    column = column.add(NR);
                }
            }
        }
        for (i, [low, high]) in sums.into_iter().enumerate() {
            // SAFETY: `to` holds `USED` rows of 16 values, `stride` apart.
            unsafe {
                let to = to.as_mut_ptr().add(i * stride);
                _mm256_storeu_ps(to, low);
                _mm256_storeu_ps(to.add(8), high);
            }
        }
    }

    /// # Safety
    /// Slices hold what [`super::outer`] checks, and the processor has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn outer<const USED: usize>(pair: Outer, to: &mut [f32], stride: usize, fresh: bool) {
        let mut sums = [[_mm256_setzero_ps(); 2]; USED];
        let (mut left, mut right) = (pair.left.as_ptr(), pair.right.as_ptr());
        for _ in 0..pair.depth {
            // SAFETY: the caller checked `depth` rows of both; the last step's new addresses are not read.
            unsafe {
                let low = _mm256_loadu_ps(right);
                let high = _mm256_loadu_ps(right.add(8));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a = _mm256_broadcast_ss(&*left.add(i));
                    sums[0] = _mm256_fmadd_ps(a, low, sums[0]);
                    sums[1] = _mm256_fmadd_ps(a, high, sums[1]);
                }
                right = right.add(NR);
            }
            left = left.wrapping_add(pair.stride);
        }
        for (i, [mut low, mut high]) in sums.into_iter().enumerate() {
            // SAFETY: the caller checked `USED` rows of 16 values, `stride` apart.
            unsafe {
                let to = to.as_mut_ptr().add(i * stride);
                if !fresh {
                    low = _mm256_add_ps(low, _mm256_loadu_ps(to));
                    high = _mm256_add_ps(high, _mm256_loadu_ps(to.add(8)));
                }
                _mm256_storeu_ps(to, low);
                _mm256_storeu_ps(to.add(8), high);
            }
        }
    }
}
