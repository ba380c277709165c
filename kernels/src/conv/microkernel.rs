//! The inner loops that all dense convolutions end in: a tile of 6 rows by 16 columns kept in registers, or 8 by 32.
//!
//! 6 x 16 is what AVX2's sixteen registers hold: twelve sums, two columns and one broadcast row value; on NEON it takes 24
//! of 32. On AVX-512 eight rows and two panels of 16 columns take 16 of 32:
//! more rows would need more addresses than there are registers for. Rows are read where they lie, so activations
//! are never repacked; columns (weights) come packed in panels, 16 side by side.

use super::vector::{Row, on_each_path};
use crate::path::Path;

/// Most rows that are handed over together.
pub(crate) const MR: usize = 8;
/// Columns of a panel.
pub(crate) const NR: usize = 16;
/// Most panels that are multiplied together.
pub(crate) const TOGETHER: usize = 2;

/// Rows and panels of columns that the registers hold sums of, and that are best handed over together.
pub(crate) fn tile(path: Path) -> (usize, usize) {
    match path {
        #[cfg(target_arch = "x86_64")]
        path if path.has_avx512() => (MR, TOGETHER),
        _ => (6, 1),
    }
}

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

/// What is multiplied by after this, to be fetched into the L2 cache meanwhile: at each step of the depth `at` is fetched and
/// moves on by `step` values. Weights are read from memory but once, so nothing else brings them in time.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only AVX-512 multiplies so fast that it must"))]
pub(crate) struct Next {
    pub(crate) at: *const f32,
    pub(crate) step: usize,
}

impl Next {
    /// The part of `values` that one of `parts` products of `depth` steps can fetch.
    pub(crate) fn share(values: &[f32], part: usize, parts: usize, depth: usize) -> Self {
        let step = values.len().div_ceil((parts * depth).max(1));
        Self { at: values.as_ptr().wrapping_add(part * depth * step), step }
    }

    /// Nothing that is not there already: the first of `values` again and again. An address that no page holds would send
    /// the processor through the page tables at each step.
    pub(crate) fn nothing(values: &[f32]) -> Self {
        Self { at: values.as_ptr(), step: 0 }
    }
}

/// Packed columns: some panels, one after the other.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "see `Next`"))]
pub(crate) struct Columns<'a> {
    pub(crate) panels: usize,
    pub(crate) values: &'a [f32],
    pub(crate) next: Next,
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
    /// Products of the first `used` rows with packed columns:
    /// `to[i * stride + 16 p + j] = sum over k of row_i[k] * panel_p[16 k + j]`. What comes next is fetched meanwhile.
    ///
    /// # Panics
    /// If a slice is too short.
    pub(crate) fn multiply(used: usize, rows: Rows, columns: Columns, to: &mut [f32], stride: usize)
        => multiply_rows::<Row>
}

on_each_path! {
    /// Transposed product of `used` columns of `left` with the panels of `right`:
    /// `to[i * stride + 16 p + j] += sum over k of left[k * left_stride + i] * right_p[16 k + j]`, or `=` if `fresh`.
    ///
    /// # Panics
    /// If a slice is too short.
    pub(crate) fn outer(used: usize, panels: usize, pair: Outer, to: &mut [f32], stride: usize, fresh: bool)
        => multiply_columns::<Row>
}

/// Calls `$kernel::<_, USED>` with the number of used rows as a constant; more than six only if the registers hold them.
macro_rules! with_used {
    ($used:expr, $kernel:ident::<$row:ident>($($argument:expr),*)) => {
        match $used {
            1 => $kernel::<$row, 1>($($argument),*),
            2 => $kernel::<$row, 2>($($argument),*),
            3 => $kernel::<$row, 3>($($argument),*),
            4 => $kernel::<$row, 4>($($argument),*),
            5 => $kernel::<$row, 5>($($argument),*),
            6 => $kernel::<$row, 6>($($argument),*),
            used if $row::ROWS > 6 => match used {
                7 => $kernel::<$row, 7>($($argument),*),
                _ => $kernel::<$row, 8>($($argument),*),
            },
            used => unreachable!("{used} rows in registers for six"),
        }
    };
}

/// Tiles that the registers hold, of so many rows and panels: first row and rows, first panel and panels.
#[inline(always)]
fn tiles<R: Row>(rows: usize, panels: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..panels).step_by(R::PANELS).flat_map(move |panel| {
        (0..rows).step_by(R::ROWS).map(move |row| (row, R::ROWS.min(rows - row), panel, R::PANELS.min(panels - panel)))
    })
}

