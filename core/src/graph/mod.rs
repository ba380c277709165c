//! The graph of a detector: layers, what each reads, and the shape of what it writes.

pub mod from_cfg;
pub mod layer;
mod read_layer;
pub(crate) mod to_cfg;

pub use layer::{Activation, Convolution, Layer, MaxPool, Op, Shape, Source, Yolo};

/// A detector's layers in the order they are computed, and the shape of its input.
///
/// ```
/// use yoloslim_core::cost;
/// use yoloslim_core::darknet::Cfg;
/// use yoloslim_core::graph::Graph;
///
/// let cfg = b"[net]\nwidth=416\nheight=416\n\
///     [convolutional]\nbatch_normalize=1\nfilters=32\nsize=3\npad=1\nactivation=leaky\n\
///     [maxpool]\nsize=2\nstride=2\n";
/// let graph = Graph::from_cfg(&Cfg::parse(cfg)?)?;
/// let last = graph.layers[1].shape;
/// assert_eq!((last.width, last.height, last.channels), (208, 208, 32));
/// assert_eq!(graph.convolutions().count(), 1);
/// assert!((cost::flops(&graph) / 1e9 - 0.299).abs() < 1e-3);
/// # Ok::<(), yoloslim_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The input image.
    pub input: Shape,
    /// The layers; every input of a layer is the image or an earlier layer.
    pub layers: Vec<Layer>,
}

impl Graph {
    /// The shape of what `source` gives.
    #[must_use]
    pub fn shape(&self, source: Source) -> Shape {
        source.layer().map_or(self.input, |i| self.layers[i].shape)
    }

    /// The shape of a layer's first input.
    #[must_use]
    pub fn input_shape(&self, layer: usize) -> Shape {
        self.shape(self.layers[layer].inputs[0])
    }

    /// All convolutions with their layer index, in layer order.
    pub fn convolutions(&self) -> impl Iterator<Item = (usize, &Convolution)> {
        self.layers.iter().enumerate().filter_map(|(i, l)| match &l.op {
            Op::Convolution(c) => Some((i, c)),
            _ => None,
        })
    }

    /// The detection heads with their layer index, in layer order.
    pub fn heads(&self) -> impl Iterator<Item = (usize, &Yolo)> {
        self.layers.iter().enumerate().filter_map(|(i, l)| match &l.op {
            Op::Yolo(y) => Some((i, y)),
            _ => None,
        })
    }

    /// The number of classes the heads tell apart, 0 without a head.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.heads().next().map_or(0, |(_, y)| y.classes)
    }

    /// For each layer, the layers that read it.
    #[must_use]
    pub fn consumers(&self) -> Vec<Vec<usize>> {
        let mut consumers = vec![Vec::new(); self.layers.len()];
        for (i, layer) in self.layers.iter().enumerate() {
            for source in layer.inputs.iter().filter_map(|s| s.layer()) {
                consumers[source].push(i);
            }
        }
        consumers
    }

    /// The convolution whose output `layer` passes on unchanged (through dropout, single routes and heads), if any.
    #[must_use]
    pub fn convolution_behind(&self, mut layer: usize) -> Option<usize> {
        loop {
            let l = &self.layers[layer];
            match &l.op {
                Op::Convolution(_) => return Some(layer),
                Op::Dropout { .. } | Op::Yolo(_) => {}
                Op::Route { groups: 1, .. } if l.inputs.len() == 1 => {}
                _ => return None,
            }
            layer = l.inputs[0].layer()?;
        }
    }
}
