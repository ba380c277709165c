//! A slice that several tasks write to, each its own part.

use std::marker::PhantomData;

/// A mutable slice handed to parallel tasks whose parts interleave, so that `par_chunks_mut` cannot express them.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<'a> {
    start: *mut f32,
    len: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a `&mut [f32]` whose parts go to different threads; every access is an unsafe call that promises
// that no two threads touch one part.
unsafe impl Send for SharedMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedMut<'_> {}

impl<'a> SharedMut<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), life: PhantomData }
    }

    /// The slice from `by` on.
    #[inline(always)]
    pub(crate) fn offset(self, by: usize) -> Self {
        assert!(by <= self.len, "offset {by} of {}", self.len);
        // SAFETY: stays inside the slice or at its end, as asserted.
        Self { start: unsafe { self.start.add(by) }, len: self.len - by, life: PhantomData }
    }

    /// The `len` values from `from` on.
    ///
    /// # Safety
    /// No other live reference may overlap them.
    ///
    /// # Panics
    /// If the slice has no such values.
    #[inline(always)]
    pub(crate) unsafe fn part(self, from: usize, len: usize) -> &'a mut [f32] {
        assert!(from <= self.len && len <= self.len - from, "part {from}+{len} of {}", self.len);
        // SAFETY: inside the slice, as asserted; the caller vouches for no overlap.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}
