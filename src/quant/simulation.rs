//! The quantised net on the CPU: weights on their grids, and every tensor set to its grid's nearest between layers.

use rayon::prelude::*;
use yoloslim_core::Network;
use yoloslim_core::graph::{Activation, Graph, Op, Shape};
use yoloslim_core::quant::{Quantisation, Quantiser};
use yoloslim_kernels as k;

use crate::model::{self, Engine, HeadMap, Predictor};

/// Numbers that one thread rounds at a time.
const CHUNK: usize = 1 << 14;

/// A net that computes what its quantised form would, up to the rounding of sums.
pub struct Simulation {
    /// Without activation functions: they come between two roundings.
    predictor: Predictor,
    activations: Vec<Activation>,
    quantisation: Quantisation,
}

impl Simulation {
    /// Prepares a net whose normalisation is folded.
    #[must_use]
    pub fn new(network: &Network, quantisation: &Quantisation) -> Self {
        let mut rounded = network.clone();
        for (layer, _) in network.graph.convolutions() {
            let weights = rounded.conv_mut(layer);
            quantisation.round_weights(&network.graph, layer, &mut weights.kernel, &mut weights.bias);
        }
        Self::of_rounded(rounded, quantisation)
    }

    fn of_rounded(mut rounded: Network, quantisation: &Quantisation) -> Self {
        let activations = take_activations(&mut rounded.graph);
        // By direct sums: what faster ones round off takes values over the border between two codes.
        Self { predictor: Predictor::direct(&rounded), activations, quantisation: quantisation.clone() }
    }

    /// [`Engine::heads`] that lets what each convolution gives before its activation function be changed.
    pub fn heads_altered(
        &mut self,
        images: &[f32],
        count: usize,
        alter: &mut (dyn FnMut(usize, &mut [f32]) + Send),
    ) -> Vec<HeadMap> {
        let Self { predictor, activations, quantisation } = self;
        let mut images = images.to_vec();
        round(&mut images, quantisation.image);
        predictor.heads_altered(&images, count, &mut |layer, map| {
            alter(layer, map);
            round(map, quantisation.before[layer]);
            k::activate(map, model::activation(activations[layer]));
            round(map, quantisation.after[layer]);
        })
    }
}

impl Engine for Simulation {
    fn input(&self) -> Shape {
        self.predictor.input()
    }

    fn heads(&mut self, images: &[f32], count: usize) -> Vec<HeadMap> {
        self.heads_altered(images, count, &mut |_, _| {})
    }
}

/// Sets all numbers to the grid's nearest, if there is a grid.
pub(super) fn round(map: &mut [f32], grid: Option<Quantiser>) {
    let Some(grid) = grid else { return };
    map.par_chunks_mut(CHUNK).for_each(|part| grid.round(part));
}

/// Takes all activation functions out of a graph, and gives them by layer.
pub(super) fn take_activations(graph: &mut Graph) -> Vec<Activation> {
    let activations = graph.layers.iter().map(|layer| layer.op.activation()).collect();
    for layer in &mut graph.layers {
        match &mut layer.op {
            Op::Convolution(c) => c.activation = Activation::Linear,
            Op::Shortcut { activation } | Op::ScaleChannels { activation } | Op::Sam { activation } => {
                *activation = Activation::Linear;
            }
            _ => {}
        }
    }
    activations
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::quant::{Profile, Scheme};

    const CFG: &str = "[net]\nwidth=8\nheight=8\nchannels=1\n\
        [convolutional]\nfilters=2\nactivation=leaky\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n";

    fn network() -> Network {
        let mut network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        network.conv_mut(0).kernel = vec![1.0, -1.0];
        network.conv_mut(1).kernel = (0..14).map(|i| if i == 0 || i == 3 { 1.0 } else { 0.0 }).collect();
        network.conv_mut(1).bias.fill(0.0);
        network
    }

    #[test]
    fn each_tensor_is_rounded_where_the_plan_says() {
        let network = network();
        let image: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
        let scheme = Scheme::Int8(Profile::OnnxRuntime);
        let quantisation =
            Quantisation::new(&network.graph, scheme, BTreeSet::from([1]), |_| scheme.activations((-1.0, 1.0)));
        let grid = scheme.activations((-1.0, 1.0));
        let heads = Simulation::new(&network, &quantisation).heads(&image, 1);
        for (cell, x) in heads[0].values.chunks(7).zip(&image) {
            let x = grid.nearest(*x);
            assert_eq!(cell[0], grid.nearest(x), "{x}");
            assert_eq!(cell[1], grid.nearest(0.1 * grid.nearest(-x)), "{x}");
        }
    }

    #[test]
    fn without_grids_it_is_the_net_itself() {
        let network = network();
        let image: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
        let none = Quantisation::new(&network.graph, Scheme::Nnie, BTreeSet::from([0, 1]), |_| {
            unreachable!("nothing is quantised")
        });
        assert_eq!(Simulation::new(&network, &none).heads(&image, 1), Predictor::new(&network).heads(&image, 1));
    }
}
