//! Training batches: shuffled, augmented, worked out ahead by threads and the same for any number of them.

use std::ops::RangeInclusive;
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

impl LoaderOptions {
    /// The widths that are drawn from, in strides, or the only one in pixels.
    fn widths(&self) -> RangeInclusive<usize> {
        let steps = self.width / self.stride.max(1);
        if self.multi_scale { (steps * 2).div_ceil(3)..=steps * 3 / 2 } else { self.width..=self.width }
    }

    /// The size of a width of [`Self::widths`]: the other side follows in proportion, to the nearest multiple.
    fn size_of(&self, steps: usize) -> (usize, usize) {
        let Self { width, height, multi_scale, stride, .. } = *self;
        if !multi_scale {
            return (width, height);
        }
        let whole = width / stride;
        let across = (height / stride * steps * 2 + whole) / (2 * whole);
        (steps * stride, across.max(1) * stride)
    }

    /// All sizes that batches may have.
    fn sizes(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.widths().map(|width| self.size_of(width))
    }

    /// The longest side, in pixels, that an image is drawn with: the largest size enlarged as far as augmentation does.
    fn longest(&self) -> usize {
        let largest = self.sizes().map(|(width, height)| width.max(height)).max().unwrap_or_default();
        // Weaker augmentation, of scores say, sees the same pixels as the usual one.
        (largest as f64 * (1.0 + f64::from(self.augment.scale)).max(1.5)).ceil() as usize
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
        let cache = Arc::new(ImageCache::new(dataset.samples.len(), options.longest(), options.cache_bytes));
        Ok(Self { samples: dataset.samples.clone().into(), cache, options })
    }

    /// Batches an epoch, the last short one counted.
    pub fn batches_per_epoch(&self) -> usize {
        self.samples.len().div_ceil(self.options.batch)
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
        let (mine, place) = (&indices[share.clone()], first + share.start);
        let mut images = vec![0.0; mine.len() * width * height * 3];
        let (mut targets, mut ignored) = (Vec::new(), Vec::new());
        for (image, (&index, input)) in mine.iter().zip(images.chunks_exact_mut(width * height * 3)).enumerate() {
            let mut rng = stream(self.options.seed, epoch, Purpose::Sample, place + image);
            let (canvas, found) = composer.compose(index, &mut rng)?;
            let jitter = Jitter::draw(augment, &mut rng);
            let flip = rng.random::<f32>() < augment.flip;
            jitter.write(&canvas, flip, input);
            let mirrored = |cx: f32| if flip { 1.0 - cx } else { cx };
            let placed = |t: Target| Target { image, cx: mirrored(t.cx), ..t };
            targets.extend(found.targets.into_iter().map(placed));
            ignored.extend(found.ignored.into_iter().map(placed));
        }
        let (count, whole, first) = (share.len(), indices.len(), share.start);
        Ok(Batch { images, count, whole, first, width, height, targets, ignored, indices })
    }

    /// Width and height of a batch's images.
    fn size(&self, epoch: usize, number: usize) -> (usize, usize) {
        let mut rng = stream(self.options.seed, epoch, Purpose::Size, number / BATCHES_A_SIZE);
        let widths = self.options.widths();
        self.options.size_of(if widths.start() < widths.end() { rng.random_range(widths) } else { *widths.end() })
    }

    /// All sizes that batches may have.
    pub fn sizes(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.options.sizes()
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
mod tests;