#[inline(always)]
fn multiply_rows<R: Row>(used: usize, rows: Rows, columns: Columns, to: &mut [f32], stride: usize) {
    let size = rows.starts.len() * rows.run * NR;
    assert!((1..=MR).contains(&used) && to.len() >= (used - 1) * stride + columns.panels * NR);
    assert!(columns.values.len() >= columns.panels * size);
    for (row, used, panel, count) in tiles::<R>(used, columns.panels) {
        let columns = Columns { panels: count, values: &columns.values[panel * size..][..count * size], ..columns };
        // SAFETY: just checked.
        unsafe {
            let to = to.as_mut_ptr().add(row * stride + panel * NR);
            with_used!(used, multiply_used::<R>(rows, row, columns, to, stride));
        }
    }
}

/// # Safety
/// `USED` rows from `first` on are there, at most `R::PANELS` panels as long as they, and `to` is long enough for
/// [`multiply`].
#[inline(always)]
unsafe fn multiply_used<R: Row, const USED: usize>(
    rows: Rows,
    first: usize,
    columns: Columns,
    to: *mut f32,
    stride: usize,
) {
    let mut sums = Sums::<R, USED>::zero();
    // SAFETY: the tile has `USED` rows from `first` on.
    let segments = rows.starts.iter().map(|starts| unsafe { *starts.as_ptr().add(first).cast::<[*const f32; USED]>() });
    if R::PANELS == 2 && columns.panels == 2 {
        // SAFETY: a panel holds 16 values for each step, rows `run` values from each start.
        unsafe { R::add_products_of_two(&mut sums.0, segments, rows.run, columns) };
    } else {
        for (starts, values) in segments.zip(columns.values.chunks_exact((rows.run * NR).max(1))) {
            // SAFETY: as above.
            unsafe { sums.add_products_of_one(rows.run, &mut Cursor { next: starts }, values.as_ptr()) };
        }
    }
    // SAFETY: `to` holds `USED` rows of 16 values for each panel.
    sums.for_each(columns.panels, |i, at, sum| unsafe { sum.store(to.add(i * stride + at)) });
}

#[inline(always)]
fn multiply_columns<R: Row>(used: usize, panels: usize, pair: Outer, to: &mut [f32], stride: usize, fresh: bool) {
    let size = pair.depth * NR;
    assert!((1..=MR).contains(&used) && to.len() >= (used - 1) * stride + panels * NR && pair.depth > 0);
    assert!(pair.left.len() >= (pair.depth - 1) * pair.stride + used && pair.right.len() >= panels * size);
    for (row, used, panel, count) in tiles::<R>(used, panels) {
        // SAFETY: just checked.
        unsafe {
            let (right, to) = (pair.right.as_ptr().add(panel * size), to.as_mut_ptr().add(row * stride + panel * NR));
            with_used!(used, outer_used::<R>(pair, row, count, right, to, stride, fresh));
        }
    }
}

/// # Safety
/// `USED` rows from `first` on are there, `right` holds `count` panels, at most `R::PANELS`, and the pair and `to` are long
/// enough for [`outer`].
#[inline(always)]
unsafe fn outer_used<R: Row, const USED: usize>(
    pair: Outer,
    first: usize,
    count: usize,
    right: *const f32,
    to: *mut f32,
    stride: usize,
    fresh: bool,
) {
    let mut sums = Sums::<R, USED>::zero();
    // SAFETY: the pair has `USED` rows from `first` on.
    let left = unsafe { pair.left.as_ptr().add(first) };
    let mut factors = Strided { next: left, stride: pair.stride };
    // SAFETY: both matrices have `depth` rows.
    unsafe {
        if R::PANELS == 2 && count == 2 {
            sums.add_products_of_two(pair.depth, &mut factors, right);
        } else {
            sums.add_products_of_one(pair.depth, &mut factors, right);
        }
    }
    // SAFETY: `to` holds `USED` rows of 16 values for each panel.
    sums.for_each(count, |i, at, sum| unsafe {
        let to = to.add(i * stride + at);
        if fresh { sum } else { sum.add(R::load(to)) }.store(to);
    });
}

