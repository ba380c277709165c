//! The accuracy of a net that was just pruned, without fine-tuning it.

use std::path::PathBuf;

use yoloslim_core::labels::Dataset;
use yoloslim_core::{Network, Result};

use crate::data::{spread, spread_samples};
use crate::detect::{DetectOptions, Detector};
use crate::model::Engine;
use crate::reestimate::reestimate_statistics;

/// Images by which BN statistics are measured anew before a net is judged: 'a few batches' (EagleEye, Li et al. 2020).
const STATISTICS_IMAGES: usize = 64;

/// Judges nets by mAP@0.5 on some images.
pub struct Judge {
    sample: Dataset,
    statistics: Vec<PathBuf>,
}

impl Judge {
    /// Judges by at most `images` images spread evenly over a data set.
    #[must_use]
    pub fn new(dataset: &Dataset, images: usize) -> Self {
        let samples = spread_samples(dataset, images).cloned().collect();
        Self {
            sample: Dataset { samples, warnings: Vec::new(), ..dataset.clone() },
            statistics: spread(dataset, STATISTICS_IMAGES),
        }
    }

    /// mAP@0.5, 0 to 1, of the net as it is; 0 where the images hold no objects.
    ///
    /// # Errors
    /// An image that can't be read; a net for other classes.
    pub fn accuracy(&self, network: &Network) -> Result<f64> {
        let evaluation = Detector::new(network, DetectOptions::for_evaluation(None))?.evaluate(&self.sample)?;
        Ok(evaluation.map50.unwrap_or(0.0))
    }

    /// mAP@0.5, 0 to 1, of what an engine makes of the net.
    ///
    /// # Errors
    /// As [`Judge::accuracy`].
    pub fn accuracy_of(&self, network: &Network, engine: Box<dyn Engine>) -> Result<f64> {
        let mut detector = Detector::with_engine(network, engine, DetectOptions::for_evaluation(None))?;
        Ok(detector.evaluate(&self.sample)?.map50.unwrap_or(0.0))
    }

    /// [`Judge::accuracy`] after BN statistics were measured anew.
    ///
    /// # Errors
    /// As [`Judge::accuracy`].
    pub fn accuracy_reestimated(&self, network: &Network) -> Result<f64> {
        self.accuracy(&reestimate_statistics(network, self.statistics.clone(), &mut |_| {})?)
    }
}
