//! Quantisation-aware fine-tuning: training whose forward passes round as the quantised net does, with the net in
//! floating point as the teacher.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use yoloslim_core::graph::Graph;
use yoloslim_core::labels::{Dataset, Sample};
use yoloslim_core::quant::{Quantisation, Quantiser};
use yoloslim_core::{Network, Result};

use super::{Quantised, Simulation, simulation};
use crate::data::Augment;
use crate::detect::{DetectOptions, Detector};
use crate::model::{Ends, Rounding};
use crate::train::distil::DistilOptions;
use crate::train::{self, Event, Interrupt, Job, TrainOptions};
use crate::workers::Workers;

/// Of so many training images one is held out, to judge by.
const HELD_OUT: usize = 5;

/// Which net is the better one on images that it was not tuned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// That of the best epoch.
    Tuned,
    /// That before.
    Untuned,
}

/// What fine-tuning came to.
#[derive(Debug, Clone)]
pub struct FineTuned {
    /// The net of the best epoch, in floating point.
    pub network: Network,
    /// Whether it is better than the net before.
    pub kept: Kept,
}

/// The options of fine-tuning for `epochs` epochs on `images` training images: no mosaic, for the net is to see what
/// it was calibrated on.
#[must_use]
pub fn fine_tune_options(epochs: usize, learning_rate: f64, images: usize) -> TrainOptions {
    let standard = TrainOptions::default();
    TrainOptions {
        epochs,
        learning_rate,
        batch: standard.batch.min(images - images / HELD_OUT).max(1),
        augment: Augment { mosaic: 0.0, ..standard.augment },
        distil: Some(DistilOptions::default()),
        ..standard
    }
}

/// Trains a quantised net on `dataset`, taught by `teacher`, the same net in floating point; `folder` gets checkpoints.
/// The normalisation is folded and with that frozen. Every fifth image is held out: they choose the epoch, and whether
/// the net of that epoch is better than that before.
///
/// # Errors
/// As [`train::run`].
pub fn fine_tune(
    quantised: &Quantised,
    teacher: &Network,
    dataset: &Dataset,
    options: &TrainOptions,
    folder: &Path,
    observe: &mut dyn FnMut(Event),
) -> Result<FineTuned> {
    let Quantised { network, quantisation } = quantised;
    let (tuning, held_out) = hold_out(dataset);
    let job = Job {
        network: network.clone(),
        teacher: Some(teacher.clone()),
        dataset: &tuning,
        val: Some(&held_out),
        options,
        folder,
        threads: rayon::current_num_threads(),
        workers: &Workers::alone(),
        rounding: Some(Arc::new(QuantisedRounding::of(quantised))),
        interrupt: Interrupt::never(),
    };
    let mut judge = |network: &Network| {
        let engine = Box::new(Simulation::new(network, quantisation));
        Detector::with_engine(network, engine, DetectOptions::for_evaluation(None))?.evaluate(&held_out)
    };
    let before = judge(network)?.map50.unwrap_or(0.0);
    let trained = train::run(job, &mut judge, observe)?;
    let best = trained.epochs.iter().filter_map(|epoch| epoch.map50).fold(f64::NEG_INFINITY, f64::max);
    // Held-out images without objects judge nothing, and write no best net.
    let network = if best.is_finite() { read_best(folder, network)? } else { trained.network };
    Ok(FineTuned { network, kept: if best > before { Kept::Tuned } else { Kept::Untuned } })
}

/// The images to tune on and those to judge by; all are both where there are too few.
fn hold_out(dataset: &Dataset) -> (Dataset, Dataset) {
    if dataset.samples.len() < HELD_OUT {
        return (dataset.clone(), dataset.clone());
    }
    let every = |held: bool| {
        let samples = dataset.samples.iter().enumerate().filter(|(i, _)| (i % HELD_OUT == HELD_OUT - 1) == held);
        let samples: Vec<Sample> = samples.map(|(_, sample)| sample.clone()).collect();
        Dataset { samples, warnings: Vec::new(), ..dataset.clone() }
    };
    (every(false), every(true))
}

/// The net of the best epoch.
fn read_best(folder: &Path, like: &Network) -> Result<Network> {
    let best = Network::read(&folder.join("best.cfg"), &folder.join("best.weights"))?;
    Ok(Network { weights: best.weights, ..like.clone() })
}

/// Rounds as a quantised net does. The grids of activations stay what calibration chose; those of weights follow the
/// weights.
struct QuantisedRounding {
    graph: Graph,
    quantisation: Quantisation,
}

impl QuantisedRounding {
    fn of(quantised: &Quantised) -> Self {
        Self { graph: quantised.network.graph.clone(), quantisation: quantised.quantisation.clone() }
    }
}

impl Rounding for QuantisedRounding {
    fn images(&self, images: &mut [f32]) {
        simulation::round(images, self.quantisation.image);
    }

    fn weights(&self, layer: usize, kernel: &mut [f32], bias: &mut [f32]) {
        self.quantisation.round_weights(&self.graph, layer, kernel, bias);
    }

    fn before(&self, layer: usize, map: &mut [f32]) {
        simulation::round(map, self.quantisation.before[layer]);
    }

