//! AVX2 and AVX-512. Only code that runs behind their paths makes values of these types, so the instructions are there.

use std::arch::x86_64::*;

use super::avx512_steps;
use crate::conv::microkernel::Columns;

pub(crate) mod avx2 {
    pub(crate) type Vector = std::arch::x86_64::__m256;
    pub(crate) type Row = [Vector; 2];
}

pub(crate) mod avx512 {
    pub(crate) type Vector = std::arch::x86_64::__m512;
    pub(crate) type Row = std::arch::x86_64::__m512;
}

/// A mask of `n` lanes is the eight values that start `n` values before the first zero.
static FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// All bits of the first `count` of eight lanes.
#[inline(always)]
fn first(count: usize) -> __m256i {
    let mask = &FIRST[8 - count.min(8)..][..8];
    // SAFETY: see above; eight values were just taken.
    unsafe { _mm256_loadu_si256(mask.as_ptr().cast()) }
}

impl super::Vector for __m256 {
    const LANES: usize = 8;

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
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: see above; lanes beyond the mask are not read.
        unsafe { _mm256_maskload_ps(from, first(count)) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: see above; lanes beyond the mask are not written.
        unsafe { _mm256_maskstore_ps(to, first(count), self) }
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, apart: usize, count: usize) -> Self {
        let value = |i: usize| {
            // SAFETY: as the caller promises.
            if i < count { unsafe { *from.add(i * apart) } } else { 0.0 }
        };
        // SAFETY: see above. Eight loads, which take no longer than a gathering instruction on the processors of this path.
        unsafe { _mm256_setr_ps(value(0), value(1), value(2), value(3), value(4), value(5), value(6), value(7)) }
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
    fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(self, other) }
    }

    #[inline(always)]
    fn mul_add(self, by: Self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(self, by, other) }
    }
}

/// The first `count` of sixteen lanes.
#[inline(always)]
fn lanes(count: usize) -> __mmask16 {
    ((1_u32 << count.min(16)) - 1) as __mmask16
}

impl super::Vector for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(value) }
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
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: see above; lanes beyond the mask are not read.
        unsafe { _mm512_maskz_loadu_ps(lanes(count), from) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: see above; lanes beyond the mask are not written.
        unsafe { _mm512_mask_storeu_ps(to, lanes(count), self) }
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, apart: usize, count: usize) -> Self {
        // SAFETY: see above; lanes beyond the mask are not read, and callers assert that 16 steps fit an i32.
        unsafe {
            let order = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let places = _mm512_mullo_epi32(order, _mm512_set1_epi32(apart as i32));
            _mm512_mask_i32gather_ps::<4>(_mm512_setzero_ps(), lanes(count), places, from)
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(self, other) }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(self, other) }
    }

    #[inline(always)]
    fn mul_add(self, by: Self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(self, by, other) }
    }
}

impl super::Row for __m512 {
    // 16 sums. Eight rows lessen what is read of columns, two panels what is read of rows: a product needs two values, and
    // as many loads as products can start in a cycle.
    const ROWS: usize = 8;
    const PANELS: usize = 2;
    // A few registers of sums are fewer than the products that can be under way: two instructions a cycle, four cycles.
    const CHAINS: usize = 2;

    #[inline(always)]
    fn zero() -> Self {
        super::Vector::splat(0.0)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the caller promises.
        unsafe { super::Vector::load(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the caller promises.
        unsafe { super::Vector::store(self, to) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        super::Vector::add(self, other)
    }

    #[inline(always)]
    unsafe fn add_products_of_two<const USED: usize>(
        sums: &mut [[Self; USED]; 2],
        segments: impl Iterator<Item = [*const f32; USED]>,
        steps: usize,
        columns: Columns,
    ) {
        // SAFETY: see above, and as the caller promises.
        unsafe { avx512_steps::add_products(sums, segments, steps, columns) };
    }

    #[inline(always)]
    fn add_product(self, factor: f32, columns: Self) -> Self {
        super::Vector::mul_add(super::Vector::splat(factor), columns, self)
    }
}
