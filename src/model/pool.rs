//! Buffers that are used again, so that a step neither asks the system for memory nor touches fresh pages.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

/// Some numbers in memory that may hold more. A vector that is cut would fill what it grows by with zeros when it is
/// used again, on one thread: as long as a large layer takes.
#[derive(Debug, Clone)]
pub(super) struct Buffer<T> {
    memory: Vec<T>,
    len: usize,
}

impl<T> From<Vec<T>> for Buffer<T> {
    fn from(memory: Vec<T>) -> Self {
        Self { len: memory.len(), memory }
    }
}

impl<T> From<Buffer<T>> for Vec<T> {
    fn from(buffer: Buffer<T>) -> Self {
        let Buffer { mut memory, len } = buffer;
        memory.truncate(len);
        memory
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[..self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[..self.len]
    }
}

/// Free buffers by the size of their memory.
#[derive(Default)]
pub(super) struct Pool<T> {
    free: BTreeMap<usize, Vec<Buffer<T>>>,
}

impl<T: Copy + Default> Pool<T> {
    /// A buffer of `len` numbers of any value.
    pub fn take(&mut self, len: usize) -> Buffer<T> {
        // A buffer up to twice the size serves; a larger one is kept for what needs it.
        let fitting = self.free.range(len..=len * 2).next().map(|(&size, _)| size);
        let Some(size) = fitting else { return vec![T::default(); len].into() };
        let shelf = self.free.get_mut(&size);
        let buffer = shelf.and_then(Vec::pop);
        if self.free.get(&size).is_some_and(Vec::is_empty) {
            self.free.remove(&size);
        }
        buffer.map_or_else(|| vec![T::default(); len].into(), |buffer| Buffer { len, ..buffer })
    }

    /// A buffer of `len` zeros.
    pub fn zeros(&mut self, len: usize) -> Buffer<T> {
        let mut buffer = self.take(len);
        buffer.fill(T::default());
        buffer
    }

    /// Takes a buffer back.
    pub fn give(&mut self, buffer: Buffer<T>) {
        if !buffer.memory.is_empty() {
            self.free.entry(buffer.memory.len()).or_default().push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_again_for_as_few_as_half_of_its_numbers_and_as_many_as_it_had() {
        let mut pool = Pool::<f32>::default();
        let whole = pool.take(8);
        let place = whole.as_ptr();
        pool.give(whole);
        let half = pool.take(4);
        assert_eq!((half.len(), half.as_ptr()), (4, place));
        pool.give(half);
        let third = pool.take(3);
        assert_ne!(third.as_ptr(), place);
        let whole = pool.take(8);
        assert_eq!((whole.len(), whole.as_ptr()), (8, place));
        assert_eq!(Vec::from(pool.zeros(2)), [0.0; 2]);
    }
}
