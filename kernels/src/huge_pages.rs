//! Memory in huge pages.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which asks for huge pages for large blocks.
///
/// Weights and activations are read from end to end once a step; in pages of 4 KiB the processor looks up an address
/// for every 64 cache lines of them, and the kernel is called for every page that is written for the first time. A
/// program that trains or detects had better be linked with it:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: yoloslim_kernels::HugePages = yoloslim_kernels::HugePages;
/// # assert_eq!(vec![0_u8; 5 << 20].iter().max(), Some(&0));
/// ```
///
/// Only Linux has such pages for the asking; elsewhere it is the system's allocator.
pub struct HugePages;

/// Bytes of a huge page, on x86-64 and on ARM with pages of 4 KiB.
const PAGE: usize = 2 << 20;
/// Bytes from which on a block gets pages of its own.
const LARGE: usize = 2 * PAGE;

/// What is allocated for a large block: whole huge pages.
fn whole_pages(layout: Layout) -> Option<Layout> {
    if !cfg!(target_os = "linux") || layout.size() < LARGE {
        return None;
    }
    let size = layout.size().checked_next_multiple_of(PAGE)?;
    Layout::from_size_align(size, layout.align().max(PAGE)).ok()
}

/// Asks for huge pages; a system that has none goes on with small ones.
fn advise(block: *mut u8, size: usize) {
    #[cfg(target_os = "linux")]
    if !block.is_null() {
        // SAFETY: the block was just allocated, in whole pages, and the advice changes nothing that can be read.
        unsafe { libc::madvise(block.cast(), size, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (block, size);
}

// SAFETY: blocks come from the system's allocator. `whole_pages` is a function of the layout alone, so they are given back by
// the layout that they were taken by.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(pages) = whole_pages(layout) else {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: a large layout has a size.
        let block = unsafe { System.alloc(pages) };
        advise(block, pages.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if whole_pages(layout).is_none() {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as the caller promises. The advice must come before the first write.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: the block is as large as that.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises, and as it was allocated.
        unsafe { System.dealloc(block, whole_pages(layout).unwrap_or(layout)) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises, the size fits the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (whole_pages(layout), whole_pages(new)) {
            // SAFETY: as the caller promises, and as it was allocated.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (Some(before), Some(after)) if before.size() == after.size() => block,
            _ => {
                // SAFETY: as the caller promises.
                let moved = unsafe { self.alloc(new) };
                if !moved.is_null() {
                    // SAFETY: both blocks have so many bytes and are two.
                    unsafe {
                        block.copy_to_nonoverlapping(moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                }
                moved
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of bytes that count from 0, given back when it goes.
    struct Block {
        start: *mut u8,
        layout: Layout,
    }

    impl Block {
        fn filled(size: usize) -> Self {
            let layout = Layout::from_size_align(size, 8).unwrap();
            // SAFETY: the layout has a size.
            let mut block = Self { start: unsafe { HugePages.alloc(layout) }, layout };
            block.fill(0);
            block
        }

        fn zeroed(layout: Layout) -> Self {
            // SAFETY: the layout has a size.
            Self { start: unsafe { HugePages.alloc_zeroed(layout) }, layout }
        }

        fn fill(&mut self, from: usize) {
            // Not through a slice: what was never written is none yet.
            // SAFETY: the block has so many bytes.
            (from..self.layout.size()).for_each(|at| unsafe { self.start.add(at).write(at as u8) });
        }

        fn bytes(&self) -> &[u8] {
            assert!(!self.start.is_null());
            // SAFETY: so many bytes were allocated, and all have been written.
            unsafe { std::slice::from_raw_parts(self.start, self.layout.size()) }
        }

        fn resize(&mut self, size: usize) {
            let kept = self.layout.size().min(size);
            // SAFETY: the block was allocated by this layout, and the size is not zero.
            self.start = unsafe { HugePages.realloc(self.start, self.layout, size) };
            self.layout = Layout::from_size_align(size, 8).unwrap();
            self.fill(kept);
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            // SAFETY: the block was allocated by this layout, and nothing refers to it any more.
            unsafe { HugePages.dealloc(self.start, self.layout) };
        }
    }

    #[test]
    fn blocks_keep_what_is_in_them_when_they_grow_and_shrink_over_the_bounds() {
        let mut block = Block::filled(1000);
        for size in [LARGE - 1, LARGE, LARGE + 1, LARGE + PAGE - 1, 3 * LARGE + 7, LARGE, 5000, LARGE + 5, 10] {
            block.resize(size);
            assert!(block.bytes().iter().enumerate().all(|(at, byte)| *byte == at as u8), "{size}");
            assert!(size < LARGE || !cfg!(target_os = "linux") || block.start.addr().is_multiple_of(PAGE));
        }
    }

    #[test]
    fn a_zeroed_block_is_zero_where_others_were_before() {
        for size in [100, LARGE, LARGE + 12345] {
            let layout = Block::filled(size).layout;
            assert!(Block::zeroed(layout).bytes().iter().all(|byte| *byte == 0), "{size}");
        }
    }
}
