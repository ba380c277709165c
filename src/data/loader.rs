//! Training batches: shuffled, augmented, worked out ahead by threads and the same for any number of them.

use std::sync::Arc;

use rand::RngExt;
use rand::seq::SliceRandom;
use yoloslim_core::labels::{Dataset, Sample};
use yoloslim_core::{Error, Result};

use super::augment::Augment;
use super::batch::{Batch, Target};
use super::cache::ImageCache;
use super::colour::Jitter;
use super::mosaic::Composer;
use super::prefetch::Prefetch;
use super::random::{Purpose, stream};
use super::share::Share;

/// How training batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderOptions {
    /// Width of the net's input in pixels.
    pub width: usize,
    /// Height of the net's input in pixels.
    pub height: usize,
    /// Images a batch, those of other workers included; the last batch of an epoch holds what is left.
    pub batch: usize,
    /// This worker's part in it.
    pub share: Share,
    /// All randomness comes from it.
    pub seed: u64,
    /// Threads that decode and augment.
    pub threads: usize,
    /// What augmentation may do.
    pub augment: Augment,
    /// Draw another input size every ten batches, from two thirds to one and a half of the net's.
    pub multi_scale: bool,
    /// The net's coarsest stride, of which the sizes that are drawn are multiples.
    pub stride: usize,
    /// Epochs after which the same batches come again; each epoch has its own when none.
    pub cycle: Option<usize>,
    /// Bytes of decoded images to keep in memory.
    pub cache_bytes: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self {
            width: 416,
            height: 416,
            batch: 16,
            share: Share::ALL,
            seed: 0,
            threads: 2,
            augment: Augment::default(),
            multi_scale: false,
            stride: 32,
            cycle: None,
            cache_bytes: 2 << 30,
        }
    }
}

/// The batches of a data set, epoch by epoch.
#[derive(Debug, Clone)]
pub struct Loader {
    samples: Arc<[Sample]>,
    cache: Arc<ImageCache>,
    options: LoaderOptions,
}

/// Batches that share an input size.
const BATCHES_A_SIZE: usize = 10;

impl Loader {
    /// A loader for the samples of `dataset`; images are read when batches ask for them.
    ///
    /// # Errors
    /// If there are no images, or an option that can't be met.
    pub fn new(dataset: &Dataset, options: LoaderOptions) -> Result<Self> {
        options.augment.check()?;
        if dataset.samples.is_empty() {
            return Err(Error::at("training data", "holds no images").fix("check the list of training images"));
        }
        if options.batch == 0 {
            return Err(Error::at("batch", "a batch of 0 images holds nothing").fix("set batch to at least 1"));
        }
        let stride = options.stride.max(1);
        for (name, size) in [("width", options.width), ("height", options.height)] {
            if size == 0 || options.multi_scale && !size.is_multiple_of(stride) {
                let error = Error::at(name, format!("{size} isn't a multiple of {stride}, the net's coarsest stride"));
                return Err(error.fix(format!("set {name} to {}", (size / stride).max(1) * stride)));
            }
        }
        // The largest size of multi-scale training; the bound doesn't depend on its use, so neither do the pixels.
        let longest = options.width.max(options.height) * 3 / 2;
        let cache = Arc::new(ImageCache::new(dataset.samples.len(), longest, options.cache_bytes));
        Ok(Self { samples: dataset.samples.clone().into(), cache, options })
    }

    /// Batches an epoch, the last short one counted.
    pub fn batches_per_epoch(&self) -> usize {
        self.samples.len().div_ceil(self.options.batch)
    }

    /// Images an epoch.
    pub fn images_per_epoch(&self) -> usize {
        self.samples.len()
    }

    /// Changes the augmentation of the epochs to come, for last epochs without mosaic, say; the images that
    /// are in memory stay there.
    ///
    /// # Errors
    /// If a strength is out of range.
    pub fn set_augment(&mut self, augment: Augment) -> Result<()> {
        augment.check()?;
        self.options.augment = augment;
        Ok(())
    }

    /// The batches of an epoch from batch `first` on: a resumed run gets what the stopped one would have got.
    pub fn epoch(&self, epoch: usize, first: usize) -> Epoch {
        let epoch = self.drawn(epoch);
        let order = self.order(epoch);
        let loader = self.clone();
        let end = self.batches_per_epoch();
        let threads = self.options.threads;
        let job = move |number| loader.batch(&order, epoch, number);
        Epoch(Prefetch::new(first.min(end)..end, threads, threads.max(1) + 1, job))
    }

