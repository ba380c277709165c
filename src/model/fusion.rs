//! Which layers inference computes on another layer's way, so that their maps are never written and read again.

use yoloslim_core::graph::{Activation, Graph, Op, Source};

use super::program::Program;

/// The layers of a graph that do the work of others.
#[derive(Debug, Clone)]
pub(super) struct Fusion {
    /// For each convolution that adds a residual: the shortcut it computes and the shortcut's other input.
    residual: Vec<Option<(usize, Source)>>,
    /// Whether another layer does this layer's work.
    done_elsewhere: Vec<bool>,
}

impl Fusion {
    /// Finds convolutions before a linear shortcut, and upsamplings before a concatenation, that nothing else reads.
    pub fn new(graph: &Graph, program: &Program) -> Self {
        let layers = graph.layers.len();
        let mut fusion = Self { residual: vec![None; layers], done_elsewhere: vec![false; layers] };
        let readers = readers(graph, program);
        for (layer, l) in graph.layers.iter().enumerate() {
            let homes: Vec<Source> = l.inputs.iter().map(|input| program.home(*input)).collect();
            match l.op {
                Op::Shortcut { activation: Activation::Linear } => {
                    let same = l.inputs.iter().all(|input| graph.shape(*input) == l.shape);
                    if let (&[Source::Layer(conv), other], true) = (&homes[..], same)
                        && readers[conv] == 1
                        && matches!(graph.layers[conv].op, Op::Convolution(_))
                        && other.layer().is_none_or(|other| other < conv)
                    {
                        fusion.residual[conv] = Some((layer, other));
                        fusion.done_elsewhere[layer] = true;
                    }
                }
                Op::Route { groups: 1, .. } if homes.len() > 1 => {
                    for home in homes.iter().filter_map(|home| home.layer()) {
                        fusion.done_elsewhere[home] |=
                            readers[home] == 1 && matches!(graph.layers[home].op, Op::Upsample { .. });
                    }
                }
                _ => {}
            }
        }
        fusion
    }

    /// No layer does another's work: every map exists.
    pub fn none(graph: &Graph) -> Self {
        Self { residual: vec![None; graph.layers.len()], done_elsewhere: vec![false; graph.layers.len()] }
    }

    /// These fusions without those that leave the map of one of `layers` unwritten.
    pub fn keeping(&self, layers: &[usize]) -> Self {
        let mut kept = self.clone();
        for (conv, residual) in kept.residual.iter_mut().enumerate() {
            // The convolution's own map is never written; the shortcut's is, but in the convolution's turn.
            if let Some((shortcut, _)) = *residual
                && (layers.contains(&conv) || layers.contains(&shortcut))
            {
                *residual = None;
                kept.done_elsewhere[shortcut] = false;
            }
        }
        layers.iter().for_each(|layer| kept.done_elsewhere[*layer] = false);
        kept
    }

    /// The shortcut that a convolution computes, and the shortcut's other input.
    pub fn residual(&self, layer: usize) -> Option<(usize, Source)> {
        self.residual[layer]
    }

    /// Whether another layer does this layer's work.
    pub fn done_elsewhere(&self, layer: usize) -> bool {
        self.done_elsewhere[layer]
    }
}

/// How often each layer's buffer is read, by layers and heads.
fn readers(graph: &Graph, program: &Program) -> Vec<usize> {
    let mut readers = vec![0; graph.layers.len()];
    let owners = (0..graph.layers.len()).filter(|&layer| program.owns(layer));
    let inputs = owners.flat_map(|layer| graph.layers[layer].inputs.iter().map(|input| program.home(*input)));
    for home in inputs.chain(program.heads().iter().copied()).filter_map(|home| home.layer()) {
        readers[home] += 1;
    }
    // A net without heads gives its last map.
    if let Some(Source::Layer(last)) = graph.layers.len().checked_sub(1).map(|last| program.home(Source::Layer(last))) {
        readers[last] += 1;
    }
    readers
}
