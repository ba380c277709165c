//! What a forward pass leaves for the backward pass.

use std::sync::Arc;

use yoloslim_core::graph::{Graph, Source};

use super::dropout::Drops;
use super::forward::Aside;
use super::pool::Buffer;

/// What a forward pass leaves for the backward pass.
pub struct Tape {
    pub(super) graph: Arc<Graph>,
    pub(super) count: usize,
    pub(super) images: Vec<f32>,
    /// What dropout layers drop.
    pub(super) drops: Option<Drops>,
    pub(super) layers: Vec<Saved>,
}

/// What one layer leaves.
#[derive(Default)]
pub(super) struct Saved {
    /// The output; none for layers that only pass on, and where it was given back to be computed again when needed.
    pub out: Option<Buffer<f32>>,
    /// What came before normalisation and activation, where there are any.
    pub before: Option<Buffer<f32>>,
    /// Batch mean, one a channel.
    pub mean: Vec<f32>,
    /// 1 / batch standard deviation, one a channel.
    pub inverse: Vec<f32>,
    pub aside: Aside,
}

impl Tape {
    /// An empty tape for `count` images.
    pub(super) fn new(graph: Arc<Graph>, count: usize, images: Vec<f32>, drops: Option<Drops>) -> Self {
        let layers = graph.layers.iter().map(|_| Saved::default()).collect();
        Self { graph, count, images, drops, layers }
    }

    /// The images, `[image][row][column][channel]`.
    #[must_use]
    pub fn images(&self) -> &[f32] {
        &self.images
    }

    /// The map that lies at `home`, `[image][row][column][channel]`.
    pub(super) fn read(&self, home: Source) -> &[f32] {
        match home {
            Source::Image => &self.images,
            Source::Layer(i) => self.layers[i].out.as_deref().expect("a map is computed before it is read"),
        }
    }

    /// Drops what dropout layer `layer` drops of its output or of the gradient of that.
    pub(super) fn drop_out(&self, layer: usize, probability: f32, map: &mut [f32]) {
        let image = self.graph.layers[layer].shape.len();
        self.drops.iter().for_each(|drops| drops.apply(layer, probability, image, map));
    }

    /// Whether the layer's output is there or one pass away.
    pub(super) fn holds(&self, layer: usize) -> bool {
        self.layers[layer].out.is_some() || self.layers[layer].before.is_some()
    }
}
