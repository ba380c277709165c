//! Where each convolution's numbers lie in the flat parameter and statistics vectors.

use std::ops::Range;

use yoloslim_core::Network;
use yoloslim_core::graph::Graph;
use yoloslim_core::network::{BatchNorm, ConvWeights};

/// The ranges of one convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvSlots {
    /// Layer index.
    pub layer: usize,
    /// `[filters, channels_in / groups, size, size]` in the parameters.
    pub kernel: Range<usize>,
    /// `[filters]` in the parameters: bias, or beta where there is normalisation.
    pub bias: Range<usize>,
    /// `[filters]` in the parameters.
    pub gamma: Option<Range<usize>>,
    /// `[filters]` in the statistics: running mean; empty without normalisation.
    pub mean: Range<usize>,
    /// `[filters]` in the statistics: running variance; empty without normalisation.
    pub variance: Range<usize>,
}

/// The layout of all parameters and statistics of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    slots: Vec<Option<ConvSlots>>,
    parameters: usize,
    statistics: usize,
}

impl Layout {
    /// Lays the convolutions out one after the other.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        let mut layout = Self { slots: vec![None; graph.layers.len()], parameters: 0, statistics: 0 };
        for (layer, c) in graph.convolutions() {
            let n = c.filters;
            let normed = if c.batch_normalize { n } else { 0 };
            layout.slots[layer] = Some(ConvSlots {
                layer,
                kernel: next(&mut layout.parameters, c.kernel_len(graph.input_shape(layer).channels)),
                bias: next(&mut layout.parameters, n),
                gamma: c.batch_normalize.then(|| next(&mut layout.parameters, n)),
                mean: next(&mut layout.statistics, normed),
                variance: next(&mut layout.statistics, normed),
            });
        }
        layout
    }

    /// Length of the parameter vector.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Length of the statistics vector.
    #[must_use]
    pub fn statistics(&self) -> usize {
        self.statistics
    }

    /// The ranges of a convolution.
    ///
    /// # Panics
    /// If `layer` is no convolution.
    #[must_use]
    pub fn slots(&self, layer: usize) -> &ConvSlots {
        self.slots[layer].as_ref().expect("the layer is a convolution")
    }

    /// The ranges of all convolutions, in layer order.
    pub fn convolutions(&self) -> impl Iterator<Item = &ConvSlots> {
        self.slots.iter().flatten()
    }

    /// The network's numbers as parameter and statistics vectors.
    #[must_use]
    pub fn flatten(&self, network: &Network) -> (Vec<f32>, Vec<f32>) {
        let (mut parameters, mut statistics) = (vec![0.0; self.parameters], vec![0.0; self.statistics]);
        for slots in self.convolutions() {
            let weights = network.conv(slots.layer);
            parameters[slots.kernel.clone()].copy_from_slice(&weights.kernel);
            parameters[slots.bias.clone()].copy_from_slice(&weights.bias);
            if let (Some(gamma), Some(norm)) = (&slots.gamma, &weights.norm) {
                parameters[gamma.clone()].copy_from_slice(&norm.gamma);
                statistics[slots.mean.clone()].copy_from_slice(&norm.mean);
                statistics[slots.variance.clone()].copy_from_slice(&norm.variance);
            }
        }
        (parameters, statistics)
    }

    /// Parameter and statistics vectors as the weights of a network of this layout, one entry a layer: the inverse of
    /// [`Layout::flatten`].
    #[must_use]
    pub fn unflatten(&self, parameters: &[f32], statistics: &[f32]) -> Vec<Option<ConvWeights>> {
        let weights = |slots: &ConvSlots| ConvWeights {
            bias: parameters[slots.bias.clone()].to_vec(),
            norm: slots.gamma.clone().map(|gamma| BatchNorm {
                gamma: parameters[gamma].to_vec(),
                mean: statistics[slots.mean.clone()].to_vec(),
                variance: statistics[slots.variance.clone()].to_vec(),
            }),
            kernel: parameters[slots.kernel.clone()].to_vec(),
        };
        self.slots.iter().map(|slots| slots.as_ref().map(weights)).collect()
    }
}

/// The next `len` places of a vector that grows.
fn next(end: &mut usize, len: usize) -> Range<usize> {
    let start = *end;
    *end += len;
    start..*end
}
