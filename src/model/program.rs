//! What running a graph needs to know beside the graph: which layers only pass a buffer on, and when each buffer
//! has been read for the last time.

use yoloslim_core::graph::{Graph, Op, Source};

/// Buffer bookkeeping of a graph.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// For each layer, where its output really lies: itself, or what it passes on.
    home: Vec<Source>,
    /// For each layer that owns a buffer, the first and the last layer that read it; none if there is none.
    readers: Vec<Option<(usize, usize)>>,
    /// For each layer that owns a buffer, whether a detection head reads it.
    head: Vec<bool>,
    /// The owners of the maps that detection heads read, in head order.
    heads: Vec<Source>,
}

impl Program {
    /// Of inference, where dropout passes its input on.
    pub fn new(graph: &Graph) -> Self {
        Self::of(graph, |op| matches!(op, Op::Dropout { .. }))
    }

    /// Of training, where dropout gives a map of its own.
    pub fn of_training(graph: &Graph) -> Self {
        Self::of(graph, |op| matches!(op, Op::Dropout { probability: 0.0 }))
    }

    fn of(graph: &Graph, idle: impl Fn(&Op) -> bool) -> Self {
        let mut home: Vec<Source> = Vec::with_capacity(graph.layers.len());
        let mut readers: Vec<Option<(usize, usize)>> = vec![None; graph.layers.len()];
        for (i, layer) in graph.layers.iter().enumerate() {
            let resolve = |s: Source| s.layer().map_or(s, |j| home[j]);
            for input in &layer.inputs {
                if let Source::Layer(j) = resolve(*input) {
                    readers[j] = Some((readers[j].map_or(i, |(first, _)| first), i));
                }
            }
            let passes_on = idle(&layer.op) || passes_on(&layer.op, layer.inputs.len());
            home.push(if passes_on { resolve(layer.inputs[0]) } else { Source::Layer(i) });
        }
        let heads: Vec<Source> = graph.heads().map(|(i, _)| home[i]).collect();
        let mut head = vec![false; graph.layers.len()];
        // A net without heads gives its last map.
        let last = home.last().filter(|_| heads.is_empty());
        heads.iter().chain(last).filter_map(|h| h.layer()).for_each(|h| head[h] = true);
        Self { home, readers, head, heads }
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
        !self.head[layer] && self.readers[layer].is_none_or(|(_, last)| last <= reader)
    }

    /// The first layer that reads the buffer of `layer`.
    pub fn first_reader(&self, layer: usize) -> Option<usize> {
        self.readers[layer].map(|(first, _)| first)
    }

    /// The last layer that reads the buffer of `layer`.
    pub fn last_reader(&self, layer: usize) -> Option<usize> {
        self.readers[layer].map(|(_, last)| last)
    }

    /// The layers whose buffers `layer` reads, one for each of its inputs that is no image.
    pub fn read_by(&self, graph: &Graph, layer: usize) -> Vec<usize> {
        graph.layers[layer].inputs.iter().filter_map(|s| self.home(*s).layer()).collect()
    }

    pub fn heads(&self) -> &[Source] {
        &self.heads
    }
}

fn passes_on(op: &Op, inputs: usize) -> bool {
    match op {
        Op::Yolo(_) => true,
        Op::Route { groups, .. } => *groups == 1 && inputs == 1,
        _ => false,
    }
}
