//! Training: a network whose numbers are flat vectors, with a forward and a backward pass.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use yoloslim_core::darknet::{Cfg, Header};
use yoloslim_core::graph::Graph;
use yoloslim_core::{Network, Result};
use yoloslim_kernels::Scratch;

use super::dropout::Drops;
use super::layout::{ConvSlots, Layout};
use super::pool::{Choice, Pool};
use super::program::Program;
use super::rounding::Rounding;
use super::segments::Segments;
use crate::workers::Workers;

/// A network in training.
pub struct TrainNet {
    cfg: Cfg,
    graph: Graph,
    header: Header,
    pub(super) layout: Layout,
    pub(super) parameters: Vec<f32>,
    pub(super) statistics: Vec<f32>,
    /// The graph at each input size met so far, by (width, height).
    graphs: HashMap<(usize, usize), Arc<Graph>>,
    pub(super) program: Program,
    pub(super) segments: Segments,
    pub(super) pool: Pool<f32>,
    /// For the places of max pools.
    pub(super) places: Pool<u32>,
    pub(super) scratch: Scratch,
    /// Share of a batch's statistics in the running ones.
    pub(super) momentum: f32,
    /// The workers that batch statistics are taken over, where not over this one's images alone.
    pub(super) together: Option<Workers>,
    /// What rounds numbers in the forward pass.
    pub(super) rounding: Option<Arc<dyn Rounding>>,
    /// What the dropout layers of the next forward pass drop.
    pub(super) drops: Option<Drops>,
}

/// The share of a batch's statistics in the running ones (reference: the field's PyTorch code).
const MOMENTUM: f32 = 0.03;

impl TrainNet {
    /// Takes a network into training.
    #[must_use]
    pub fn new(network: Network) -> Self {
        Self::with_segments(network, 1)
    }

    /// Takes a network into training in at most `segments` segments: only maps that cross from one to another stay in
    /// memory between the passes, and the others are computed again for the backward pass. The gradients are the same,
    /// bit for bit.
    #[must_use]
    pub fn with_segments(network: Network, segments: usize) -> Self {
        let layout = Layout::new(&network.graph);
        let (parameters, statistics) = layout.flatten(&network);
        let Network { cfg, graph, header, .. } = network;
        let program = Program::of_training(&graph);
        Self {
            layout,
            parameters,
            statistics,
            graphs: HashMap::new(),
            segments: Segments::new(&graph, &program, segments),
            program,
            pool: Pool::new(Choice::Smallest),
            places: Pool::new(Choice::Smallest),
            scratch: Scratch::default(),
            momentum: MOMENTUM,
            together: None,
            rounding: None,
            drops: None,
            cfg,
            graph,
            header,
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

    /// Sets the share of a batch's statistics in the running ones, 0.03 at first.
    pub fn set_statistics_momentum(&mut self, momentum: f32) {
        self.momentum = momentum;
    }

    /// Takes batch statistics over the images of all workers. From then on all of them must run the same passes, and a
    /// worker may have no image.
    pub fn share_statistics(&mut self, workers: Workers) {
        self.together = Some(workers);
    }

    /// Rounds numbers in the forward passes to come, of a net without batch normalisation.
    pub fn set_rounding(&mut self, rounding: Arc<dyn Rounding>) {
        self.rounding = Some(rounding);
    }

    /// Sets what dropout layers drop in the forward passes to come: nothing at first, and with none.
    pub fn set_drops(&mut self, drops: Option<Drops>) {
        self.drops = drops;
    }

    /// The network with the given numbers, which must be of this layout.
    #[must_use]
    pub fn to_network(&self, parameters: &[f32], statistics: &[f32]) -> Network {
        let weights = self.layout.unflatten(parameters, statistics);
        Network { cfg: self.cfg.clone(), graph: self.graph.clone(), weights, header: self.header }
    }

    /// The network's graph at its cfg's size.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(super) fn graph_at(&mut self, width: usize, height: usize) -> Result<Arc<Graph>> {
        if let Some(graph) = self.graphs.get(&(width, height)) {
            return Ok(Arc::clone(graph));
        }
        let graph = Arc::new(self.graph.resized(&self.cfg, width, height)?);
        self.graphs.insert((width, height), Arc::clone(&graph));
        Ok(graph)
    }
}

/// The kernel and the biases of a convolution as the forward pass uses them.
pub(super) fn weights<'a>(
    slots: &ConvSlots,
    parameters: &'a [f32],
    rounding: Option<&dyn Rounding>,
) -> (Cow<'a, [f32]>, Cow<'a, [f32]>) {
    let [kernel, bias] = [&slots.kernel, &slots.bias].map(|range| &parameters[range.clone()]);
    let Some(rounding) = rounding else { return (kernel.into(), bias.into()) };
    let (mut kernel, mut bias) = (kernel.to_vec(), bias.to_vec());
    rounding.weights(slots.layer, &mut kernel, &mut bias);
    (kernel.into(), bias.into())
}
