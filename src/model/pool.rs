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

/// Which of the free buffers that are large enough is used.
#[derive(Debug, Clone, Copy)]
pub(super) enum Choice {
    /// The smallest: the least memory, which training is short of.
    Smallest,
    /// That which was used last, for it is the most likely to be in a cache.
    Latest,
}

/// Free buffers by the size of their memory.
pub(super) struct Pool<T> {
    choice: Choice,
    /// With a number that tells when each was given back, the last one of a size at the end.
    free: BTreeMap<usize, Vec<(u64, Buffer<T>)>>,
    given: u64,
}

impl<T: Copy + Default> Pool<T> {
    pub fn new(choice: Choice) -> Self {
        Self { choice, free: BTreeMap::new(), given: 0 }
    }

    /// A buffer of `len` numbers of any value.
    pub fn take(&mut self, len: usize) -> Buffer<T> {
        // A buffer up to twice the size serves; a larger one is kept for what needs it.
        let mut fitting = self.free.range_mut(len..=len * 2).map(|(_, shelf)| shelf).filter(|shelf| !shelf.is_empty());
        let chosen = match self.choice {
            Choice::Smallest => fitting.next(),
            Choice::Latest => fitting.max_by_key(|shelf| shelf.last().map(|(given, _)| *given)),
        };
        let buffer = chosen.and_then(Vec::pop);
        buffer.map_or_else(|| vec![T::default(); len].into(), |(_, buffer)| Buffer { len, ..buffer })
    }

    /// A buffer of `len` zeros.
    pub fn zeros(&mut self, len: usize) -> Buffer<T> {
        let mut buffer = self.take(len);
        buffer.fill(T::default());
        buffer
    }

    /// How many numbers are free.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.free.iter().map(|(len, shelf)| len * shelf.len()).sum()
    }

    /// Takes a buffer back. One that was not taken from here would stay for good: more than are needed pile up.
    pub fn give(&mut self, buffer: Buffer<T>) {
        if !buffer.memory.is_empty() {
            self.given += 1;
            self.free.entry(buffer.memory.len()).or_default().push((self.given, buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_again_for_as_few_as_half_of_its_numbers_and_as_many_as_it_had() {
        let mut pool = Pool::<f32>::new(Choice::Smallest);
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
        assert_eq!(pool.zeros(2)[..], [0.0; 2]);
    }

    #[test]
    fn of_two_buffers_the_smaller_or_the_later_one_is_used() {
        for (choice, wanted) in [(Choice::Smallest, 0), (Choice::Latest, 1)] {
            let mut pool = Pool::<f32>::new(choice);
            let buffers = [pool.take(5), pool.take(6)];
            let places = [buffers[0].as_ptr(), buffers[1].as_ptr()];
            buffers.into_iter().for_each(|buffer| pool.give(buffer));
            assert_eq!(pool.take(4).as_ptr(), places[wanted], "{choice:?}");
        }
    }
}
