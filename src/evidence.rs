//! What pruning goes by beside the weights, measured on a data set.

use yoloslim_core::labels::Dataset;
use yoloslim_core::prune::{self, Evidence, LeftBehind};
use yoloslim_core::{Network, Result};

use crate::calibrate::observe_activations;
use crate::data::spread;
use crate::taylor::{TaylorOptions, taylor_scores};

/// Images of a training batch whose gradients are taken together.
const TAYLOR_BATCH: usize = 8;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measuring {
    /// Images that are looked at.
    pub images: usize,
    /// Threads of the loader.
    pub threads: usize,
}

/// Means and deviations of all activations over images spread evenly over the data set, and both of Taylor's scores over as
/// many images where `gradients` tells what is to stand in for a filter; `progress` is told how many images are done.
///
/// # Errors
/// The first image that can't be read; for gradients, a data set of other classes than the net's.
pub fn measure(
    network: &Network,
    dataset: &Dataset,
    gradients: Option<LeftBehind>,
    measuring: Measuring,
    progress: &mut dyn FnMut(usize),
) -> Result<Evidence> {
    let images = measuring.images.max(1);
    let mut evidence = observe_activations(network, spread(dataset, images), progress)?;
    if let Some(left_behind) = gradients {
        let means = left_behind.constants(network, evidence.means.as_ref());
        let constants = prune::constants::stand_ins(network, means.as_ref());
        let batches = images.div_ceil(TAYLOR_BATCH);
        let options = TaylorOptions { batches, batch: TAYLOR_BATCH, threads: measuring.threads };
        let mut images_done = |batches: usize| progress((batches * TAYLOR_BATCH).min(images));
        let scores = taylor_scores(network, dataset, &constants, options, &mut images_done)?;
        (evidence.taylor, evidence.taylor_mean) = (Some(scores.to_zero), Some(scores.to_constants));
    }
    Ok(evidence)
}
