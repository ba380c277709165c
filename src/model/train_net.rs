//! Training: the forward pass with batch statistics that remembers what the backward pass needs.

use std::collections::HashMap;

use yoloslim_core::graph::{Activation, Graph, Op, Source};
use yoloslim_core::network::BatchNorm;
use yoloslim_core::{Network, Result};
use yoloslim_kernels::{self as k, BatchNormView, Epilogue, Scratch};

use super::forward::{self, Aside};
use super::layout::Layout;
use super::pool::Pool;
use super::program::Program;
use super::{HeadMap, kernels};

/// Share of the batch statistics in the running ones, a step (reference: the field's PyTorch code uses 0.03).
const MOMENTUM: f32 = 0.03;

/// A network in training.
pub struct TrainNet {
    network: Network,
    pub(super) layout: Layout,
    pub(super) parameters: Vec<f32>,
    statistics: Vec<f32>,
    /// The graph at each input size met so far, by (width, height).
    graphs: HashMap<(usize, usize), Graph>,
    pub(super) program: Program,
    pub(super) pool: Pool,
    pub(super) scratch: Scratch,
}

/// What a forward pass leaves for the backward pass.
pub struct Tape {
    pub(super) graph: Graph,
    pub(super) count: usize,
    pub(super) images: Vec<f32>,
    pub(super) layers: Vec<Saved>,
}

/// What one layer leaves.
#[derive(Default)]
pub(super) struct Saved {
    /// The output; none for layers that only pass on.
    pub out: Option<Vec<f32>>,
    /// What came before normalisation and activation, where there are any.
    pub before: Option<Vec<f32>>,
    /// Batch mean, one a channel.
    pub mean: Vec<f32>,
    /// 1 / batch standard deviation, one a channel.
    pub inverse: Vec<f32>,
    pub aside: Aside,
}

impl TrainNet {
    /// Takes a network into training.
    #[must_use]
    pub fn new(network: Network) -> Self {
        let layout = Layout::new(&network.graph);
        let (parameters, statistics) = layout.flatten(&network);
        let program = Program::new(&network.graph);
        Self {
            layout,
            parameters,
            statistics,
            graphs: HashMap::new(),
            program,
            pool: Pool::default(),
            scratch: Scratch::default(),
            network,
        }
    }

    /// Where each convolution's numbers lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The flat parameters.
    #[must_use]
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// The flat parameters, to change them.
    pub fn parameters_mut(&mut self) -> &mut Vec<f32> {
        &mut self.parameters
    }

    /// The running statistics.
    #[must_use]
    pub fn statistics(&self) -> &[f32] {
        &self.statistics
    }

    /// The running statistics, to change them.
    pub fn statistics_mut(&mut self) -> &mut Vec<f32> {
        &mut self.statistics
    }

    /// The network with the given numbers, which must be of this layout.
    #[must_use]
    pub fn to_network(&self, parameters: &[f32], statistics: &[f32]) -> Network {
        let mut network = self.network.clone();
        self.layout.restore(parameters, statistics, &mut network);
        network
    }

