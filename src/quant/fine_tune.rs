//! Quantisation-aware fine-tuning: training whose forward passes round as the quantised net does.

use std::path::Path;
use std::sync::Arc;

use yoloslim_core::graph::Graph;
use yoloslim_core::labels::Dataset;
use yoloslim_core::quant::Quantisation;
use yoloslim_core::{Network, Result};

use super::{Quantised, Simulation, simulation};
use crate::detect::{DetectOptions, Detector};
use crate::model::Rounding;
use crate::train::{self, Event, Interrupt, Job, TrainOptions, Trained};
use crate::workers::Workers;

/// Rounds as a quantised net does. The grids of activations stay what calibration chose; those of weights follow the
/// weights.
struct QuantisedRounding {
    graph: Graph,
    quantisation: Quantisation,
}

impl Rounding for QuantisedRounding {
    fn images(&self, images: &mut [f32]) {
        simulation::round(images, self.quantisation.image);
    }

    fn kernel(&self, layer: usize, kernel: &mut [f32], bias: &[f32]) {
        if self.quantisation.quantises(layer) {
            let input = self.quantisation.input_grid(&self.graph, layer);
            self.quantisation.scheme.round_weights(kernel, bias, input);
        }
    }

    fn before(&self, layer: usize, map: &mut [f32]) {
        simulation::round(map, self.quantisation.before[layer]);
    }

    fn after(&self, layer: usize, map: &mut [f32]) {
        simulation::round(map, self.quantisation.after[layer]);
    }
}

/// Trains a quantised net on `train`, measured on `val` after every epoch; `folder` gets checkpoints. The
/// normalisation is folded and with that frozen.
///
/// # Errors
/// As [`train::run`].
pub fn fine_tune(
    quantised: &Quantised,
    (train, val): (&Dataset, &Dataset),
    options: &TrainOptions,
    folder: &Path,
    observe: &mut dyn FnMut(Event),
) -> Result<Trained> {
    let Quantised { network, quantisation } = quantised;
    let rounding = QuantisedRounding { graph: network.graph.clone(), quantisation: quantisation.clone() };
    let job = Job {
        network: network.clone(),
        teacher: None,
        dataset: train,
        options,
        folder,
        threads: rayon::current_num_threads(),
        workers: &Workers::alone(),
        rounding: Some(Arc::new(rounding)),
        interrupt: Interrupt::never(),
    };
    let mut validate = |network: &Network| {
        let engine = Box::new(Simulation::new(network, quantisation));
        Detector::with_engine(network, engine, DetectOptions::for_evaluation(None))?.evaluate(val)
    };
    train::run(job, &mut validate, observe)
}
