//! From images to detections: the net, its heads decoded, overlaps suppressed, boxes mapped back to the image.

use std::path::PathBuf;

use rayon::prelude::*;
use yoloslim_core::boxes::{Detection, Fit, Letterbox, decode, nms};
use yoloslim_core::eval::{Evaluation, evaluate};
use yoloslim_core::graph::Yolo;
use yoloslim_core::labels::{Dataset, check_classes};
use yoloslim_core::{Network, Result};

use crate::data::{InferenceBatches, Rgb, fitted, require_detector};
use crate::input_size::InputSize;
use crate::model::{Engine, HeadMap, Predictor};

/// What counts as a detection, and at which input size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectOptions {
    /// Least objectness times class probability.
    pub conf: f32,
    /// Of two boxes of a class whose IoU is larger, the better one stays.
    pub iou: f64,
    /// Width and height of the net's input in pixels; the cfg's when none.
    pub size: Option<(usize, usize)>,
    /// How images are brought to that size.
    pub fit: Fit,
    /// Images of a forward pass.
    pub batch: usize,
}

impl Default for DetectOptions {
    /// Darknet's thresholds for pictures.
    fn default() -> Self {
        Self { conf: 0.25, iou: 0.45, size: None, fit: Fit::Letterbox, batch: 1 }
    }
}

impl DetectOptions {
    /// The thresholds for average precision, which needs the unsure detections too; `size` is the
    /// input's, the cfg's width and height when none.
    #[must_use]
    pub fn for_evaluation(size: Option<InputSize>) -> Self {
        Self { conf: 0.001, size: size.map(Into::into), batch: 8, ..Self::default() }
    }
}

/// A net ready to find objects.
pub struct Detector {
    engine: Box<dyn Engine>,
    heads: Vec<Yolo>,
    classes: usize,
    options: DetectOptions,
}

impl Detector {
    /// Makes a net ready.
    ///
    /// # Errors
    /// A net without a `[yolo]` layer, or that does not take RGB images; a size that does not fit the net.
    pub fn new(network: &Network, options: DetectOptions) -> Result<Self> {
        Self::with_engine(network, prepare(network, &options)?, options)
    }

    /// Finds objects by what another engine makes of the net; the input is of the engine's size.
    ///
    /// # Errors
    /// A net without a `[yolo]` layer, or that does not take RGB images.
    pub fn with_engine(network: &Network, engine: Box<dyn Engine>, options: DetectOptions) -> Result<Self> {
        require_detector(&network.graph)?;
        let heads = network.graph.heads().map(|(_, yolo)| yolo.clone()).collect();
        Ok(Self { engine, heads, classes: network.graph.classes(), options })
    }

    /// The objects of one image, from best to worst score, in its pixels.
    ///
    /// # Errors
    /// An image that can't be resized.
    pub fn detect(&mut self, image: &Rgb) -> Result<Vec<Detection>> {
        let input = self.engine.input();
        let (pixels, geometry) = fitted(image, self.options.fit, input.width, input.height)?;
        let mut found = self.detect_inputs(&pixels, &[geometry]);
        Ok(found.pop().unwrap_or_default())
    }

    /// The objects of each image of a list of files, in the list's order; `progress` is told after every batch how
    /// many images are done.
    ///
    /// # Errors
    /// The first image that can't be read.
    pub fn detect_files(
        &mut self,
        paths: Vec<PathBuf>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<Detection>>> {
        let input = self.engine.input();
        let batches = InferenceBatches::fitted(paths, input, self.options.fit, self.options.batch)?;
        let mut found = Vec::new();
        for batch in batches {
            let batch = batch?;
            found.extend(self.detect_inputs(&batch.images, &batch.geometry));
            progress(found.len());
        }
        Ok(found)
    }

    /// How well the net finds the labelled objects of a data set.
    ///
    /// # Errors
    /// Another number of classes; the first image that can't be read.
    pub fn evaluate(&mut self, dataset: &Dataset) -> Result<Evaluation> {
        self.evaluate_with(dataset, &mut |_| {})
    }

    /// [`Detector::evaluate`] that tells its progress in images.
    ///
    /// # Errors
    /// As [`Detector::evaluate`].
    pub fn evaluate_with(&mut self, dataset: &Dataset, progress: &mut dyn FnMut(usize)) -> Result<Evaluation> {
        check_classes(dataset, self.classes)?;
        let paths = dataset.samples.iter().map(|s| s.image.clone()).collect();
        let detections = self.detect_files(paths, progress)?;
        Ok(evaluate(dataset, &detections))
    }

    /// `inputs` is `[image][row][column][channel]`, one image for each geometry.
    fn detect_inputs(&mut self, inputs: &[f32], geometry: &[Letterbox]) -> Vec<Vec<Detection>> {
        let maps = self.engine.heads(inputs, geometry.len());
        geometry.par_iter().enumerate().map(|(image, fit)| self.decode_image(&maps, image, fit)).collect()
    }

    fn decode_image(&self, maps: &[HeadMap], image: usize, geometry: &Letterbox) -> Vec<Detection> {
        let input = self.engine.input();
        let mut found = Vec::new();
        for (head, map) in self.heads.iter().zip(maps) {
            let raw = map.image(image);
            found.extend(decode(head, raw, map.rows, map.cols, input.width, input.height, self.options.conf));
        }
        found.iter_mut().for_each(|d| d.bbox = geometry.to_image(d.bbox));
        // What lay in the letterbox's bars alone has no pixel of the image.
        found.retain(|d| !d.bbox.is_degenerate());
        nms(found, self.options.iou)
    }
}

fn prepare(network: &Network, options: &DetectOptions) -> Result<Box<dyn Engine>> {
    let input = network.graph.input;
    let size = options.size.unwrap_or((input.width, input.height));
    Ok(Box::new(Predictor::with_size(network, size, options.batch)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;

    /// A net of one cell whose head says the same whatever it sees.
    fn certain_of(values: [f32; 7]) -> Network {
        let cfg = "[net]\nwidth=32\nheight=32\n[convolutional]\nfilters=7\nsize=32\nstride=32\nactivation=linear\n\
                   [yolo]\nmask=0\nanchors=8,16\nclasses=2\n";
        let mut network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 0).unwrap();
        network.conv_mut(0).kernel.fill(0.0);
        network.conv_mut(0).bias = values.to_vec();
        network
    }

    #[test]
    fn boxes_come_back_in_pixels_of_the_original_image() {
        let network = certain_of([0.0, 0.0, 0.0, 0.0, 9.0, -9.0, 9.0]);
        let mut detector = Detector::new(&network, DetectOptions::default()).unwrap();
        let found = detector.detect(&Rgb::filled(128, 64, [0; 3])).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].class, 1);
        let b = found[0].bbox;
        for (edge, wanted) in [b.x0, b.y0, b.x1, b.y1].into_iter().zip([48.0, 0.0, 80.0, 64.0]) {
            assert!((edge - wanted).abs() < 1e-4, "{b:?}");
        }
    }

    #[test]
    fn a_net_without_a_head_is_no_detector() {
        let cfg = Cfg::parse(b"[net]\nwidth=32\nheight=32\n[convolutional]\n").unwrap();
        let network = Network::initialise(cfg, 0).unwrap();
        let message = Detector::new(&network, DetectOptions::default()).err().unwrap().to_string();
        assert!(message.contains("no such layer"), "{message}");
    }
}
