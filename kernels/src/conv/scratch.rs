//! Reusable buffers.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// A pool of buffers that convolutions work in. Keep one for a whole net: after the first pass no large buffer is allocated.
#[derive(Default, Debug)]
pub struct Scratch {
    free: Mutex<Vec<Vec<f32>>>,
}

impl Scratch {
    /// A buffer of `len` values of any content, which returns to the pool when dropped.
    pub(crate) fn take(&self, len: usize) -> Buffer<'_> {
        let mut values = self.lock().take_best(len);
        if values.capacity() < len {
            // The smaller one goes before the larger one comes.
            drop(std::mem::take(&mut values));
            values = vec![0.0; len];
        } else if values.len() < len {
            values.resize(len, 0.0);
        }
        Buffer { values, len, pool: self }
    }

    /// Memory for at least `len` values, to build a vector in and to [give back](Self::give_back).
    pub(crate) fn take_memory(&self, len: usize) -> Vec<f32> {
        let memory = self.lock().take_best(len);
        if memory.capacity() < len {
            // Growing would copy what nobody reads and might take twice what is needed.
            drop(memory);
            return Vec::with_capacity(len);
        }
        memory
    }

    /// Returns the memory of a vector to the pool.
    pub(crate) fn give_back(&self, values: Vec<f32>) {
        self.lock().push(values);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<f32>>> {
        // Buffers hold no invariant that a panic elsewhere could break.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

trait TakeBest {
    fn take_best(&mut self, len: usize) -> Vec<f32>;
}

impl TakeBest for Vec<Vec<f32>> {
    /// The smallest buffer that is large enough, or else the largest, which is then replaced by a larger one.
    fn take_best(&mut self, len: usize) -> Vec<f32> {
        let best = (0..self.len()).min_by_key(|&at| {
            // Not the length: what is built in taken memory may be shorter than it.
            let size = self[at].capacity();
            if size >= len { (0, size) } else { (1, usize::MAX - size) }
        });
        best.map_or_else(Vec::new, |at| self.swap_remove(at))
    }
}

/// A buffer on loan from a [`Scratch`].
pub(crate) struct Buffer<'a> {
    values: Vec<f32>,
    len: usize,
    pool: &'a Scratch,
}

impl Deref for Buffer<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_handed_out_again() {
        let scratch = Scratch::default();
        let first = scratch.take(100).as_ptr();
        assert_eq!(scratch.take(60).as_ptr(), first);
        let (large, small) = (scratch.take(1000), scratch.take(10));
        assert_eq!((large.len(), small.len()), (1000, 10));
    }

    #[test]
    fn memory_that_was_used_in_part_is_handed_out_whole() {
        let scratch = Scratch::default();
        let mut memory = vec![1.0; 100];
        let place = memory.as_ptr();
        memory.truncate(10);
        scratch.give_back(memory);
        let whole = scratch.take(100);
        assert_eq!((whole.as_ptr(), whole.len()), (place, 100));
    }
}
