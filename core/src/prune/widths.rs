//! The graph that would result from keeping some classes, derived without touching cfg or weights: what a
//! candidate costs is asked thousands of times.

use super::channels::Channels;
use crate::graph::{Graph, Op};

/// `graph` with the channels of the classes for which `kept` holds.
#[must_use]
pub fn slim_graph(graph: &Graph, channels: &Channels, kept: &[bool]) -> Graph {
    let mut slim = graph.clone();
    for (i, layer) in slim.layers.iter_mut().enumerate() {
        layer.shape.channels = count(&channels.outputs[i], kept);
        if let Op::Convolution(c) = &mut layer.op {
            let input = channels.read(layer.inputs[0]);
            if c.is_depthwise(input.len()) {
                c.groups = count(input, kept);
            }
            c.filters = layer.shape.channels;
        }
    }
    slim
}

fn count(list: &[usize], kept: &[bool]) -> usize {
    list.iter().filter(|id| kept[**id]).count()
}
