//! Which tensors of a net are quantised when some of its layers stay in floating point.

use std::collections::BTreeSet;

use super::Scheme;
use crate::graph::{Activation, Graph, Op, Source};

/// The tensors that are quantised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The input image.
    pub image: bool,
    /// By layer: what comes before the activation function.
    pub before: Vec<bool>,
    /// By layer: its output. Layers that only move numbers keep the grid of what they read, and have no place of their
    /// own.
    pub after: Vec<bool>,
}

/// The convolutions that feed heads: what they give is decoded, and needs more than 256 values.
#[must_use]
pub fn float_by_default(graph: &Graph) -> BTreeSet<usize> {
    graph.heads().filter_map(|(head, _)| graph.convolution_behind(head)).collect()
}

/// Finds the tensors to quantise when the convolutions of `float` stay in floating point.
#[must_use]
pub fn places(graph: &Graph, scheme: Scheme, float: &BTreeSet<usize>) -> Places {
    let layers = graph.layers.len();
    let consumers = graph.consumers();
    // Whether some layer reads the output in 8 bits; layers without weights do where their own output is wanted so.
    let (mut wanted, mut reads) = (vec![false; layers], vec![false; layers]);
    for layer in (0..layers).rev() {
        wanted[layer] = consumers[layer].iter().any(|reader| reads[*reader]);
        reads[layer] = match graph.layers[layer].op {
            Op::Convolution(_) => !float.contains(&layer),
            _ => wanted[layer],
        };
    }
    let quantised = |layer: usize| matches!(graph.layers[layer].op, Op::Convolution(_)) && !float.contains(&layer);
    let before = |layer: usize| match graph.layers[layer].op {
        Op::Convolution(c) => {
            scheme.quantises_before_activation() && quantised(layer) && c.activation != Activation::Linear
        }
        _ => false,
    };
    let after = |layer: usize| {
        let always = scheme.quantises_every_output() && quantised(layer);
        let fused = scheme.fuses_sums() && is_summed_at_once(graph, &consumers, layer);
        computes(graph, layer) && (wanted[layer] || always) && !fused
    };
    Places {
        image: (0..layers).any(|l| reads[l] && graph.layers[l].inputs.contains(&Source::Image)),
        before: (0..layers).map(before).collect(),
        after: (0..layers).map(after).collect(),
    }
}

/// Whether a layer is a linear convolution that the shortcut after it alone reads: one kernel computes both.
fn is_summed_at_once(graph: &Graph, consumers: &[Vec<usize>], layer: usize) -> bool {
    let linear = matches!(graph.layers[layer].op, Op::Convolution(c) if c.activation == Activation::Linear);
    let shortcut = |reader: usize| {
        let reader = &graph.layers[reader];
        matches!(reader.op, Op::Shortcut { .. }) && reader.inputs[0] == Source::Layer(layer)
    };
    linear && matches!(consumers[layer][..], [reader] if shortcut(reader))
}

/// Whether a layer's output has numbers that none of its inputs has, or numbers of several grids.
pub(super) fn computes(graph: &Graph, layer: usize) -> bool {
    let layer = &graph.layers[layer];
    match layer.op {
        Op::MaxPool(_) | Op::Upsample { .. } | Op::Dropout { .. } | Op::Reorg { .. } | Op::Yolo(_) => false,
        Op::Route { .. } => layer.inputs.len() > 1,
        Op::Convolution(_) | Op::Shortcut { .. } | Op::AveragePool | Op::ScaleChannels { .. } | Op::Sam { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::*;
    use crate::darknet::Cfg;

    /// 0 conv, 1 pool, 2 conv, 3 shortcut of 2 and 1, 4 head conv, 5 yolo, 6 route to 3, 7 upsample, 8 route of 7 and 0,
    /// 9 head conv, 10 yolo.
    const CFG: &str = "[net]\nwidth=16\nheight=16\n\
        [convolutional]\nfilters=4\nsize=3\npad=1\nactivation=leaky\n\
        [maxpool]\nsize=2\nstride=2\n\
        [convolutional]\nfilters=4\nactivation=linear\n\
        [shortcut]\nfrom=-2\nactivation=linear\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n\
        [route]\nlayers=3\n[upsample]\nstride=2\n[route]\nlayers=-1,0\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n";

    fn found(scheme: Scheme, float: &[usize]) -> (bool, Vec<usize>, Vec<usize>) {
        let graph = Graph::from_cfg(&Cfg::parse(CFG.as_bytes()).unwrap()).unwrap();
        assert_eq!(float_by_default(&graph), BTreeSet::from([4, 9]));
        let places = places(&graph, scheme, &float.iter().copied().collect());
        let set = |marks: &[bool]| (0..marks.len()).filter(|i| marks[*i]).collect();
        (places.image, set(&places.before), set(&places.after))
    }

    #[test]
    fn tensors_are_quantised_where_they_are_computed_and_read_or_written_in_8_bits() {
        let (ort, trt, nnie) = (Scheme::Int8(Profile::OnnxRuntime), Scheme::Int8(Profile::TensorRt), Scheme::Nnie);
        // With float heads, the sum and the concatenation are read by nothing in 8 bits.
        assert_eq!(found(ort, &[4, 9]), (true, vec![0], vec![0, 2]));
        // TensorRT computes layer 2 and the sum at once.
        assert_eq!(found(trt, &[4, 9]), (true, vec![], vec![0]));
        assert_eq!(found(trt, &[]), (true, vec![], vec![0, 3, 4, 8, 9]));
        // NNIE's layer 2 writes 16 bits for its float readers.
        assert_eq!(found(nnie, &[4, 9]), (true, vec![], vec![0]));
        assert_eq!(found(ort, &[]), (true, vec![0], vec![0, 2, 3, 4, 8, 9]));
        assert_eq!(found(nnie, &[]), (true, vec![], vec![0, 2, 3, 8]));
        // A float layer's output is quantised for readers in 8 bits.
        assert_eq!(found(ort, &[0, 4, 9]), (false, vec![], vec![0, 2]));
        assert_eq!(found(nnie, &[0, 2, 4, 9]), (false, vec![], vec![]));
    }
}
