//! What a net costs: parameters, operations, and milliseconds on some device.

pub mod profile;

use crate::graph::{Graph, Op};

/// Trained numbers of a layer: kernel, bias or beta, gamma.
#[must_use]
pub fn layer_parameters(graph: &Graph, layer: usize) -> usize {
    match &graph.layers[layer].op {
        Op::Convolution(c) => {
            let norm = if c.batch_normalize { 2 } else { 1 };
            c.kernel_len(graph.input_shape(layer).channels) + norm * c.filters
        }
        _ => 0,
    }
}

/// Trained numbers of all layers.
#[must_use]
pub fn parameters(graph: &Graph) -> usize {
    (0..graph.layers.len()).map(|i| layer_parameters(graph, i)).sum()
}

/// Floating-point operations of a layer for one image, as Darknet counts them: two a multiply-add of a
/// convolution, nothing for other layers.
#[must_use]
pub fn layer_flops(graph: &Graph, layer: usize) -> f64 {
    match &graph.layers[layer].op {
        Op::Convolution(c) => {
            let taps = c.kernel_len(graph.input_shape(layer).channels);
            2.0 * taps as f64 * graph.layers[layer].shape.area() as f64
        }
        _ => 0.0,
    }
}

/// Floating-point operations of all layers for one image.
#[must_use]
pub fn flops(graph: &Graph) -> f64 {
    (0..graph.layers.len()).map(|i| layer_flops(graph, i)).sum()
}
