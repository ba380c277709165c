//! Quantisation of a net by calibration images, and what the quantised net computes, simulated on the CPU.

mod bias_correction;
mod fine_tune;
mod high_precision;
mod levers;
mod observe;
mod sensitivity;
mod simulation;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use yoloslim_core::quant::{Calibration, Quantisation, Quantiser, Scheme, Tensor, equalise};
use yoloslim_core::{Network, Result};

pub use fine_tune::{FineTuned, Kept, fine_tune, fine_tune_options};
pub use high_precision::high_precision;
pub use levers::{Found, Levers, Setting, Trial};
pub use observe::{Observed, observe};
pub use sensitivity::{LayerSensitivity, sensitivity};
pub use simulation::Simulation;

/// How a net is quantised.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantiseOptions {
    /// How codes are made.
    pub scheme: Scheme,
    /// How ranges of activations are chosen.
    pub calibration: Calibration,
    /// Move scales between neighbouring layers first.
    pub equalise: bool,
}

/// A net that is ready to be quantised: normalisation folded, equalised where that was asked for, its grids chosen.
#[derive(Debug, Clone)]
pub struct Calibrated {
    /// In floating point.
    pub network: Network,
    scheme: Scheme,
    observed: Arc<Observed>,
    grids: BTreeMap<Tensor, Quantiser>,
}

/// A net and the grids of its tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantised {
    /// In floating point; its biases are corrected where that was asked for.
    pub network: Network,
    /// What its tensors are rounded to.
    pub quantisation: Quantisation,
}

impl Calibrated {
    /// Calibrates a net by the images of `paths`; `progress` is told how many images are done.
    ///
    /// # Errors
    /// The first image that can't be read.
    pub fn new(
        network: &Network,
        paths: &[PathBuf],
        options: &QuantiseOptions,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let mut network = network.folded();
        let mut observed = observe(&network, paths, options.equalise, progress)?;
        if options.equalise {
            equalise(&mut network, &observed.largest, options.scheme != Scheme::Nnie);
            observed = observe(&network, paths, false, progress)?;
        }
        let observed = Arc::new(observed);
        let observed = Self { scheme: options.scheme, grids: BTreeMap::new(), network, observed };
        Ok(observed.by(options.calibration))
    }

    /// The same with grids that another rule chose.
    #[must_use]
    pub fn by(&self, rule: Calibration) -> Self {
        let scheme = self.scheme;
        let grid = |(tensor, histogram): (&Tensor, _)| {
            let grid = match *tensor {
                Tensor::Before(layer) => {
                    let activation = self.network.graph.layers[layer].op.activation();
                    rule.grid(scheme, histogram, &|x| activation.apply(x))
                }
                _ => rule.grid(scheme, histogram, &|x| x),
            };
            (*tensor, grid)
        };
        Self { grids: self.observed.histograms().par_iter().map(grid).collect(), ..self.clone() }
    }

    /// The quantised net when the convolutions of `float_layers` stay in floating point.
    #[must_use]
    pub fn with_float(&self, float_layers: BTreeSet<usize>) -> Quantised {
        // A tensor of which no number was seen is never read either.
        let unseen = self.scheme.activations((0.0, 0.0));
        let grid = |tensor| self.grids.get(&tensor).copied().unwrap_or(unseen);
        let quantisation = Quantisation::new(&self.network.graph, self.scheme, float_layers, grid);
        Quantised { network: self.network.clone(), quantisation }
    }
}

impl Quantised {
    /// Shifts biases so that the mean of each filter over some of the images of `paths` is that of the float net.
    ///
    /// # Errors
    /// An image that can't be read.
    pub fn correct_biases(&mut self, paths: &[PathBuf], progress: &mut (dyn FnMut(usize, usize) + Send)) -> Result<()> {
        bias_correction::correct_biases(&mut self.network, &self.quantisation, paths, progress)
    }

    /// What the net computes.
    #[must_use]
    pub fn simulation(&self) -> Box<Simulation> {
        Box::new(Simulation::new(&self.network, &self.quantisation))
    }
}
