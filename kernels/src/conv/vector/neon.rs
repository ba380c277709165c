//! NEON, whose registers hold four values: a vector is two of them. Each processor of the target has it, which is why
//! its intrinsics may be called.

use std::arch::aarch64::*;

pub(crate) type Vector = [float32x4_t; 2];
pub(crate) type Row = [Vector; 2];

impl super::Vector for Vector {
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { [vdupq_n_f32(value); 2] }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above; the caller vouches for eight values.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above; the caller vouches for eight values.
        unsafe {
            vst1q_f32(to, self[0]);
            vst1q_f32(to.add(4), self[1]);
        }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: as the caller promises.
        unsafe { Self::gather(from, 1, count) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        let mut lanes = [0.0; 8];
        // SAFETY: the array holds eight values, of which `count` have room, as the caller promises.
        unsafe {
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count.min(8));
        }
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, apart: usize, count: usize) -> Self {
        // SAFETY: as the caller promises.
        let lanes: [f32; 8] = std::array::from_fn(|i| if i < count { unsafe { *from.add(i * apart) } } else { 0.0 });
        // SAFETY: the array holds eight values.
        unsafe { Self::load(lanes.as_ptr()) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { [vaddq_f32(self[0], other[0]), vaddq_f32(self[1], other[1])] }
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { [vsubq_f32(self[0], other[0]), vsubq_f32(self[1], other[1])] }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { [vmaxq_f32(self[0], other[0]), vmaxq_f32(self[1], other[1])] }
    }

    #[inline(always)]
    fn mul_add(self, by: Self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { [vfmaq_f32(other[0], self[0], by[0]), vfmaq_f32(other[1], self[1], by[1])] }
    }
}
