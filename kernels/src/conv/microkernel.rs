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
    /// Added to every start.
    pub(crate) offset: usize,
    pub(crate) run: usize,
}

/// Products of the first `used` rows with 16 packed columns: `tile[i][j] = sum of row_i[k] * columns[16 k + j]`.
///
/// # Safety
/// Each of the first `used` starts of each segment points to `offset + run` readable values.
#[inline]
pub(crate) unsafe fn multiply(path: Path, used: usize, rows: Rows, columns: &[f32], tile: &mut Tile) {
    debug_assert!(columns.len() >= rows.starts.len() * rows.run * NR && (1..=MR).contains(&used));
    // SAFETY: the caller vouches for the rows; columns were checked; `Path::Avx2` implies the instructions.
    unsafe {
        match (path, used) {
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2, 1) => avx2::multiply::<1>(rows, columns, tile),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2, 2) => avx2::multiply::<2>(rows, columns, tile),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2, 3) => avx2::multiply::<3>(rows, columns, tile),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2, 4) => avx2::multiply::<4>(rows, columns, tile),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2, 5) => avx2::multiply::<5>(rows, columns, tile),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2, _) => avx2::multiply::<6>(rows, columns, tile),
            (Path::Portable, _) => portable_multiply(used, rows, columns, tile),
        }
    }
}

/// Adds products over packed rows and columns to a tile in memory, whose rows are `stride` apart:
/// `sums[i * stride + j] += sum over k of rows[MR k + i] * columns[NR k + j]`.
///
/// # Panics
/// If a slice is too short.
#[inline]
pub(crate) fn add_outer(path: Path, depth: usize, rows: &[f32], columns: &[f32], sums: &mut [f32], stride: usize) {
    assert!(rows.len() >= depth * MR && columns.len() >= depth * NR && sums.len() >= (MR - 1) * stride + NR);
    match path {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: lengths were checked; `Path::Avx2` implies the instructions.
        Path::Avx2 => unsafe { avx2::add_outer(depth, rows, columns, sums, stride) },
        Path::Portable => {
            let mut tile = [[0.0; NR]; MR];
            for (row, column) in rows.chunks_exact(MR).zip(columns.chunks_exact(NR)).take(depth) {
                for (sums, &a) in tile.iter_mut().zip(row) {
                    for (sum, &b) in sums.iter_mut().zip(column) {
                        *sum += a * b;
                    }
                }
            }
            for (i, row) in tile.iter().enumerate() {
                for (sum, v) in sums[i * stride..].iter_mut().zip(row) {
                    *sum += v;
                }
            }
        }
    }
}

/// # Safety
/// As [`multiply`].
unsafe fn portable_multiply(used: usize, rows: Rows, columns: &[f32], tile: &mut Tile) {
    *tile = [[0.0; NR]; MR];
    for (starts, columns) in rows.starts.iter().zip(columns.chunks_exact((rows.run * NR).max(1))) {
        for (&start, sums) in starts.iter().zip(tile.iter_mut()).take(used) {
            // SAFETY: the caller vouches for `offset + run` values.
            let row = unsafe { std::slice::from_raw_parts(start.add(rows.offset), rows.run) };
            for (&a, column) in row.iter().zip(columns.chunks_exact(NR)) {
                for (sum, &b) in sums.iter_mut().zip(column) {
                    *sum += a * b;
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{MR, NR, Rows, Tile};
    use std::arch::x86_64::*;

    /// # Safety
    /// As [`super::multiply`], and the processor has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn multiply<const USED: usize>(rows: Rows, columns: &[f32], tile: &mut Tile) {
        let mut sums = [[_mm256_setzero_ps(); 2]; USED];
        let mut column = columns.as_ptr();
        for segment in rows.starts {
            let mut starts = [std::ptr::null(); USED];
            for i in 0..USED {
                // SAFETY: the caller vouches for `offset + run` values from each start.
                starts[i] = unsafe { segment[i].add(rows.offset) };
            }
            for k in 0..rows.run {
                // SAFETY: `columns` holds 16 values for each step, rows `run` values from each start.
                unsafe {
                    let low = _mm256_loadu_ps(column);
                    let high = _mm256_loadu_ps(column.add(8));
                    for i in 0..USED {
                        let a = _mm256_broadcast_ss(&*starts[i].add(k));
                        sums[i][0] = _mm256_fmadd_ps(a, low, sums[i][0]);
                        sums[i][1] = _mm256_fmadd_ps(a, high, sums[i][1]);
                    }
                    column = column.add(NR);
                }
            }
        }
        for (row, [low, high]) in tile.iter_mut().zip(sums) {
            // SAFETY: a tile row holds 16 values.
            unsafe {
                _mm256_storeu_ps(row.as_mut_ptr(), low);
                _mm256_storeu_ps(row.as_mut_ptr().add(8), high);
            }
        }
    }

    /// # Safety
    /// Slices hold what [`super::add_outer`] checks, and the processor has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn add_outer(depth: usize, rows: &[f32], columns: &[f32], out: &mut [f32], stride: usize) {
        let mut sums = [[_mm256_setzero_ps(); 2]; MR];
        let (mut row, mut column) = (rows.as_ptr(), columns.as_ptr());
        for _ in 0..depth {
            // SAFETY: the caller checked `depth` groups of 6 and of 16 values.
            unsafe {
                let low = _mm256_loadu_ps(column);
                let high = _mm256_loadu_ps(column.add(8));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a = _mm256_broadcast_ss(&*row.add(i));
                    sums[0] = _mm256_fmadd_ps(a, low, sums[0]);
                    sums[1] = _mm256_fmadd_ps(a, high, sums[1]);
                }
                (row, column) = (row.add(MR), column.add(NR));
            }
        }
        for (i, [low, high]) in sums.into_iter().enumerate() {
            // SAFETY: the caller checked six rows of 16 values, `stride` apart.
            unsafe {
                let to = out.as_mut_ptr().add(i * stride);
                _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), low));
                _mm256_storeu_ps(to.add(8), _mm256_add_ps(_mm256_loadu_ps(to.add(8)), high));
            }
        }
    }
}
