//! AVX2 and AVX-512. Only code that runs behind their paths makes values of these types, so the instructions are there.

use std::arch::x86_64::*;

pub(crate) mod avx2 {
    pub(crate) type Vector = std::arch::x86_64::__m256;
    pub(crate) type Row = [Vector; 2];
}

pub(crate) mod avx512 {
    // Transforms of tiles would gain little from longer vectors: they wait for memory.
    pub(crate) type Vector = std::arch::x86_64::__m256;
    pub(crate) type Row = std::arch::x86_64::__m512;
}

impl super::Vector for __m256 {
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

impl super::Row for __m512 {
    // A row value that is broadcast for two panels takes half the loads, of which there would be as many as products.
    const PANELS: usize = 2;
    // Six registers of sums are fewer than the products that can be under way: two instructions a cycle, four cycles.
    const CHAINS: usize = 2;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above; the caller vouches for the address.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above; the caller vouches for the address.
        unsafe { _mm512_storeu_ps(to, self) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    fn add_product(self, factor: f32, columns: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(_mm512_set1_ps(factor), columns, self) }
    }
}
