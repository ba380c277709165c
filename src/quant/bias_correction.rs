//! Rounding weights and activations shifts the mean of each filter; its bias can take that back (Nagel et al. 2019,
//! 'Data-free quantization through weight equalization and bias correction', section 4.2, with means measured on images
//! as in its appendix D).

use std::path::PathBuf;

use yoloslim_core::quant::Quantisation;
use yoloslim_core::{Network, Result};

use super::Simulation;
use super::simulation::take_activations;
use crate::data::InferenceBatches;
use crate::data::spread_over;
use crate::model::Predictor;

/// Images that means are measured on, all in one forward pass.
const IMAGES: usize = 32;

/// Shifts the bias of every convolution by what quantisation takes from its mean, in layer order: each layer sees its
/// inputs as they are after the layers before were corrected.
///
/// # Errors
/// An image that can't be read.
pub(super) fn correct_biases(
    network: &mut Network,
    quantisation: &Quantisation,
    paths: &[PathBuf],
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<()> {
    let (mut done, of) = (0, network.graph.convolutions().count());
    let some = spread_over(paths, IMAGES);
    let input = network.graph.input;
    for batch in InferenceBatches::for_net(some, input, IMAGES)? {
        let batch = batch?;
        let wanted = float_means(network, &batch.images, batch.count);
        let mut simulation = Simulation::new(network, quantisation);
        simulation.heads_altered(&batch.images, batch.count, &mut |layer, map| {
            done += 1;
            progress(done.min(of), of);
            let Some(wanted) = &wanted[layer] else { return };
            let shifts: Vec<f32> =
                means(map, wanted.len()).iter().zip(wanted).map(|(is, wanted)| wanted - is).collect();
            map.chunks_exact_mut(shifts.len())
                .for_each(|pixel| pixel.iter_mut().zip(&shifts).for_each(|(v, shift)| *v += shift));
            network.conv_mut(layer).bias.iter_mut().zip(&shifts).for_each(|(bias, shift)| *bias += shift);
        });
    }
    Ok(())
}

/// The mean of each filter of each convolution before its activation function, in floating point.
fn float_means(network: &Network, images: &[f32], count: usize) -> Vec<Option<Vec<f32>>> {
    let mut linear = network.clone();
    let activations = take_activations(&mut linear.graph);
    let mut found: Vec<Option<Vec<f32>>> = vec![None; network.graph.layers.len()];
    Predictor::new(&linear).heads_altered(images, count, &mut |layer, map| {
        found[layer] = network.weights[layer].as_ref().map(|weights| means(map, weights.bias.len()));
        yoloslim_kernels::activate(map, crate::model::activation(activations[layer]));
    });
    found
}

/// The mean of each channel of `[..][channel]`.
fn means(map: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; channels];
    for pixel in map.chunks_exact(channels) {
        sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += f64::from(*v));
    }
    let pixels = (map.len() / channels.max(1)).max(1) as f64;
    sums.iter().map(|sum| (sum / pixels) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;
    use crate::quant::{Calibrated, QuantiseOptions, Quantised};
    use std::collections::BTreeSet;
    use std::path::Path;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::quant::{Calibration, Profile, Scheme};

    const CFG: &str = "[net]\nwidth=32\nheight=32\n\
        [convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=linear\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=8,8\nclasses=2\n";

    fn pictures(folder: &Path) -> Vec<PathBuf> {
        synthetic::generate(folder, 1, 6, 1, 96).unwrap();
        let files = std::fs::read_dir(folder.join("images/train")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    /// How far the means of a net's convolutions lie from those that are wanted, in all.
    fn mean_error(quantised: &Quantised, wanted: &[Option<Vec<f32>>], images: &[f32], count: usize) -> f32 {
        let mut error = 0.0;
        let mut simulation = Simulation::new(&quantised.network, &quantised.quantisation);
        simulation.heads_altered(images, count, &mut |layer, map| {
            let Some(wanted) = &wanted[layer] else { return };
            let pairs = means(map, wanted.len()).into_iter().zip(wanted);
            error += pairs.map(|(is, wanted)| (is - wanted).abs()).sum::<f32>();
        });
        error
    }

    #[test]
    fn corrected_biases_bring_the_means_back() {
        let folder = tempfile::tempdir().unwrap();
        let paths = pictures(folder.path());
        let network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        let batch = InferenceBatches::for_net(paths.clone(), network.graph.input, paths.len())
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let wanted = float_means(&network, &batch.images, batch.count);
        for scheme in [Scheme::Int8(Profile::OnnxRuntime), Scheme::Int8(Profile::TensorRt), Scheme::Nnie] {
            let options = QuantiseOptions { scheme, calibration: Calibration::MinMax, equalise: false };
            let calibrated = Calibrated::new(&network, &paths, &options, &mut |_| {}).unwrap();
            let mut quantised = calibrated.with_float(BTreeSet::from([3]));
            let before = mean_error(&quantised, &wanted, &batch.images, batch.count);
            quantised.correct_biases(&paths, &mut |_, _| {}).unwrap();
            let after = mean_error(&quantised, &wanted, &batch.images, batch.count);
            assert!(after < 0.2 * before, "{scheme:?}: {before} before, {after} after");
        }
    }
}
