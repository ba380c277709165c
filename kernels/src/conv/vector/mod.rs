//! Several channels at a time, in registers or as plain code.
//!
//! Kernels are written once over [`Vector`] or [`Row`] and compiled for each path by [`on_each_path`]. Everything here
//! is inlined into the function that has the path's instructions enabled.

#[cfg(target_arch = "x86_64")]
mod avx512_steps;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{avx2, avx512};

use super::microkernel::Columns;

/// Several `f32`, at most a [`Row`] of them.
pub(crate) trait Vector: Copy {
    /// How many; a divisor of sixteen.
    const LANES: usize;
    /// The same value in each lane.
    fn splat(value: f32) -> Self;
    /// # Safety
    /// `from` points to as many readable values as there are lanes.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// `to` points to as many writable values as there are lanes.
    unsafe fn store(self, to: *mut f32);
    /// The first `count` lanes, at most all; the others are zero.
    ///
    /// # Safety
    /// `from` points to `count` readable values.
    unsafe fn load_part(from: *const f32, count: usize) -> Self;
    /// Writes the first `count` lanes, at most all.
    ///
    /// # Safety
    /// `to` points to `count` writable values.
    unsafe fn store_part(self, to: *mut f32, count: usize);
    /// Values that lie `apart` values from each other in the first `count` lanes, at most all; zero in the others.
    ///
    /// # Safety
    /// The `count` values are readable.
    unsafe fn gather(from: *const f32, apart: usize, count: usize) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    /// The larger value in each lane.
    fn max(self, other: Self) -> Self;
    /// `self * by + other`
    fn mul_add(self, by: Self, other: Self) -> Self;
}

/// Sixteen `f32`: a row of a tile of the matrix product.
pub(crate) trait Row: Copy {
    /// Rows and panels of columns whose sums the registers hold together: 6 and 1, or 8 and 2.
    const ROWS: usize;
    const PANELS: usize;
    /// Sums that a tile of one panel keeps of each value, 1 or 2: an instruction need not wait for the one before, but for
    /// the one before that.
    const CHAINS: usize;
    fn zero() -> Self;
    /// # Safety
    /// `from` points to sixteen readable values.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// `to` points to sixteen writable values.
    unsafe fn store(self, to: *mut f32);
    fn add(self, other: Self) -> Self;
    /// Adds the products of `USED` rows with two panels to the sums of each panel. Rows have segments of `steps` values, of
    /// which the starts are given.
    ///
    /// # Safety
    /// All rows have as many readable values, and the panels sixteen for each.
    #[inline(always)]
    unsafe fn add_products_of_two<const USED: usize>(
        _sums: &mut [[Self; USED]; 2],
        _segments: impl Iterator<Item = [*const f32; USED]>,
        _steps: usize,
        _columns: Columns,
    ) {
        unreachable!("the registers hold sums of one panel");
    }
    /// `self + factor * columns`
    fn add_product(self, factor: f32, columns: Self) -> Self;
}

/// Defines `$name(path, ..)`, which runs the generic `$body::<T>(..)` compiled for the instructions of the path; `T` is
/// the path's `$kind`, a `Vector` or a `Row`. Generic parameters follow the name in brackets, first as they are declared,
/// then as they are passed on after `T`.
macro_rules! on_each_path {
    (
        $(#[$doc:meta])*
        $seen:vis fn $name:ident $([$($declared:tt)*] [$($passed:tt)*])? ($($argument:ident: $type:ty),* $(,)?)
            => $body:ident::<$kind:ident>
    ) => {
        $(#[$doc])*
        $seen fn $name $(<$($declared)*>)? (path: $crate::path::Path, $($argument: $type),*) {
            use $crate::{conv::vector, path::Path};
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
            fn on_avx512 $(<$($declared)*>)? ($($argument: $type),*) {
                $body::<vector::avx512::$kind $(, $($passed)*)?>($($argument),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn on_avx2 $(<$($declared)*>)? ($($argument: $type),*) {
                $body::<vector::avx2::$kind $(, $($passed)*)?>($($argument),*);
            }
            // Out of line as the others are: registers are allotted to each path by itself.
            #[cfg(target_arch = "aarch64")]
            #[inline(never)]
            fn on_neon $(<$($declared)*>)? ($($argument: $type),*) {
                $body::<vector::neon::$kind $(, $($passed)*)?>($($argument),*);
            }
            #[inline(never)]
            fn on_any $(<$($declared)*>)? ($($argument: $type),*) {
                $body::<vector::portable::$kind $(, $($passed)*)?>($($argument),*);
            }
            match path {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: such a path is only made after the processor was asked for these instructions.
                path if path.has_avx512() => unsafe { on_avx512 $(::<$($passed)*>)? ($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Path::Avx2` is only made after the processor was asked for AVX2 and FMA.
                Path::Avx2 => unsafe { on_avx2 $(::<$($passed)*>)? ($($argument),*) },
                #[cfg(target_arch = "aarch64")]
                Path::Neon => on_neon $(::<$($passed)*>)? ($($argument),*),
                _ => on_any $(::<$($passed)*>)? ($($argument),*),
            }
        }
    };
}
pub(crate) use on_each_path;

impl<V: Vector> Row for [V; 2] {
    const ROWS: usize = 6;
    const PANELS: usize = 1;
    const CHAINS: usize = 1;

    #[inline(always)]
    fn zero() -> Self {
        [V::splat(0.0); 2]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for sixteen values.
        unsafe { [V::load(from), V::load(from.add(V::LANES))] }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for sixteen values.
        unsafe {
            self[0].store(to);
            self[1].store(to.add(V::LANES));
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        [self[0].add(other[0]), self[1].add(other[1])]
    }

    #[inline(always)]
    fn add_product(self, factor: f32, columns: Self) -> Self {
        let factor = V::splat(factor);
        [factor.mul_add(columns[0], self[0]), factor.mul_add(columns[1], self[1])]
    }
}
