//! Batches for evaluation and detection, decoded ahead.

use std::path::PathBuf;

use yoloslim_core::boxes::{Fit, Letterbox};
use yoloslim_core::graph::{Graph, Shape};
use yoloslim_core::{Error, Result};

use super::image::Rgb;
use super::letterbox::{GREY, fill};
use super::prefetch::Prefetch;

/// Images as the net takes them, and how to get back from its input to them.
#[derive(Debug, Clone, PartialEq)]
pub struct InferenceBatch {
    /// `[count][height][width][3]`, RGB, 0 to 1, with grey bars where they are letterboxed.
    pub images: Vec<f32>,
    /// Number of images; the last batch of a list may hold fewer than asked for.
    pub count: usize,
    /// Width of every image in pixels.
    pub width: usize,
    /// Height of every image in pixels.
    pub height: usize,
    /// Where each image lies in the input.
    pub geometry: Vec<Letterbox>,
}

/// The images of a list in its order, `batch` at a time, nothing augmented.
///
/// An image that can't be read makes the `Err` of its batch; the batches after it still come.
pub struct InferenceBatches(Prefetch<Result<InferenceBatch>>);

/// Images are read in colour, whatever they are stored as.
///
/// # Errors
/// A net of another number of input channels.
pub fn require_colours(input: Shape) -> Result<()> {
    if input.channels == 3 {
        return Ok(());
    }
    Err(Error::at("[net]", format!("channels={}", input.channels))
        .fix("images are read as RGB: use a net of channels=3"))
}

/// A detector, of images in colour.
///
/// # Errors
/// A net without heads; as [`require_colours`].
pub fn require_detector(graph: &Graph) -> Result<()> {
    if graph.heads().next().is_none() {
        return Err(Error::at("[yolo]", "the net has no such layer").fix("use the cfg of a detector"));
    }
    require_colours(graph.input)
}

impl InferenceBatches {
    /// Letterboxed images for a net's input, decoded by as many threads as compute.
    ///
    /// # Errors
    /// As [`Self::fitted`].
    pub fn for_net(paths: Vec<PathBuf>, input: Shape, batch: usize) -> Result<Self> {
        Self::fitted(paths, input, Fit::Letterbox, batch)
    }

    /// Images for a net's input, decoded by as many threads as compute.
    ///
    /// # Errors
    /// As [`Self::new`]; a net that does not read RGB.
    pub fn fitted(paths: Vec<PathBuf>, input: Shape, fit: Fit, batch: usize) -> Result<Self> {
        require_colours(input)?;
        Self::new(paths, (input.width, input.height), fit, batch, rayon::current_num_threads())
    }

    /// Starts `threads` threads that decode `paths` for a net input of `width` x `height` pixels.
    ///
    /// # Errors
    /// A batch or a size of nothing.
    pub fn new(
        paths: Vec<PathBuf>,
        (width, height): (usize, usize),
        fit: Fit,
        batch: usize,
        threads: usize,
    ) -> Result<Self> {
        if batch == 0 || width == 0 || height == 0 {
            let cause = format!("a batch of {batch} images of {width}x{height} holds nothing");
            return Err(Error::at("inference", cause).fix("set batch and size to at least 1"));
        }
        let jobs = paths.len().div_ceil(batch);
        let job = move |number: usize| {
            let first = number * batch;
            let paths = &paths[first..paths.len().min(first + batch)];
            load(paths, (width, height), fit)
        };
        Ok(Self(Prefetch::new(0..jobs, threads, threads.max(1) + 1, job)))
    }
}

fn load(paths: &[PathBuf], (width, height): (usize, usize), fit: Fit) -> Result<InferenceBatch> {
    let mut images = vec![GREY; paths.len() * width * height * 3];
    let mut geometry = Vec::with_capacity(paths.len());
    for (path, input) in paths.iter().zip(images.chunks_exact_mut(width * height * 3)) {
        let image = Rgb::open(path)?;
        let place = Letterbox::fitted(fit, (image.width, image.height), (width, height));
        fill(&image, &place, width, input).map_err(|e| e.inside(path.display()))?;
        geometry.push(place);
    }
    Ok(InferenceBatch { images, count: paths.len(), width, height, geometry })
}

impl Iterator for InferenceBatches {
    type Item = Result<InferenceBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for InferenceBatches {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::letterbox::fitted;

    #[test]
    fn batches_hold_the_images_in_order_each_as_it_was_to_fit() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..5).map(|i| folder.path().join(format!("{i}.png"))).collect();
        for (i, path) in paths.iter().enumerate() {
            image::RgbImage::from_pixel(20 + i as u32, 10, image::Rgb([i as u8 * 40; 3])).save(path).unwrap();
        }
        for fit in [Fit::Letterbox, Fit::Stretch] {
            let batches = InferenceBatches::new(paths.clone(), (64, 32), fit, 2, 3).unwrap();
            let batches: Vec<_> = batches.map(Result::unwrap).collect();
            assert_eq!(batches.iter().map(|b| b.count).collect::<Vec<_>>(), [2, 2, 1]);
            let mut images = batches.iter().flat_map(|b| b.geometry.iter().zip(b.images.chunks_exact(64 * 32 * 3)));
            for path in &paths {
                let (input, geometry) = fitted(&Rgb::open(path).unwrap(), fit, 64, 32).unwrap();
                assert_eq!(images.next(), Some((&geometry, &input[..])));
            }
        }
    }

    #[test]
    fn a_damaged_image_is_an_error_at_its_place_only() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..3).map(|i| folder.path().join(format!("{i}.png"))).collect();
        for path in &paths {
            image::RgbImage::new(8, 8).save(path).unwrap();
        }
        std::fs::write(&paths[1], b"nothing").unwrap();
        let results: Vec<_> = InferenceBatches::new(paths, (32, 32), Fit::Letterbox, 1, 2).unwrap().collect();
        assert!(results[0].is_ok() && results[2].is_ok());
        assert!(results[1].as_ref().unwrap_err().to_string().contains("1.png"));
    }
}
