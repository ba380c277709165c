//! What of a forward pass stays in memory until the backward pass.
//!
//! An output that is one cheap pass away from what is kept anyway is given back once the forward pass has read it.
//! Beyond that a net may be divided into segments (Chen, Xu, Zhang and Guestrin, arXiv:1604.06174): only maps that a
//! later segment reads stay, and the inside of a segment is computed again before its backward pass.

use std::ops::Range;

use yoloslim_core::graph::{Graph, Op};

use super::program::Program;

/// What stays, of one division into segments.
pub(super) struct Segments {
    /// The layers of each segment.
    ranges: Vec<Range<usize>>,
    /// For each layer, whether a later segment reads its map.
    crosses: Vec<bool>,
    /// For each layer, whether a layer of its own segment needs its map for the backward pass.
    inner: Vec<bool>,
    /// For each layer, whether its output may be given back between its readers.
    cheap: Vec<bool>,
}

impl Segments {
    /// Divides into at most `count` segments whose maps take about the same memory.
    pub fn new(graph: &Graph, program: &Program, count: usize) -> Self {
        let borders = borders(graph, program, count.max(1));
        let ends = borders.iter().copied().chain([graph.layers.len()]);
        let starts = [0].into_iter().chain(borders.iter().copied());
        let ranges: Vec<Range<usize>> = starts.zip(ends).map(|(start, end)| start..end).collect();
        let segment = |layer| borders.partition_point(|border| *border <= layer);
        let crosses: Vec<bool> =
            (0..graph.layers.len()).map(|i| program.last_reader(i).is_some_and(|r| segment(r) > segment(i))).collect();
        let cheap = graph.layers.iter().zip(&crosses).map(|(l, crosses)| match &l.op {
            Op::Route { .. } | Op::Upsample { .. } | Op::Dropout { .. } => !crosses,
            op => keeps_before(op),
        });
        let mut inner = vec![false; graph.layers.len()];
        for (reader, layer) in graph.layers.iter().enumerate() {
            for read in program.read_by(graph, reader).into_iter().filter(|read| segment(*read) == segment(reader)) {
                let read_op = &graph.layers[read].op;
                let passes_on = matches!(layer.op, Op::Yolo(_));
                // What a pool keeps for its backward pass comes with its output.
                inner[read] |= !passes_on || keeps_before(read_op) || matches!(read_op, Op::MaxPool(_));
            }
        }
        Self { cheap: cheap.collect(), ranges, crosses, inner }
    }

    /// The layers of each segment, in order.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Whether a segment after the layer's own reads its map.
    pub fn crosses(&self, layer: usize) -> bool {
        self.crosses[layer]
    }

    /// Whether a layer of the same segment needs the layer's map for the backward pass.
    pub fn is_inner(&self, layer: usize) -> bool {
        self.inner[layer]
    }

    /// Whether the layer's output is cheap to compute again from what is kept.
    pub fn is_cheap(&self, layer: usize) -> bool {
        self.cheap[layer]
    }
}

/// Whether the value before normalisation and activation is kept: whether there is one apart from the output.
pub(super) fn keeps_before(op: &Op) -> bool {
    let normalised = matches!(op, Op::Convolution(c) if c.batch_normalize);
    normalised || op.activation() != yoloslim_core::graph::Activation::Linear
}

/// The first layers of all segments but the first.
fn borders(graph: &Graph, program: &Program, count: usize) -> Vec<usize> {
    let sizes = graph.layers.iter().enumerate().map(|(i, l)| if program.owns(i) { l.shape.len() } else { 0 });
    let before: Vec<usize> = sizes
        .scan(0, |sum, size| {
            *sum += size;
            Some(*sum - size)
        })
        .collect();
    let total = before.last().map_or(0, |b| b + graph.layers[graph.layers.len() - 1].shape.len());
    // A border within an eighth of a segment of its place may move to where the fewest values cross it.
    let near = |k: usize| {
        let (place, reach) = (k * total / count, total / count / 8);
        let from = before.partition_point(|b| *b + reach < place);
        let to = before.partition_point(|b| *b <= place + reach);
        from.max(1)..to.max(from + 1)
    };
    let best = |k: usize| near(k).filter(|b| *b < before.len()).min_by_key(|b| crossing(graph, program, *b));
    let mut borders: Vec<usize> = (1..count).filter_map(best).collect();
    borders.dedup();
    borders
}

/// Values an image that cross a border in front of `layer`.
fn crossing(graph: &Graph, program: &Program, layer: usize) -> usize {
    let crosses = |i: &usize| program.last_reader(*i).is_some_and(|reader| reader >= layer);
    (0..layer).filter(crosses).map(|i| graph.layers[i].shape.len()).sum()
}
