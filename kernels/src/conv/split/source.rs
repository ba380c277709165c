//! Strips of lines of images, split into halves and with zeros around.

use super::halves::{split, split_pixels};
use super::instructions::Left;
use super::layout::Layout;
use crate::conv::Buffer;
use crate::conv::Scratch;
use std::ops::Range;

/// Bytes of a cache line, which rows of tiles had better begin with.
const LINE: usize = 64;

/// Memory for split values: their upper halves, then their lower ones.
pub(super) struct Split<'a> {
    _memory: Buffer<'a>,
    start: *mut u16,
    len: usize,
}

// SAFETY: it is memory of its own, and who writes to it promises that nobody else uses that part.
unsafe impl Send for Split<'_> {}
// SAFETY: as above.
unsafe impl Sync for Split<'_> {}

impl<'a> Split<'a> {
    pub(super) fn new(len: usize, scratch: &'a Scratch) -> Self {
        let len = len.next_multiple_of(LINE / 2);
        let mut memory = scratch.take(len + LINE / 4);
        let start = memory.as_mut_ptr();
        let start = start.wrapping_byte_add(start.align_offset(LINE) * 4);
        Self { start: start.cast(), len, _memory: memory }
    }

    /// Where the upper and the lower halves from value `at` on are written.
    pub(super) fn places(&self, at: usize) -> (*mut u16, *mut u16) {
        (self.start.wrapping_add(at), self.start.wrapping_add(self.len + at))
    }

    /// Rows `stride` values apart, from value `at` on.
    pub(super) fn left(&self, at: usize, stride: usize) -> Left {
        Left { start: self.start.wrapping_add(at), lower: 2 * self.len, stride: 2 * stride }
    }

    /// Zeroes some values.
    ///
    /// # Safety
    /// Nobody else uses them.
    pub(super) unsafe fn clear(&self, values: Range<usize>) {
        assert!(values.start <= values.end && values.end <= self.len);
        let (upper, lower) = self.places(values.start);
        // SAFETY: inside of the memory, as asserted; zeros are values.
        unsafe {
            upper.write_bytes(0, values.len());
            lower.write_bytes(0, values.len());
        }
    }

    /// Splits `from` to the places from value `at` on.
    ///
    /// # Safety
    /// Nobody else uses them.
    unsafe fn write(&self, at: usize, from: &[f32]) {
        assert!(at <= self.len && from.len() <= self.len - at);
        let (upper, lower) = self.places(at);
        // SAFETY: inside of the memory, as asserted. Whoever splits has the instructions.
        unsafe { split(from, upper, lower) };
    }

    /// Splits every `step`th pixel of `from` to places `apart` values from each other, from value `at` on.
    ///
    /// # Safety
    /// Nobody else uses them.
    unsafe fn write_pixels(&self, at: usize, apart: usize, from: &[f32], channels: usize, step: usize) {
        let count = (from.len() / channels).div_ceil(step);
        assert!(channels <= apart && at <= self.len && count * apart <= self.len - at);
        let (upper, lower) = self.places(at);
        // SAFETY: as above.
        unsafe { split_pixels(from, channels, step, apart, upper, lower) };
    }
}

/// Some grid rows of an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip {
    pub(super) image: usize,
    pub(super) first: usize,
    pub(super) rows: usize,
}

impl Layout {
    /// Values of a strip's planes.
    pub(super) fn strip_len(&self, rows: usize) -> usize {
        (self.phases() * self.plane(rows) * self.apart).next_multiple_of(LINE / 2)
    }

    /// The source's line of an image that is line `line` of the strip's plane `phase`, if there is one.
    pub(super) fn source_row(&self, strip: Strip, phase: usize, line: usize) -> Option<usize> {
        let row = (strip.first + line).checked_sub(self.above)? * self.step.0 + phase / self.step.1;
        (row < self.src.height).then(|| strip.image * self.src.height + row)
    }

    /// Splits what belongs to line `line` of the strip's plane `phase`, of which the planes begin at `at`.
    ///
    /// # Safety
    /// Nobody else uses that line.
    pub(super) unsafe fn fill(&self, strip: Strip, (phase, line): (usize, usize), src: &[f32], to: &Split, at: usize) {
        let (channels, apart) = (self.src.channels, self.apart);
        let start = at + (phase * self.plane(strip.rows) + line * self.pitch) * apart;
        let end = if line + 1 == self.lines(strip.rows) {
            // Steps after the last line's end are multiplied by zeros, which no infinity may meet.
            at + (phase + 1) * self.plane(strip.rows) * apart
        } else {
            start + self.pitch * apart
        };
        let col = phase % self.step.1;
        let (Some(row), true) = (self.source_row(strip, phase, line), col < self.src.width) else {
            // SAFETY: as the caller promises.
            return unsafe { to.clear(start..end) };
        };
        let from = &src[row * self.src.width * channels..][..self.src.width * channels];
        let first = start + self.left * apart;
        let cols = (self.src.width - col).div_ceil(self.step.1);
        // SAFETY: as the caller promises.
        unsafe {
            to.clear(start..first);
            if self.step.1 == 1 && apart == channels {
                to.write(first, from);
            } else {
                to.write_pixels(first, apart, &from[col * channels..], channels, self.step.1);
            }
            to.clear(first + cols * apart..end);
        }
    }
}
