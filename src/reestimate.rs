//! BN statistics measured anew on real images. Pruning changes what reaches each layer, and sparsity training moves the
//! gammas faster than running averages follow; a few forward passes set mean and variance right (EagleEye, Li et al.
//! 2020, calls it adaptive batch normalisation).

use std::path::PathBuf;

use yoloslim_core::labels::Dataset;
use yoloslim_core::{Network, Result};

use crate::data::InferenceBatches;
use crate::data::spread;
use crate::model::TrainNet;

/// Images of a forward pass: batch statistics of fewer are noisy, and the mean of variances misses how batches differ.
const BATCH: usize = 16;

/// The network with the mean and variance of every batch normalisation measured over the images of `paths`, as they are
/// at inference: letterboxed, not augmented. All else is as it was. `progress` is told how many images are done.
///
/// # Errors
/// The first image that can't be read.
pub fn reestimate_statistics(
    network: &Network,
    paths: Vec<PathBuf>,
    progress: &mut dyn FnMut(usize),
) -> Result<Network> {
    let input = network.graph.input;
    // No backward pass follows, and of the square root of its layers' number of segments the least stays in memory for one.
    let mut net = TrainNet::with_segments(network.clone(), network.graph.layers.len().isqrt());
    let mut done = 0;
    for batch in InferenceBatches::for_net(paths, input, BATCH)? {
        let batch = batch?;
        done += batch.count;
        // With the share of each batch in all so far, running statistics are the plain mean over all images.
        net.set_statistics_momentum(batch.count as f32 / done as f32);
        net.forward(batch.images, batch.count, input.width, input.height)?;
        progress(done);
    }
    Ok(net.to_network(net.parameters(), net.statistics()))
}

/// Images by which the nets of a run are measured anew.
pub const RUN_IMAGES: usize = 128;

/// [`reestimate_statistics`] over [`RUN_IMAGES`] images spread evenly over a data set.
///
/// # Errors
/// The first image that can't be read.
pub fn reestimate_on(network: &Network, dataset: &Dataset) -> Result<Network> {
    reestimate_on_with(network, dataset, &mut |_, _| {})
}

/// [`reestimate_on`] that tells how many of how many images are done.
///
/// # Errors
/// As [`reestimate_on`].
pub fn reestimate_on_with(
    network: &Network,
    dataset: &Dataset,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Network> {
    let paths = spread(dataset, RUN_IMAGES);
    let of = paths.len();
    reestimate_statistics(network, paths, &mut |done| progress(done, of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rgb;
    use yoloslim_core::darknet::Cfg;

    #[test]
    fn statistics_are_those_of_the_images_whatever_they_were() {
        let cfg = "[net]\nwidth=8\nheight=8\n[convolutional]\nbatch_normalize=1\nfilters=1\nactivation=linear\n";
        let mut network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 0).unwrap();
        let conv = network.conv_mut(0);
        conv.kernel = vec![1.0, 0.0, 0.0];
        let norm = conv.norm.as_mut().unwrap();
        (norm.mean[0], norm.variance[0], norm.gamma[0]) = (9.0, 9.0, 0.5);
        let folder = tempfile::tempdir().unwrap();
        // 20 images, so that batches are of 16 and 4; a quarter of each is red.
        let paths: Vec<PathBuf> = (0..20)
            .map(|at| {
                let image = Rgb::filled(8, 8, [if at % 4 == 0 { 255 } else { 0 }, 0, 9]);
                let path = folder.path().join(format!("{at}.png"));
                crate::data::save(&image, &path).unwrap();
                path
            })
            .collect();
        let measured = reestimate_statistics(&network, paths, &mut |_| {}).unwrap();
        let norm = measured.conv(0).norm.as_ref().unwrap();
        assert!((norm.mean[0] - 0.25).abs() < 1e-5, "{norm:?}");
        assert!((norm.variance[0] - 0.25 * 0.75).abs() < 2e-3, "{norm:?}");
        assert_eq!((norm.gamma[0], &measured.conv(0).kernel), (0.5, &network.conv(0).kernel));
    }
}