/// The values that a step multiplies columns by, one for each row of a tile.
trait Factors {
    /// Goes on to the next step, or to the first one.
    ///
    /// # Safety
    /// There is a next step.
    unsafe fn step(&mut self);
    /// The value of row `i`.
    ///
    /// # Safety
    /// A step was taken, and there is such a row.
    unsafe fn value(&self, i: usize) -> f32;
}

/// Rows, a value of each after the other.
struct Cursor<const USED: usize> {
    next: [*const f32; USED],
}

impl<const USED: usize> Factors for Cursor<USED> {
    #[inline(always)]
    unsafe fn step(&mut self) {
        self.next = self.next.map(|next| next.wrapping_add(1));
    }

    #[inline(always)]
    unsafe fn value(&self, i: usize) -> f32 {
        // SAFETY: as the caller promises.
        unsafe { *self.next[i].wrapping_sub(1) }
    }
}

/// Columns of a matrix, side by side.
struct Strided {
    next: *const f32,
    stride: usize,
}

impl Factors for Strided {
    #[inline(always)]
    unsafe fn step(&mut self) {
        self.next = self.next.wrapping_add(self.stride);
    }

    #[inline(always)]
    unsafe fn value(&self, i: usize) -> f32 {
        // SAFETY: as the caller promises.
        unsafe { *self.next.wrapping_sub(self.stride).add(i) }
    }
}

/// The sums of a tile of `USED` rows: those of each of two panels, or of one panel `R::CHAINS` of each.
struct Sums<R, const USED: usize>([[R; USED]; 2]);

impl<R: Row, const USED: usize> Sums<R, USED> {
    #[inline(always)]
    fn zero() -> Self {
        Self([[R::zero(); USED]; 2])
    }

    /// Adds `factor_k(i) * panel_p[16 k + j]` to row `i` and column `j` of each of two panels, one after the other, for each
    /// step `k` below `depth`.
    ///
    /// # Safety
    /// `columns` points to `32 depth` readable values, and the factors have `depth` steps.
    #[inline(always)]
    unsafe fn add_products_of_two(&mut self, depth: usize, factors: &mut impl Factors, columns: *const f32) {
        let [first, second] = &mut self.0;
        for k in 0..depth {
            // SAFETY: `k` is below `depth`.
            unsafe {
                factors.step();
                let (left, right) = (R::load(columns.add(k * NR)), R::load(columns.add((depth + k) * NR)));
                for (i, (first, second)) in first.iter_mut().zip(second.iter_mut()).enumerate() {
                    let value = factors.value(i);
                    *first = first.add_product(value, left);
                    *second = second.add_product(value, right);
                }
            }
        }
    }

    /// Adds `factor_k(i) * panel[16 k + j]` to row `i` and column `j` of one panel for each step `k` below `depth`.
    ///
    /// # Safety
    /// `columns` points to `16 depth` readable values, and the factors have `depth` steps.
    #[inline(always)]
    unsafe fn add_products_of_one(&mut self, depth: usize, factors: &mut impl Factors, columns: *const f32) {
        let mut add = |sums: &mut [R; USED], k: usize| {
            // SAFETY: only called for steps below `depth`.
            unsafe { add_step(sums, factors, columns.add(k * NR)) }
        };
        let whole = depth - depth % R::CHAINS;
        let mut k = 0;
        while k < whole {
            for (chain, sums) in self.0.iter_mut().enumerate().take(R::CHAINS) {
                add(sums, k + chain);
            }
            k += R::CHAINS;
        }
        if whole < depth {
            add(&mut self.0[0], whole);
        }
    }

    /// Calls `take` with each row, the first column of each panel and its sums.
    #[inline(always)]
    fn for_each(self, count: usize, take: impl Fn(usize, usize, R)) {
        let [first, second] = self.0;
        for (i, (first, second)) in first.into_iter().zip(second).enumerate() {
            if count == 2 {
                take(i, 0, first);
                take(i, NR, second);
            } else {
                take(i, 0, if R::CHAINS > 1 { first.add(second) } else { first });
            }
        }
    }
}

/// The next step of one panel, whose columns are at `columns`.
///
/// # Safety
/// The factors have another step, and sixteen values are there.
#[inline(always)]
unsafe fn add_step<R: Row, const USED: usize>(sums: &mut [R; USED], factors: &mut impl Factors, columns: *const f32) {
    // SAFETY: as the caller promises.
    unsafe {
        factors.step();
        let columns = R::load(columns);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = sum.add_product(factors.value(i), columns);
        }
    }
}
