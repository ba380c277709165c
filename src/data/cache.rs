//! Decoded images kept in memory, so that an epoch doesn't decode again what the last one did.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use yoloslim_core::Result;

use super::image::Rgb;
use super::resample::shrunk;

/// The images of a data set, shrunk to what training can use of them and kept while they fit into a budget.
///
/// Nothing is ever thrown out: an epoch reads all images equally often, so no choice of a victim beats
/// keeping the first ones. A kept image and one decoded again are the same bytes, so the cache's state is
/// never seen in a batch.
#[derive(Debug)]
pub(crate) struct ImageCache {
    longest: usize,
    budget: usize,
    used: AtomicUsize,
    slots: Vec<OnceLock<Rgb>>,
}

/// An image that the cache holds, or one that found no room.
pub(crate) enum Cached<'a> {
    Kept(&'a Rgb),
    Passing(Rgb),
}

impl std::ops::Deref for Cached<'_> {
    type Target = Rgb;

    fn deref(&self) -> &Rgb {
        match self {
            Cached::Kept(image) => image,
            Cached::Passing(image) => image,
        }
    }
}

impl ImageCache {
    /// A cache for `images` images of at most `longest` pixels a side, holding at most `budget` bytes.
    pub fn new(images: usize, longest: usize, budget: usize) -> Self {
        let slots = std::iter::repeat_with(OnceLock::new).take(images).collect();
        Self { longest, budget, used: AtomicUsize::new(0), slots }
    }

    /// The image number `index`, which is the file `path`.
    pub fn get(&self, index: usize, path: &Path) -> Result<Cached<'_>> {
        let slot = &self.slots[index];
        if let Some(image) = slot.get() {
            return Ok(Cached::Kept(image));
        }
        let image = shrunk(Rgb::open(path)?, self.longest).map_err(|e| e.inside(path.display()))?;
        let bytes = image.pixels.len();
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > self.budget {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Ok(Cached::Passing(image));
        }
        // Two threads may have decoded the same image; the slower gives its share of the budget back.
        let mut stored = false;
        let kept = slot.get_or_init(|| {
            stored = true;
            image
        });
        if !stored {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(Cached::Kept(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_decides_what_is_kept_and_never_what_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("noise.png");
        image::RgbImage::from_fn(40, 20, |x, y| image::Rgb([x as u8 * 6, y as u8 * 12, 7])).save(&path).unwrap();

        let cache = ImageCache::new(2, 20, 20 * 10 * 3);
        let first = cache.get(0, &path).unwrap();
        assert!(matches!(first, Cached::Kept(_)));
        assert_eq!((first.width, first.height), (20, 10));
        let second = cache.get(1, &path).unwrap();
        assert!(matches!(second, Cached::Passing(_)), "the budget holds one image");
        assert_eq!(*first, *second);

        std::fs::remove_file(&path).unwrap();
        assert!(cache.get(0, &path).is_ok(), "a kept image needs no file");
        assert!(cache.get(1, &path).is_err());
    }
}
