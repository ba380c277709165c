//! Eight channels at a time, as one register or as plain code.

/// Lanes of a vector.
pub(crate) const LANES: usize = 8;

/// Eight `f32`. Everything is inlined into the function that chose the instructions, see [`crate::path::Path::run`].
pub(crate) trait Vector: Copy {
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
    /// `self * by + other`
    fn mul_add(self, by: Self, other: Self) -> Self;
}

impl Vector for [f32; LANES] {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the caller promises; arrays of `f32` need no more than the alignment of `f32`.
        unsafe { from.cast::<Self>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as in `load`.
        unsafe { to.cast::<Self>().write(self) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] + other[i])
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] - other[i])
    }

    #[inline(always)]
    fn mul_add(self, by: Self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] * by[i] + other[i])
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::Vector;
    use std::arch::x86_64::*;

    // Only code that runs behind `Path::Avx2` makes values of this type, so AVX2 and FMA are there.
    impl Vector for __m256 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: see above; the caller vouches for the address.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: see above; the caller vouches for the address.
            unsafe { _mm256_storeu_ps(to, self) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_add_ps(self, other) }
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_sub_ps(self, other) }
        }

        #[inline(always)]
        fn mul_add(self, by: Self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_fmadd_ps(self, by, other) }
        }
    }
}
