//! What each filter gives on real images, on average: it replaces the filter when that is pruned.

use std::path::PathBuf;

use yoloslim_core::prune::Means;
use yoloslim_core::{Network, Result};

use crate::data::InferenceBatches;
use crate::model::Predictor;

/// Images of a forward pass.
const BATCH: usize = 4;

/// The mean activation of every filter over the images of `paths`; `progress` is told how many images are done.
///
/// # Errors
/// The first image that can't be read.
pub fn mean_activations(network: &Network, paths: Vec<PathBuf>, progress: &mut dyn FnMut(usize)) -> Result<Means> {
    let mut predictor = Predictor::new(network);
    let input = predictor.input();
    let mut sums: Sums = network.graph.convolutions().map(|(i, c)| (i, vec![0.0; c.filters])).collect();
    let mut done = 0;
    for batch in InferenceBatches::new(paths, input.width, input.height, BATCH, rayon::current_num_threads())? {
        let batch = batch?;
        predictor.heads_observed(&batch.images, batch.count, &mut |layer, map| add(&mut sums, layer, map));
        done += batch.count;
        progress(done);
    }
    let mean = |(layer, sums): (usize, Vec<f64>)| {
        let positions = (done * network.graph.layers[layer].shape.area()).max(1) as f64;
        (layer, sums.into_iter().map(|sum| (sum / positions) as f32).collect())
    };
    Ok(sums.into_iter().map(mean).collect())
}

/// By layer, the sum of each filter's activations.
type Sums = std::collections::BTreeMap<usize, Vec<f64>>;

/// `map` is `[image][row][column][channel]`.
fn add(sums: &mut Sums, layer: usize, map: &[f32]) {
    let Some(sums) = sums.get_mut(&layer) else { return };
    for pixel in map.chunks_exact(sums.len()) {
        sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += f64::from(*v));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rgb;
    use yoloslim_core::darknet::Cfg;

    #[test]
    fn a_filter_that_copies_red_has_the_mean_of_red() {
        let cfg = "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=2\nactivation=linear\n";
        let mut network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 0).unwrap();
        network.conv_mut(0).kernel = vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        network.conv_mut(0).bias = vec![0.0, -2.0];
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = [51, 102, 153, 204, 255]
            .map(|red| {
                let path = folder.path().join(format!("{red}.png"));
                crate::draw::save(&Rgb::filled(8, 8, [red, 0, 9]), &path).unwrap();
                path
            })
            .to_vec();
        let means = mean_activations(&network, paths, &mut |_| {}).unwrap();
        assert!((means[&0][0] - 0.6).abs() < 1e-6 && means[&0][1] == -2.0, "{means:?}");
    }
}
