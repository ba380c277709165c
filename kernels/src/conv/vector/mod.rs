//! Several channels at a time, in registers or as plain code.
//!
//! Kernels are written once over [`Vector`] or [`Row`] and compiled for each path by [`on_each_path`]. Everything here
//! is inlined into the function that has the path's instructions enabled.

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{avx2, avx512};

/// Lanes of a [`Vector`].
pub(crate) const LANES: usize = 8;

/// Eight `f32`.
pub(crate) trait Vector: Copy {
    /// Registers that it takes.
    const REGISTERS: usize;
    /// The same value in each lane.
    fn splat(value: f32) -> Self;
    /// # Safety
    /// `from` points to eight readable values.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// `to` points to eight writable values.
    unsafe fn store(self, to: *mut f32);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    /// The larger of each lane's two values.
    fn max(self, other: Self) -> Self;
    /// `self * by + other`
    fn mul_add(self, by: Self, other: Self) -> Self;
}

/// Copies `count` values, at most sixteen, by pieces whose sizes the compiler knows: a call for a handful of values would
/// take longer than they do.
///
/// # Safety
/// `from` points to `count` readable values and `to` to as many writable ones that do not overlap them.
#[inline(always)]
pub(crate) unsafe fn copy_few(from: *const f32, to: *mut f32, count: usize) {
    let mut at = 0;
    // SAFETY: the pieces add up to `count`.
    unsafe {
        if count & 16 != 0 {
            from.copy_to_nonoverlapping(to, 16);
            at += 16;
        }
        if count & 8 != 0 {
            from.add(at).copy_to_nonoverlapping(to.add(at), 8);
            at += 8;
        }
        if count & 4 != 0 {
            from.add(at).copy_to_nonoverlapping(to.add(at), 4);
            at += 4;
        }
        if count & 2 != 0 {
            from.add(at).copy_to_nonoverlapping(to.add(at), 2);
            at += 2;
        }
        if count & 1 != 0 {
            *to.add(at) = *from.add(at);
        }
    }
}

/// A row of a tile of the matrix product: sixteen `f32`, or eight.
pub(crate) trait Row: Copy {
    /// Values.
    const WIDTH: usize;
    /// Sums that a tile keeps of each value, 1 or 2: an instruction need not wait for the one before, but for the one
    /// before that.
    const CHAINS: usize;
    fn zero() -> Self;
    /// # Safety
    /// `from` points to `WIDTH` readable values.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// `to` points to `WIDTH` writable values.
    unsafe fn store(self, to: *mut f32);
    fn add(self, other: Self) -> Self;
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
                // SAFETY: `Path::Avx512` is only made after the processor was asked for these instructions.
                Path::Avx512 => unsafe { on_avx512 $(::<$($passed)*>)? ($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Path::Avx2` is only made after the processor was asked for AVX2 and FMA.
                Path::Avx2 => unsafe { on_avx2 $(::<$($passed)*>)? ($($argument),*) },
                #[cfg(target_arch = "aarch64")]
                Path::Neon => on_neon $(::<$($passed)*>)? ($($argument),*),
                Path::Portable => on_any $(::<$($passed)*>)? ($($argument),*),
            }
        }
    };
}
pub(crate) use on_each_path;

impl<V: Vector, const N: usize> Row for [V; N] {
    const WIDTH: usize = N * LANES;
    // Six registers of sums are fewer than the products that can be under way: two instructions a cycle, four cycles.
    const CHAINS: usize = if N * V::REGISTERS == 1 { 2 } else { 1 };

    #[inline(always)]
    fn zero() -> Self {
        [V::splat(0.0); N]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        let mut row = Self::zero();
        for (at, part) in row.iter_mut().enumerate() {
            // SAFETY: the caller vouches for `N * LANES` values.
            *part = unsafe { V::load(from.add(at * LANES)) };
        }
        row
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for (at, part) in self.into_iter().enumerate() {
            // SAFETY: the caller vouches for `N * LANES` values.
            unsafe { part.store(to.add(at * LANES)) };
        }
    }

    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        for (part, other) in self.iter_mut().zip(other) {
            *part = part.add(other);
        }
        self
    }

    #[inline(always)]
    fn add_product(mut self, factor: f32, columns: Self) -> Self {
        let factor = V::splat(factor);
        for (part, columns) in self.iter_mut().zip(columns) {
            *part = factor.mul_add(columns, *part);
        }
        self
    }
}
