//! What each layer costs when it alone is quantised.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use yoloslim_core::Result;

use super::Calibrated;
use crate::data::{InferenceBatches, spread_over};
use crate::model::{Engine, Predictor, RelativeChange};

/// Images that heads are compared on.
const IMAGES: usize = 8;

/// One layer's cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerSensitivity {
    /// The convolution.
    pub layer: usize,
    /// Its line, kind and index in the cfg.
    pub place: String,
    /// How far the raw heads move when this layer alone is in 8 bits: the root of the mean squared difference, as a share
    /// of the root mean square of the heads.
    pub head_error: f64,
}

/// Quantises each convolution alone, those that stay in floating point by default too, and compares the heads with the
/// float net's; `progress` is told how many layers of how many are done. In layer order.
///
/// # Errors
/// An image that can't be read.
pub fn sensitivity(
    calibrated: &Calibrated,
    paths: &[PathBuf],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<LayerSensitivity>> {
    let network = &calibrated.network;
    let some = spread_over(paths, IMAGES);
    let input = network.graph.input;
    let batches: Vec<_> = InferenceBatches::for_net(some, input, IMAGES)?.collect::<Result<_>>()?;
    let Some(batch) = batches.first() else { return Ok(Vec::new()) };
    let wanted = Predictor::new(network).heads(&batch.images, batch.count);
    let layers: Vec<usize> = network.graph.convolutions().map(|(layer, _)| layer).collect();
    let mut measured = Vec::with_capacity(layers.len());
    for &layer in &layers {
        let float_layers: BTreeSet<usize> = layers.iter().copied().filter(|other| *other != layer).collect();
        let found = calibrated.with_float(float_layers).simulation().heads(&batch.images, batch.count);
        let place = network.graph.layers[layer].place.clone();
        let mut change = RelativeChange::default();
        wanted.iter().zip(&found).for_each(|(wanted, found)| change.add(&wanted.values, &found.values));
        measured.push(LayerSensitivity { layer, place, head_error: change.share() });
        progress(measured.len(), layers.len());
    }
    Ok(measured)
}
