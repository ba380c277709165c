//! Random weights to train from.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::load::{empty_weights, head_convolutions};
use super::{ConvWeights, Network};
use crate::Result;
use crate::darknet::{Cfg, Header};
use crate::graph::Graph;

/// Objectness starts at sigmoid(-4) = 1.8 %, near the share of cells that hold something, so that the first
/// steps are not spent on unlearning background (Lin et al. 2017, 'Focal Loss', section 4.1).
const OBJECTNESS_BIAS: f32 = -4.0;

impl Network {
    /// A network with random weights: kernels uniform with variance 2 / fan-in (He et al. 2015), gamma 1, beta 0,
    /// statistics of a standard normal, head biases at low objectness.
    ///
    /// # Errors
    /// Whatever is wrong with the cfg.
    pub fn initialise(cfg: Cfg, seed: u64) -> Result<Self> {
        let graph = Graph::from_cfg(&cfg)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut weights = empty_weights(&graph);
        for w in weights.iter_mut().flatten() {
            fill(w, &mut rng);
        }
        let mut network = Self { weights, cfg, graph, header: Header::default() };
        network.lower_objectness();
        Ok(network)
    }

    fn lower_objectness(&mut self) {
        let heads = head_convolutions(&self.graph);
        let classes = self.graph.classes();
        for (conv, _) in heads {
            let bias = &mut self.conv_mut(conv).bias;
            bias.iter_mut().skip(4).step_by(5 + classes).for_each(|b| *b = OBJECTNESS_BIAS);
        }
    }
}

fn fill(weights: &mut ConvWeights, rng: &mut ChaCha8Rng) {
    let fan_in = weights.kernel.len() / weights.bias.len().max(1);
    let bound = (6.0 / fan_in.max(1) as f32).sqrt();
    weights.kernel.iter_mut().for_each(|w| *w = rng.random_range(-bound..bound));
    if let Some(norm) = &mut weights.norm {
        norm.gamma.fill(1.0);
        norm.variance.fill(1.0);
    }
}