    /// All samples that a whole batch shows something of, mosaics' four each: what to look at when it is no good.
    pub fn tiles(&self, epoch: usize, number: usize) -> Vec<usize> {
        let epoch = self.drawn(epoch);
        let order = self.order(epoch);
        let (first, size) = (number * self.options.batch, self.size(epoch, number));
        let indices = order.iter().enumerate().skip(first).take(self.options.batch);
        let tiles = indices.flat_map(|(place, index)| {
            let mut rng = stream(self.options.seed, epoch, Purpose::Sample, place);
            self.composer(size).layout(*index, &mut rng).into_iter().map(|(tile, _)| tile)
        });
        tiles.collect()
    }

    /// The epoch whose batches come in this one.
    fn drawn(&self, epoch: usize) -> usize {
        self.options.cycle.map_or(epoch, |cycle| epoch % cycle.max(1))
    }

    fn composer(&self, (width, height): (usize, usize)) -> Composer<'_> {
        Composer { samples: &self.samples, cache: &self.cache, augment: &self.options.augment, width, height }
    }

    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.samples.len()).collect();
        order.shuffle(&mut stream(self.options.seed, epoch, Purpose::Order, 0));
        order
    }

    fn batch(&self, order: &[usize], epoch: usize, number: usize) -> Result<Batch> {
        let first = number * self.options.batch;
        let indices = order[first..order.len().min(first + self.options.batch)].to_vec();
        let (width, height) = self.size(epoch, number);
        let augment = &self.options.augment;
        let composer = self.composer((width, height));
        let share = self.options.share.of(number, self.options.batch, indices.len());
        let (mine, first) = (&indices[share.clone()], first + share.start);
        let mut images = vec![0.0; mine.len() * width * height * 3];
        let (mut targets, mut ignored) = (Vec::new(), Vec::new());
        for (image, (&index, input)) in mine.iter().zip(images.chunks_exact_mut(width * height * 3)).enumerate() {
            let mut rng = stream(self.options.seed, epoch, Purpose::Sample, first + image);
            let (canvas, found) = composer.compose(index, &mut rng)?;
            let jitter = Jitter::draw(augment, &mut rng);
            let flip = rng.random::<f32>() < augment.flip;
            jitter.write(&canvas, flip, input);
            let mirrored = |cx: f32| if flip { 1.0 - cx } else { cx };
            let placed = |t: Target| Target { image, cx: mirrored(t.cx), ..t };
            targets.extend(found.targets.into_iter().map(placed));
            ignored.extend(found.ignored.into_iter().map(placed));
        }
        Ok(Batch { images, count: share.len(), whole: indices.len(), width, height, targets, ignored, indices })
    }

    /// Width and height of a batch's images.
    fn size(&self, epoch: usize, number: usize) -> (usize, usize) {
        let LoaderOptions { width, height, seed, multi_scale, stride, .. } = self.options;
        if !multi_scale {
            return (width, height);
        }
        let steps = width / stride;
        let mut rng = stream(seed, epoch, Purpose::Size, number / BATCHES_A_SIZE);
        let steps_now = rng.random_range((steps * 2).div_ceil(3)..=steps * 3 / 2);
        // The other side follows in proportion, to the nearest multiple.
        let across = (height / stride * steps_now * 2 + steps) / (2 * steps);
        (steps_now * stride, across.max(1) * stride)
    }
}

/// The batches of one epoch, in order; a batch with an image that can't be read is an `Err` at its place.
pub struct Epoch(Prefetch<Result<Batch>>);

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Epoch {}

#[cfg(test)]
mod tests {
    use yoloslim_core::boxes::BBox;
    use yoloslim_core::labels::Object;

    use super::*;

    fn dataset(folder: &std::path::Path, images: usize) -> Dataset {
        let sample = |i: usize| {
            let image = folder.join(format!("{i}.png"));
            let pixel = |x, y| image::Rgb([(x * 5) as u8, (y * 7) as u8, i as u8 * 20]);
            image::RgbImage::from_fn(48, 36, pixel).save(&image).unwrap();
            let bbox = BBox { x0: 8.0, y0: 9.0, x1: 30.0, y1: 27.0 };
            let object = Object { class: i % 3, bbox, area: 396.0, difficult: false, crowd: false };
            Sample { image, width: 48, height: 36, objects: vec![object; i % 2] }
        };
        Dataset { samples: (0..images).map(sample).collect(), ..Dataset::default() }
    }

