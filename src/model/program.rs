//! What running a graph needs to know beside the graph: which layers only pass a buffer on, and when each buffer
//! has been read for the last time.

use yoloslim_core::graph::{Graph, Op, Source};

/// Buffer bookkeeping of a graph.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// For each layer, where its output really lies: itself, or what it passes on.
    home: Vec<Source>,
    /// For each layer that owns a buffer, the last layer that reads it.
    last_reader: Vec<usize>,
    /// The owners of the maps that detection heads read, in head order.
    heads: Vec<Source>,
}

impl Program {
    pub fn new(graph: &Graph) -> Self {
        let mut home: Vec<Source> = Vec::with_capacity(graph.layers.len());
        let mut last_reader = vec![0; graph.layers.len()];
        for (i, layer) in graph.layers.iter().enumerate() {
            let resolve = |s: Source| s.layer().map_or(s, |j| home[j]);
            for input in &layer.inputs {
                if let Source::Layer(j) = resolve(*input) {
                    last_reader[j] = i;
                }
            }
            let here =
                if passes_on(&layer.op, layer.inputs.len()) { resolve(layer.inputs[0]) } else { Source::Layer(i) };
            home.push(here);
        }
        let heads: Vec<Source> = graph.heads().map(|(i, _)| home[i]).collect();
        for head in heads.iter().filter_map(|h| h.layer()) {
            last_reader[head] = usize::MAX;
        }
        Self { home, last_reader, heads }
    }

    /// Where the output that `source` names really lies.
    pub fn home(&self, source: Source) -> Source {
        source.layer().map_or(source, |i| self.home[i])
    }

    /// Whether the layer has a buffer of its own.
    pub fn owns(&self, layer: usize) -> bool {
        self.home[layer] == Source::Layer(layer)
    }

    /// Whether nothing after `reader` reads the buffer of `layer`.
    pub fn is_over(&self, layer: usize, reader: usize) -> bool {
        self.last_reader[layer] <= reader
    }

    pub fn heads(&self) -> &[Source] {
        &self.heads
    }
}

fn passes_on(op: &Op, inputs: usize) -> bool {
    match op {
        Op::Dropout { .. } | Op::Yolo(_) => true,
        Op::Route { groups, .. } => *groups == 1 && inputs == 1,
        _ => false,
    }
}
