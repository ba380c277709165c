//! The inner loops that all dense convolutions end in: a tile of 6 rows by 16 columns kept in registers.
//!
//! 6 x 16 is what AVX2's sixteen registers hold: twelve sums, two columns and one broadcast row value; on AVX-512 and
//! NEON, which have 32, two sums of six registers each or 24. Rows are read where they lie, so activations are never
//! repacked; columns (weights) come packed, 16 side by side.

use super::vector::{Row, on_each_path};

/// Rows of a tile.
pub(crate) const MR: usize = 6;
/// Columns of a tile.
pub(crate) const NR: usize = 16;
/// Sums of a tile, row by row.
pub(crate) type Tile = [[f32; NR]; MR];

/// The rows of a product, in segments of the depth.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    starts: &'a [[*const f32; MR]],
    run: usize,
}

impl<'a> Rows<'a> {
    /// `starts` holds for each segment the starts of `MR` rows, each `run` long.
    ///
    /// # Safety
    /// Each start points to `run` values that stay readable for `'a`.
    pub(crate) unsafe fn new(starts: &'a [[*const f32; MR]], run: usize) -> Self {
        Self { starts, run }
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

on_each_path! {
    /// Products of the first `used` rows with 16 packed columns:
    /// `to[i * stride + j] = sum over k of row_i[k] * columns[16 k + j]`.
    ///
    /// # Panics
    /// If a slice is too short.
    pub(crate) fn multiply(used: usize, rows: Rows, columns: &[f32], to: &mut [f32], stride: usize) => multiply_rows::<Row>
}

on_each_path! {
    /// Transposed product of `used` columns of `left` with `right`:
    /// `to[i * stride + j] += sum over k of left[k * left_stride + i] * right[16 k + j]`, or `=` if `fresh`.
    ///
    /// # Panics
    /// If a slice is too short.
    pub(crate) fn outer(used: usize, pair: Outer, to: &mut [f32], stride: usize, fresh: bool) => multiply_columns::<Row>
}

/// Calls `$kernel::<_, USED>` with the number of used rows as a constant.
macro_rules! with_used {
    ($used:expr, $kernel:ident::<$row:ident>($($argument:expr),*)) => {
        match $used {
            1 => $kernel::<$row, 1>($($argument),*),
            2 => $kernel::<$row, 2>($($argument),*),
            3 => $kernel::<$row, 3>($($argument),*),
            4 => $kernel::<$row, 4>($($argument),*),
            5 => $kernel::<$row, 5>($($argument),*),
            _ => $kernel::<$row, 6>($($argument),*),
        }
    };
}

#[inline(always)]
fn multiply_rows<R: Row>(used: usize, rows: Rows, columns: &[f32], to: &mut [f32], stride: usize) {
    assert!((1..=MR).contains(&used) && to.len() >= (used - 1) * stride + NR);
    assert!(columns.len() >= rows.starts.len() * rows.run * NR);
    // SAFETY: just checked.
    unsafe { with_used!(used, multiply_used::<R>(rows, columns.as_ptr(), to.as_mut_ptr(), stride)) }
}

/// # Safety
/// `columns` and `to` are long enough for [`multiply`].
#[inline(always)]
unsafe fn multiply_used<R: Row, const USED: usize>(rows: Rows, mut columns: *const f32, to: *mut f32, stride: usize) {
    let mut sums = Sums::<R, USED>::zero();
    for starts in rows.starts {
        // SAFETY: `columns` holds 16 values for each step, rows `run` values from each start.
        unsafe {
            sums.add_products(rows.run, |k, i| *starts[i].add(k), columns);
            columns = columns.add(rows.run * NR);
        }
    }
    // SAFETY: `to` holds `USED` rows of 16 values.
    sums.for_each(|i, sum| unsafe { sum.store(to.add(i * stride)) });
}

#[inline(always)]
fn multiply_columns<R: Row>(used: usize, pair: Outer, to: &mut [f32], stride: usize, fresh: bool) {
    assert!((1..=MR).contains(&used) && to.len() >= (used - 1) * stride + NR && pair.depth > 0);
    assert!(pair.left.len() >= (pair.depth - 1) * pair.stride + used && pair.right.len() >= pair.depth * NR);
    // SAFETY: just checked.
    unsafe { with_used!(used, outer_used::<R>(pair, to.as_mut_ptr(), stride, fresh)) }
}

/// # Safety
/// The pair and `to` are long enough for [`outer`].
#[inline(always)]
unsafe fn outer_used<R: Row, const USED: usize>(pair: Outer, to: *mut f32, stride: usize, fresh: bool) {
    let mut sums = Sums::<R, USED>::zero();
    let (left, right) = (pair.left.as_ptr(), pair.right.as_ptr());
    // SAFETY: both matrices have `depth` rows.
    unsafe { sums.add_products(pair.depth, |k, i| *left.add(k * pair.stride + i), right) };
    // SAFETY: `to` holds `USED` rows of 16 values.
    sums.for_each(|i, sum| unsafe {
        let to = to.add(i * stride);
        if fresh { sum } else { sum.add(R::load(to)) }.store(to);
    });
}

/// The sums of a tile of `USED` rows, `R::CHAINS` of each.
struct Sums<R, const USED: usize>([[R; USED]; 2]);

impl<R: Row, const USED: usize> Sums<R, USED> {
    #[inline(always)]
    fn zero() -> Self {
        Self([[R::zero(); USED]; 2])
    }

    /// Adds `value(k, i) * columns[16 k + j]` to row `i` and column `j` for each `k` below `depth`.
    ///
    /// # Safety
    /// `columns` points to `16 depth` readable values.
    #[inline(always)]
    unsafe fn add_products(&mut self, depth: usize, value: impl Fn(usize, usize) -> f32, columns: *const f32) {
        let whole = depth - depth % R::CHAINS;
        let mut k = 0;
        while k < whole {
            for (chain, sums) in self.0.iter_mut().enumerate().take(R::CHAINS) {
                // SAFETY: `k + chain` is below `depth`.
                let columns = unsafe { R::load(columns.add((k + chain) * NR)) };
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add_product(value(k + chain, i), columns);
                }
            }
            k += R::CHAINS;
        }
        if whole < depth {
            // SAFETY: `whole` is below `depth`.
            let columns = unsafe { R::load(columns.add(whole * NR)) };
            for (i, sum) in self.0[0].iter_mut().enumerate() {
                *sum = sum.add_product(value(whole, i), columns);
            }
        }
    }

    /// Calls `take` with each row and its sums.
    #[inline(always)]
    fn for_each(self, take: impl Fn(usize, R)) {
        let [first, second] = self.0;
        for (i, (first, second)) in first.into_iter().zip(second).enumerate() {
            take(i, if R::CHAINS > 1 { first.add(second) } else { first });
        }
    }
}