    fn after(&self, layer: usize, map: &mut [f32]) {
        simulation::round(map, self.quantisation.after[layer]);
    }

    fn before_range(&self, layer: usize) -> Option<Ends> {
        self.quantisation.before[layer].as_ref().map(Quantiser::range)
    }

    fn after_range(&self, layer: usize) -> Option<Ends> {
        self.quantisation.after[layer].as_ref().map(Quantiser::range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;
    use crate::model::{Engine, HeadMap, TrainNet};
    use crate::quant::{Calibrated, QuantiseOptions};
    use std::collections::BTreeSet;
    use std::path::PathBuf;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::labels::{self, Split};
    use yoloslim_core::quant::{Calibration, Profile, Scheme};

    const CFG: &str = "[net]\nwidth=64\nheight=64\n\
        [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=4\npad=1\nactivation=leaky\n\
        [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=linear\n\
        [shortcut]\nfrom=-2\nactivation=linear\n\
        [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=16\nactivation=linear\n\
        [yolo]\nmask=0,1\nanchors=8,8,16,16\nclasses=3\n";

    const SCHEMES: [Scheme; 3] = [Scheme::Int8(Profile::OnnxRuntime), Scheme::Int8(Profile::TensorRt), Scheme::Nnie];

    fn dataset(folder: &Path, images: usize) -> Dataset {
        synthetic::generate(folder, 1, images, 2, 96).unwrap();
        labels::load(&folder.join("data.yaml"), &Split::Train).unwrap()
    }

    fn calibrated(dataset: &Dataset, scheme: Scheme) -> Calibrated {
        let network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        let calibration = Calibration::MinMax;
        let options = QuantiseOptions { scheme, calibration, equalise: false };
        let paths: Vec<PathBuf> = dataset.samples.iter().map(|sample| sample.image.clone()).collect();
        Calibrated::new(&network, &paths, &options, &mut |_| {}).unwrap()
    }

    /// Root of the mean squared difference, as a share of the root mean square.
    fn difference(found: &[HeadMap], wanted: &[HeadMap]) -> f64 {
        let pairs = || found.iter().zip(wanted).flat_map(|(f, w)| f.values.iter().zip(&w.values));
        let squares = |value: &dyn Fn(f32, f32) -> f32| pairs().map(|(f, w)| f64::from(value(*f, *w)).powi(2)).sum();
        let (moved, size): (f64, f64) = (squares(&|f, w| f - w), squares(&|_, w| w));
        (moved / size).sqrt()
    }

    #[test]
    fn training_computes_what_the_simulation_does() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path(), 4);
        let images: Vec<f32> = (0..3 * 64 * 64).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
        for scheme in SCHEMES {
            let calibrated = calibrated(&dataset, scheme);
            let quantised = calibrated.with_float(BTreeSet::from([4]));
            let simulated = quantised.simulation().heads(&images, 1);
            let mut net = TrainNet::new(quantised.network.clone());
            let exact = net.forward(images.clone(), 1, 64, 64).unwrap().0;
            net.set_rounding(Arc::new(QuantisedRounding::of(&quantised)));
            let rounded = net.forward(images.clone(), 1, 64, 64).unwrap().0;
            // Sums in another order now and then round to the neighbouring step.
            let (apart, moved) = (difference(&rounded, &simulated), difference(&exact, &simulated));
            assert!(apart < 0.1 * moved, "{scheme:?}: {apart} of {moved}");
        }
    }

    #[test]
    fn tuning_moves_the_weights_and_keeps_the_better_net_by_images_held_out() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path(), 10);
        for scheme in SCHEMES {
            let calibrated = calibrated(&dataset, scheme);
            let quantised = calibrated.with_float(BTreeSet::from([4]));
            let run = tempfile::tempdir().unwrap();
            let options = fine_tune_options(2, 1e-2, dataset.samples.len());
            let teacher = &calibrated.network;
            let tuned = fine_tune(&quantised, teacher, &dataset, &options, run.path(), &mut |_| {}).unwrap();
            assert_ne!(tuned.network.conv(0).kernel, quantised.network.conv(0).kernel, "{scheme:?}");
            assert!(tuned.network.weights.iter().flatten().all(|weights| weights.norm.is_none()));
            let accuracy = |network: &Network| {
                let engine = Box::new(Simulation::new(network, &quantised.quantisation));
                let detector = Detector::with_engine(network, engine, DetectOptions::for_evaluation(None));
                detector.unwrap().evaluate(&hold_out(&dataset).1).unwrap().map50.unwrap()
            };
            let better = accuracy(&tuned.network) > accuracy(&quantised.network);
            assert_eq!(tuned.kept == Kept::Tuned, better, "{scheme:?}");
        }
    }

    #[test]
    fn every_fifth_image_is_held_out() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path(), 11);
        let (tuning, held_out) = hold_out(&dataset);
        assert_eq!((tuning.samples.len(), held_out.samples.len()), (9, 2));
        assert!(held_out.samples.iter().all(|held| tuning.samples.iter().all(|other| other.image != held.image)));
    }
}
