//! A quantisation decided: the grid of every tensor.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::placement::computes;
use super::{Quantiser, Scheme, places};
use crate::graph::{Graph, Source};
use crate::{Error, Result, files};

/// The grids of a net's tensors. Weights need none: theirs follow from the weights themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantisation {
    /// How codes are made.
    pub scheme: Scheme,
    /// Convolutions in floating point.
    pub float_layers: BTreeSet<usize>,
    /// The image's grid, where it is quantised.
    pub image: Option<Quantiser>,
    /// By layer: the grid of what comes before the activation function.
    pub before: Vec<Option<Quantiser>>,
    /// By layer: the grid of its output, where it has one of its own.
    pub after: Vec<Option<Quantiser>>,
}

/// Where a tensor lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tensor {
    /// The net's input.
    Image,
    /// What a convolution gives before its activation function.
    Before(usize),
    /// A layer's output.
    After(usize),
}

impl Quantisation {
    /// Quantises all but the convolutions of `float_layers`; `grid` chooses the grid of a tensor.
    pub fn new(
        graph: &Graph,
        scheme: Scheme,
        float_layers: BTreeSet<usize>,
        mut grid: impl FnMut(Tensor) -> Quantiser,
    ) -> Self {
        let places = places(graph, scheme, &float_layers);
        let image = places.image.then(|| grid(Tensor::Image));
        let mut of = |marks: &[bool], tensor: fn(usize) -> Tensor| -> Vec<Option<Quantiser>> {
            marks.iter().enumerate().map(|(layer, marked)| marked.then(|| grid(tensor(layer)))).collect()
        };
        let (before, after) = (of(&places.before, Tensor::Before), of(&places.after, Tensor::After));
        Self { scheme, float_layers, image, before, after }
    }

    /// Reads a file of a quantisation of a net of this graph.
    ///
    /// # Errors
    /// A file that can't be read, is none, or belongs to another net.
    pub fn read(path: &Path, graph: &Graph) -> Result<Self> {
        let wrong = |cause: &dyn std::fmt::Display| {
            Error::at(path.display(), cause).fix("give the quantisation.json that quantize wrote beside this cfg")
        };
        let read: Self = serde_json::from_slice(&files::read(path)?).map_err(|e| wrong(&e))?;
        let layers = graph.layers.len();
        if read.before.len() != layers || read.after.len() != layers {
            return Err(wrong(&format!("it is for a net of {} layers, this has {layers}", read.after.len())));
        }
        Ok(read)
    }

    /// Whether the weights of a convolution are quantised.
    #[must_use]
    pub fn quantises(&self, convolution: usize) -> bool {
        !self.float_layers.contains(&convolution)
    }

    /// Sets the weights `[filters, ..]` and the biases `[filters]` of a convolution to their grids' nearest, where they
    /// are quantised.
    pub fn round_weights(&self, graph: &Graph, layer: usize, kernel: &mut [f32], bias: &mut [f32]) {
        if self.quantises(layer) {
            let input = self.input_grid(graph, layer);
            self.scheme.round_biases(kernel, bias, input);
            self.scheme.round_weights(kernel, bias, input);
        }
    }

    /// The grid on which the numbers of a tensor lie, through the layers that only move them.
    #[must_use]
    pub fn grid_of(&self, graph: &Graph, source: Source) -> Option<Quantiser> {
        let mut source = source;
        loop {
            match source {
                Source::Image => return self.image,
                Source::Layer(layer) if computes(graph, layer) => return self.after[layer],
                Source::Layer(layer) => source = graph.layers[layer].inputs[0],
            }
        }
    }

    /// The grid of what a layer reads first.
    #[must_use]
    pub fn input_grid(&self, graph: &Graph, layer: usize) -> Option<Quantiser> {
        self.grid_of(graph, graph.layers[layer].inputs[0])
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Linear, Profile};
    use super::*;
    use crate::darknet::Cfg;

    const CFG: &str = "[net]\nwidth=8\nheight=8\n\
        [convolutional]\nfilters=4\nactivation=leaky\n[maxpool]\nsize=2\nstride=2\n[route]\nlayers=-1\ngroups=2\n\
        [convolutional]\nfilters=7\nactivation=linear\n[yolo]\nmask=0\nanchors=4,4\nclasses=2\n";

    fn graph() -> Graph {
        Graph::from_cfg(&Cfg::parse(CFG.as_bytes()).unwrap()).unwrap()
    }

    fn quantisation() -> Quantisation {
        let scheme = Scheme::Int8(Profile::OnnxRuntime);
        let grid = |tensor| match tensor {
            Tensor::Image => 1.0,
            Tensor::Before(layer) => 10.0 + layer as f32,
            Tensor::After(layer) => 20.0 + layer as f32,
        };
        Quantisation::new(&graph(), scheme, BTreeSet::new(), |t| Quantiser::Linear(Linear::symmetric(127.0 * grid(t))))
    }

    #[test]
    fn layers_that_move_numbers_pass_the_grid_of_what_they_read_on() {
        let found = quantisation().input_grid(&graph(), 3);
        assert_eq!(found, Some(Quantiser::Linear(Linear { scale: 20.0, zero_point: 0 })));
        assert_eq!(quantisation().input_grid(&graph(), 0), quantisation().image);
    }

    #[test]
    fn a_file_reads_back_and_one_of_another_net_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.json");
        let written = quantisation();
        std::fs::write(&path, serde_json::to_vec(&written).unwrap()).unwrap();
        assert_eq!(Quantisation::read(&path, &graph()).unwrap(), written);
        let mut shorter = graph();
        shorter.layers.pop();
        let message = Quantisation::read(&path, &shorter).unwrap_err().to_string();
        assert!(message.contains("of 5 layers, this has 4"), "{message}");
    }
}