    /// The network's graph at its cfg's size.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.network.graph
    }

    fn graph_at(&mut self, width: usize, height: usize) -> Result<Graph> {
        if !self.graphs.contains_key(&(width, height)) {
            let graph = self.network.graph.resized(&self.network.cfg, width, height)?;
            self.graphs.insert((width, height), graph);
        }
        Ok(self.graphs[&(width, height)].clone())
    }

    /// Runs `count` images `[image][row][column][channel]` forward with batch statistics, updates the running
    /// ones, and gives the raw head maps.
    ///
    /// # Errors
    /// An input size that does not fit the graph.
    pub fn forward(
        &mut self,
        images: Vec<f32>,
        count: usize,
        width: usize,
        height: usize,
    ) -> Result<(Vec<HeadMap>, Tape)> {
        let graph = self.graph_at(width, height)?;
        let layers = (0..graph.layers.len()).map(|_| Saved::default()).collect();
        let mut tape = Tape { graph, count, images, layers };
        for layer in 0..tape.graph.layers.len() {
            if self.program.owns(layer) {
                tape.layers[layer] = self.run_layer(layer, &tape);
            }
        }
        let heads = self.program.heads().iter().map(|home| {
            let shape = tape.graph.shape(*home);
            HeadMap {
                rows: shape.height,
                cols: shape.width,
                channels: shape.channels,
                values: tape.read(*home).to_vec(),
            }
        });
        let heads = heads.collect();
        Ok((heads, tape))
    }

    fn run_layer(&mut self, layer: usize, tape: &Tape) -> Saved {
        let l = &tape.graph.layers[layer];
        let inputs: Vec<&[f32]> = l.inputs.iter().map(|s| tape.read(self.program.home(*s))).collect();
        let mut out = self.pool.take(tape.count * l.shape.len());
        let mut saved = Saved::default();
        match &l.op {
            Op::Convolution(_) => return self.run_convolution(layer, tape, inputs[0], out),
            Op::MaxPool(_) => saved.aside.argmax = Some(vec![0; out.len()]),
            _ => {}
        }
        forward::run(&tape.graph, layer, tape.count, &inputs, &mut out, &mut saved.aside);
        self.keep_before(forward::activation(&l.op), out, saved)
    }

    /// Applies an activation without normalisation, keeping what came before it if its derivative needs that.
    fn keep_before(&mut self, activation: Activation, mut out: Vec<f32>, mut saved: Saved) -> Saved {
        if activation != Activation::Linear {
            let mut before = self.pool.take(out.len());
            before.copy_from_slice(&out);
            k::activate(&mut out, kernels::activation(activation));
            saved.before = Some(before);
        }
        saved.out = Some(out);
        saved
    }

    fn run_convolution(&mut self, layer: usize, tape: &Tape, x: &[f32], mut z: Vec<f32>) -> Saved {
        let Op::Convolution(c) = &tape.graph.layers[layer].op else { unreachable!("called for convolutions") };
        let slots = self.layout.slots(layer).clone();
        let shape = kernels::conv_shape(c, tape.graph.input_shape(layer), tape.count);
        let kernel = &self.parameters[slots.kernel.clone()];
        let bias = &self.parameters[slots.bias.clone()];
        let Some(gamma) = slots.gamma.clone() else {
            let epilogue = Epilogue::new(Some(bias), k::Activation::Linear);
            k::conv_forward_once(&shape, kernel, x, epilogue, &mut z, &mut self.scratch);
            return self.keep_before(c.activation, z, Saved::default());
        };
        k::conv_forward_once(&shape, kernel, x, Epilogue::default(), &mut z, &mut self.scratch);
        let mut saved = Saved { mean: vec![0.0; c.filters], inverse: vec![0.0; c.filters], ..Saved::default() };
        let mut variance = vec![0.0; c.filters];
        k::channel_mean_variance(&z, c.filters, &mut saved.mean, &mut variance);
        let rows = z.len() / c.filters;
        update_running(&mut self.statistics[slots.mean], &saved.mean, 1.0);
        // The running variance is the unbiased one, as PyTorch keeps it.
        let unbiased = rows as f32 / (rows as f32 - 1.0).max(1.0);
        update_running(&mut self.statistics[slots.variance], &variance, unbiased);
        saved.inverse.iter_mut().zip(&variance).for_each(|(i, v)| *i = 1.0 / (v + BatchNorm::EPSILON).sqrt());
        let mut out = self.pool.take(z.len());
        let (gamma, beta) = (&self.parameters[gamma], &self.parameters[slots.bias]);
        let bn = BatchNormView { mean: &saved.mean, inv_std: &saved.inverse, gamma, beta };
        k::norm_activate(&z, &bn, kernels::activation(c.activation), &mut out);
        Saved { out: Some(out), before: Some(z), ..saved }
    }
}

fn update_running(running: &mut [f32], batch: &[f32], scale: f32) {
    running.iter_mut().zip(batch).for_each(|(r, b)| *r += MOMENTUM * (b * scale - *r));
}

impl Tape {
    /// The map that lies at `home`, `[image][row][column][channel]`.
    pub(super) fn read(&self, home: Source) -> &[f32] {
        match home {
            Source::Image => &self.images,
            Source::Layer(i) => self.layers[i].out.as_deref().expect("owners come before their readers"),
        }
    }
}