    fn options() -> LoaderOptions {
        LoaderOptions { width: 64, height: 32, batch: 3, seed: 7, ..LoaderOptions::default() }
    }

    fn epoch(loader: &Loader, number: usize, first: usize) -> Vec<Batch> {
        loader.epoch(number, first).map(Result::unwrap).collect()
    }

    #[test]
    fn any_number_of_threads_and_any_cache_give_the_same_batches() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path(), 10);
        let reference = epoch(&Loader::new(&dataset, LoaderOptions { threads: 1, ..options() }).unwrap(), 1, 0);
        for (threads, cache_bytes) in [(1, 0), (2, 0), (4, 1 << 30), (3, 48 * 36 * 3 * 4)] {
            let loader = Loader::new(&dataset, LoaderOptions { threads, cache_bytes, ..options() }).unwrap();
            epoch(&loader, 0, 0);
            assert_eq!(epoch(&loader, 1, 0), reference, "{threads} threads, {cache_bytes} bytes");
        }
    }

    #[test]
    fn an_epoch_holds_every_image_once_with_a_short_last_batch() {
        let folder = tempfile::tempdir().unwrap();
        let loader = Loader::new(&dataset(folder.path(), 10), options()).unwrap();
        let batches = epoch(&loader, 0, 0);
        assert_eq!(batches.iter().map(|b| b.count).collect::<Vec<_>>(), [3, 3, 3, 1]);
        assert!(batches.iter().all(|b| b.images.len() == b.count * 64 * 32 * 3 && b.indices.len() == b.count));
        let order: Vec<_> = batches.iter().flat_map(|b| b.indices.clone()).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        let next: Vec<_> = epoch(&loader, 1, 0).iter().flat_map(|b| b.indices.clone()).collect();
        assert_ne!(order, next, "epochs have orders of their own");
    }

    #[test]
    fn with_a_cycle_the_same_batches_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let loader = Loader::new(&dataset(folder.path(), 5), LoaderOptions { cycle: Some(2), ..options() }).unwrap();
        assert_eq!(epoch(&loader, 0, 0), epoch(&loader, 4, 0));
        assert_eq!(epoch(&loader, 1, 1), epoch(&loader, 3, 1));
        assert_ne!(epoch(&loader, 0, 0), epoch(&loader, 1, 0));
        assert_eq!(loader.tiles(1, 0), loader.tiles(5, 0));
    }

    #[test]
    fn a_data_set_smaller_than_the_batch_is_one_short_batch() {
        let folder = tempfile::tempdir().unwrap();
        let loader = Loader::new(&dataset(folder.path(), 2), LoaderOptions { batch: 16, ..options() }).unwrap();
        assert_eq!(epoch(&loader, 0, 0).iter().map(|b| b.count).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn workers_get_what_one_would_get_shared_among_them() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path(), 7);
        let whole = epoch(&Loader::new(&dataset, options()).unwrap(), 1, 0);
        for size in [2, 4] {
            let of = |rank| {
                let options = LoaderOptions { share: Share { rank, size }, ..options() };
                epoch(&Loader::new(&dataset, options).unwrap(), 1, 0)
            };
            let shares: Vec<_> = (0..size).map(of).collect();
            for (number, batch) in whole.iter().enumerate() {
                let of_batch = || shares.iter().map(|share| &share[number]);
                assert!(of_batch().all(|b| (b.whole, &b.indices) == (batch.count, &batch.indices)));
                assert!(of_batch().flat_map(|b| &b.images).eq(&batch.images), "batch {number} among {size}");
                let mut first = 0;
                let mut targets = Vec::new();
                for b in of_batch() {
                    targets.extend(b.targets.iter().map(|t| Target { image: t.image + first, ..*t }));
                    first += b.count;
                }
                assert_eq!(targets, batch.targets);
            }
        }
    }

    #[test]
    fn an_epoch_entered_late_goes_on_as_if_it_had_been_followed() {
        let folder = tempfile::tempdir().unwrap();
        let loader = Loader::new(&dataset(folder.path(), 10), options()).unwrap();
        assert_eq!(epoch(&loader, 2, 2), epoch(&loader, 2, 0)[2..]);
        assert!(epoch(&loader, 2, 99).is_empty());
    }

    #[test]
    fn the_tiles_of_a_batch_are_told_without_making_it() {
        let folder = tempfile::tempdir().unwrap();
        let loader = Loader::new(&dataset(folder.path(), 7), options()).unwrap();
        for (number, batch) in epoch(&loader, 1, 0).iter().enumerate() {
            let tiles = loader.tiles(1, number);
            assert_eq!(tiles.chunks(4).map(|four| four[0]).collect::<Vec<_>>(), batch.indices);
        }
        let plain = LoaderOptions { augment: Augment::none(), ..options() };
        let loader = Loader::new(&dataset(folder.path(), 7), plain).unwrap();
        assert_eq!(loader.tiles(0, 2), epoch(&loader, 0, 2)[0].indices);
    }

    #[test]
    fn the_seed_changes_the_batches() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path(), 4);
        let [a, b] = [1, 2].map(|seed| Loader::new(&dataset, LoaderOptions { seed, ..options() }).unwrap());
        assert_ne!(epoch(&a, 0, 0), epoch(&b, 0, 0));
    }

    #[test]
    fn a_flip_takes_the_boxes_along() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path(), 2);
        let batch = |flip| {
            let augment = Augment { flip, ..Augment::none() };
            epoch(&Loader::new(&dataset, LoaderOptions { augment, ..options() }).unwrap(), 0, 0).remove(0)
        };
        let (plain, mirrored) = (batch(0.0), batch(1.0));
        assert_eq!(plain.targets.len(), 1);
        assert!((plain.targets[0].cx + mirrored.targets[0].cx - 1.0).abs() < 1e-6);
        let pixel = |batch: &Batch, x: usize| batch.images[x * 3..][..3].to_vec();
        assert!((0..64).all(|x| pixel(&plain, x) == pixel(&mirrored, 63 - x)));
    }

    #[test]
    fn multi_scale_sizes_are_multiples_of_the_stride_within_bounds_and_last_ten_batches() {
        let folder = tempfile::tempdir().unwrap();
        let options = LoaderOptions { width: 416, height: 320, multi_scale: true, ..options() };
        let loader = Loader::new(&dataset(folder.path(), 1), options).unwrap();
        let sizes: Vec<_> = (0..400).map(|number| loader.size(0, number)).collect();
        for (width, height) in &sizes {
            assert!(width % 32 == 0 && (278..=624).contains(width), "{width}");
            assert!(height % 32 == 0 && height.abs_diff(width * 320 / 416) <= 16, "{width}x{height}");
        }
        assert!(sizes.chunks(10).all(|ten| ten.iter().all(|size| *size == ten[0])));
        assert!(sizes.chunks(10).any(|ten| ten[0] != sizes[0]));
    }

    #[test]
    fn a_damaged_image_is_an_error_at_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path(), 6);
        std::fs::write(&dataset.samples[4].image, b"not an image").unwrap();
        let options = LoaderOptions { batch: 1, augment: Augment::none(), ..options() };
        let loader = Loader::new(&dataset, options).unwrap();
        let results: Vec<_> = loader.epoch(0, 0).collect();
        let good: Vec<_> = results.iter().flatten().map(|b| b.indices[0]).collect();
        assert_eq!(good.len(), 5);
        let error = results.iter().find_map(|r| r.as_ref().err()).unwrap().to_string();
        assert!(error.contains("4.png") && error.contains("; "), "{error}");
    }

    #[test]
    fn an_epoch_may_be_left_at_any_time() {
        let folder = tempfile::tempdir().unwrap();
        let loader = Loader::new(&dataset(folder.path(), 9), LoaderOptions { batch: 1, ..options() }).unwrap();
        for taken in 0..4 {
            let mut epoch = loader.epoch(0, 0);
            for _ in 0..taken {
                epoch.next().unwrap().unwrap();
            }
        }
    }

    #[test]
    fn options_that_cannot_be_met_are_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let some = dataset(folder.path(), 1);
        let cases = [
            (&Dataset::default(), options(), "no images"),
            (&some, LoaderOptions { batch: 0, ..options() }, "at least 1"),
            (&some, LoaderOptions { width: 400, multi_scale: true, ..options() }, "set width to 384"),
            (&some, LoaderOptions { height: 0, ..options() }, "set height to 32"),
        ];
        for (dataset, options, expected) in cases {
            let error = Loader::new(dataset, options).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
