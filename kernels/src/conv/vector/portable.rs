//! Plain code, which the compiler vectorises with what the target guarantees.

/// Lanes, as on AVX2.
const LANES: usize = 8;

pub(crate) type Vector = [f32; LANES];
pub(crate) type Row = [Vector; 2];

impl super::Vector for Vector {
    const LANES: usize = LANES;

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
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: as the caller promises.
        std::array::from_fn(|i| if i < count { unsafe { *from.add(i) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        for (i, value) in self.into_iter().enumerate().take(count) {
            // SAFETY: as the caller promises.
            unsafe { *to.add(i) = value };
        }
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, apart: usize, count: usize) -> Self {
        // SAFETY: as the caller promises.
        std::array::from_fn(|i| if i < count { unsafe { *from.add(i * apart) } } else { 0.0 })
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
    fn max(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i].max(other[i]))
    }

    #[inline(always)]
    fn mul_add(self, by: Self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] * by[i] + other[i])
    }
}
