//! Buffers that are used again, so that a step neither asks the system for memory nor touches fresh pages.

use std::collections::BTreeMap;

/// Free buffers by capacity.
#[derive(Default)]
pub(super) struct Pool<T> {
    free: BTreeMap<usize, Vec<Vec<T>>>,
}

impl<T: Copy + Default> Pool<T> {
    /// A buffer of `len` numbers of any value.
    pub fn take(&mut self, len: usize) -> Vec<T> {
        // A buffer up to twice the size serves; a larger one is kept for what needs it.
        let fitting = self.free.range(len..=len * 2).next().map(|(&capacity, _)| capacity);
        let Some(capacity) = fitting else { return vec![T::default(); len] };
        let shelf = self.free.get_mut(&capacity);
        let buffer = shelf.and_then(Vec::pop);
        if self.free.get(&capacity).is_some_and(Vec::is_empty) {
            self.free.remove(&capacity);
        }
        let mut buffer = buffer.unwrap_or_default();
        buffer.resize(len, T::default());
        buffer
    }

    /// A buffer of `len` zeros.
    pub fn zeros(&mut self, len: usize) -> Vec<T> {
        let mut buffer = self.take(len);
        buffer.fill(T::default());
        buffer
    }

    /// Takes a buffer back.
    pub fn give(&mut self, buffer: Vec<T>) {
        if buffer.capacity() > 0 {
            self.free.entry(buffer.capacity()).or_default().push(buffer);
        }
    }
}
