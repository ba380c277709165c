//! What each layer costs when it alone is quantised.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use yoloslim_core::Result;

use super::Calibrated;
use crate::data::InferenceBatches;
use crate::data::spread_over;
use crate::model::{Engine, HeadMap, Predictor};

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
    let (input, threads) = (network.graph.input, rayon::current_num_threads());
    let batches: Vec<_> = InferenceBatches::for_net(some, input, IMAGES, threads)?.collect::<Result<_>>()?;
    let Some(batch) = batches.first() else { return Ok(Vec::new()) };
    let wanted = Predictor::new(network).heads(&batch.images, batch.count);
    let layers: Vec<usize> = network.graph.convolutions().map(|(layer, _)| layer).collect();
    let mut measured = Vec::with_capacity(layers.len());
    for &layer in &layers {
        let float_layers: BTreeSet<usize> = layers.iter().copied().filter(|other| *other != layer).collect();
        let found = calibrated.with_float(float_layers).simulation().heads(&batch.images, batch.count);
        let place = network.graph.layers[layer].place.clone();
        measured.push(LayerSensitivity { layer, place, head_error: relative_error(&wanted, &found) });
        progress(measured.len(), layers.len());
    }
    Ok(measured)
}

/// The root mean square of the difference as a share of that of `wanted`.
fn relative_error(wanted: &[HeadMap], found: &[HeadMap]) -> f64 {
    let pairs = || wanted.iter().zip(found).flat_map(|(w, f)| w.values.iter().zip(&f.values));
    let (difference, size) = pairs().fold((0.0f64, 0.0f64), |(difference, size), (w, f)| {
        let (w, f) = (f64::from(*w), f64::from(*f));
        (difference + (w - f).powi(2), size + w * w)
    });
    (difference / size.max(f64::MIN_POSITIVE)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_heads_is_relative_to_their_size() {
        let head = |values: [f32; 2]| HeadMap { rows: 1, cols: 1, channels: 2, values: values.to_vec() };
        let error = relative_error(&[head([3.0, 4.0]), head([0.0, 0.0])], &[head([3.0, 4.5]), head([0.0, 0.0])]);
        assert!((error - 0.1).abs() < 1e-9, "{error}");
    }
}
