//! The forward pass of every layer that has no parameters, shared by inference and training.

use yoloslim_core::graph::{Graph, Op};
use yoloslim_kernels as k;

use super::pool::Buffer;
use super::{kernels, product};

/// What a layer leaves beside its output.
#[derive(Default)]
pub(super) struct Aside {
    /// Max pooling: which input number each output is, when asked for.
    pub argmax: Option<Buffer<u32>>,
}

/// Computes layer `layer` for `count` images from its inputs (NHWC) into `out`, before its activation.
///
/// # Panics
/// If the layer is a convolution or only passes its input on: their callers treat those themselves.
pub(super) fn run(graph: &Graph, layer: usize, count: usize, inputs: &[&[f32]], out: &mut [f32], aside: &mut Aside) {
    let l = &graph.layers[layer];
    let from = graph.input_shape(layer);
    match &l.op {
        Op::MaxPool(p) => {
            let shape = kernels::pool_shape(p, from, count);
            k::max_pool(&shape, inputs[0], out, aside.argmax.as_deref_mut());
        }
        Op::AveragePool => k::average_pool(count, from.area(), from.channels, inputs[0], out),
        Op::Upsample { stride } => {
            k::upsample_nearest(count, from.height, from.width, from.channels, *stride, inputs[0], out);
        }
        Op::Reorg { stride } => k::reorg(count, from.height, from.width, from.channels, *stride, inputs[0], out),
        Op::Route { groups, group_id } => {
            let mut to = 0;
            for (source, x) in l.inputs.iter().zip(inputs) {
                let channels = graph.shape(*source).channels;
                let n = channels / groups;
                k::copy_channels(
                    count * l.shape.area(),
                    x,
                    channels,
                    group_id * n,
                    n,
                    out,
                    l.shape.channels,
                    to,
                    false,
                );
                to += n;
            }
        }
        Op::Shortcut { .. } => {
            let alike = |input: usize| graph.shape(l.inputs[input]).channels == l.shape.channels;
            // The first two at once, so that the sum is written once.
            let first = if inputs.len() > 1 && alike(1) { 2 } else { 1 };
            match first {
                2 => k::sum(out, inputs[0], inputs[1]),
                _ => k::copy(out, inputs[0]),
            }
            for (source, x) in l.inputs.iter().zip(inputs).skip(first) {
                let channels = graph.shape(*source).channels;
                if channels == l.shape.channels {
                    k::add_into(out, x);
                } else {
                    let n = channels.min(l.shape.channels);
                    k::copy_channels(count * l.shape.area(), x, channels, 0, n, out, l.shape.channels, 0, true);
                }
            }
        }
        Op::ScaleChannels { .. } => {
            product::scale_channels(l.shape.area(), l.shape.channels, inputs[0], inputs[1], out)
        }
        Op::Sam { .. } => {
            out.fill(0.0);
            product::multiply_add(inputs[0], inputs[1], out);
        }
        Op::Convolution(_) | Op::Dropout { .. } | Op::Yolo(_) => unreachable!("{} is no layer of this kind", l.place),
    }
}
