//! Each node as ONNX's operators.

use super::builder::GraphBuilder;
use crate::export::folded::{FoldedConvolution, FoldedNet, Operator};
use crate::export::proto::onnx::AttributeProto;
use crate::graph::{Activation, MaxPool, Shape};

/// The tensors that a convolution reads beside its input, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvTensors {
    /// `[filters, channels_in / groups, size, size]`
    pub kernel: String,
    /// `[filters]`
    pub bias: String,
}

/// Adds a convolution's numbers as constants `NAME.weight` and `NAME.bias`.
pub fn float_tensors(graph: &mut GraphBuilder, name: &str, c: &FoldedConvolution) -> ConvTensors {
    ConvTensors {
        kernel: graph.floats(format!("{name}.weight"), &c.kernel_shape(), &c.kernel),
        bias: graph.floats(format!("{name}.bias"), &[c.filters], &c.bias),
    }
}

/// Adds the operators of one node of `net`, its activation too: they read the tensors `inputs` (and `tensors`, if it is
/// a convolution) and write the tensor `output`. The numbers need not be the node's own: a quantised net passes
/// tensors that were dequantised.
pub fn write_node(
    graph: &mut GraphBuilder,
    net: &FoldedNet,
    node: usize,
    inputs: &[String],
    tensors: Option<&ConvTensors>,
    output: &str,
) {
    let activation = net.nodes[node].activation;
    if activation == Activation::Linear {
        return write_operator(graph, net, node, inputs, tensors, output);
    }
    let linear = format!("{output}.linear");
    write_operator(graph, net, node, inputs, tensors, &linear);
    write_activation(graph, activation, &linear, output);
}

/// [`write_node`] without the node's activation.
pub fn write_operator(
    graph: &mut GraphBuilder,
    net: &FoldedNet,
    node: usize,
    inputs: &[String],
    tensors: Option<&ConvTensors>,
    output: &str,
) {
    let node = &net.nodes[node];
    let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    match &node.operator {
        Operator::Convolution(c) => {
            let weights = tensors.iter().flat_map(|t| [t.kernel.as_str(), t.bias.as_str()]);
            let names: Vec<&str> = names.into_iter().chain(weights).collect();
            graph.node("Conv", &names, output, convolution(c));
        }
        Operator::MaxPool(pool) => graph.node("MaxPool", &names, output, max_pool(pool)),
        Operator::Upsample { stride } => upsample(graph, names[0], *stride, output),
        Operator::Concat => graph.node("Concat", &names, output, vec![AttributeProto::int("axis", 1)]),
        Operator::Slice { first } => slice(graph, names[0], 1, *first..first + node.shape.channels, output),
        Operator::Add => graph.node("Add", &names, output, vec![]),
        Operator::Multiply | Operator::Scale => graph.node("Mul", &names, output, vec![]),
        Operator::Reorg { stride } => reorg(graph, names[0], net.shape(node.inputs[0]), *stride, output),
        Operator::AveragePool => graph.node("GlobalAveragePool", &names, output, vec![]),
    }
}

/// Adds a slice of one axis.
pub(super) fn slice(graph: &mut GraphBuilder, input: &str, axis: i64, range: std::ops::Range<usize>, output: &str) {
    let starts = graph.integers(format!("{output}.starts"), &[range.start as i64]);
    let ends = graph.integers(format!("{output}.ends"), &[range.end as i64]);
    let axes = graph.integers(format!("{output}.axes"), &[axis]);
    graph.node("Slice", &[input, &starts, &ends, &axes], output, vec![]);
}

/// Adds a change of shape; a 0 keeps the input's side.
pub(super) fn reshape(graph: &mut GraphBuilder, input: &str, sides: &[i64], output: &str) {
    let shape = graph.integers(format!("{output}.shape"), sides);
    graph.node("Reshape", &[input, &shape], output, vec![]);
}

fn convolution(c: &FoldedConvolution) -> Vec<AttributeProto> {
    vec![
        AttributeProto::ints("kernel_shape", vec![c.size as i64; 2]),
        AttributeProto::ints("strides", vec![c.stride_y as i64, c.stride_x as i64]),
        AttributeProto::ints("pads", vec![c.pad as i64; 4]),
        AttributeProto::ints("dilations", vec![c.dilation as i64; 2]),
        AttributeProto::int("group", c.groups as i64),
    ]
}

fn max_pool(pool: &MaxPool) -> Vec<AttributeProto> {
    let before = (pool.padding / 2) as i64;
    let after = pool.padding as i64 - before;
    vec![
        AttributeProto::ints("kernel_shape", vec![pool.size as i64; 2]),
        AttributeProto::ints("strides", vec![pool.stride_y as i64, pool.stride_x as i64]),
        AttributeProto::ints("pads", vec![before, before, after, after]),
    ]
}

fn upsample(graph: &mut GraphBuilder, input: &str, stride: usize, output: &str) {
    // TensorRT 7 reads scales from a constant only, and these modes only.
    let scales = graph.floats(format!("{output}.scales"), &[4], &[1.0, 1.0, stride as f32, stride as f32]);
    let modes = [("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")];
    let attributes = modes.map(|(name, mode)| AttributeProto::string(name, mode)).to_vec();
    graph.node("Resize", &[input, "", &scales], output, attributes);
}

/// Darknet reads the map as one of `stride` times the sides and `1 / stride^2` of the channels, puts the positions
/// within the blocks of that before its channels, and reads the result as the output's shape.
fn reorg(graph: &mut GraphBuilder, input: &str, from: Shape, stride: usize, output: &str) {
    let [c, h, w, s] = [from.channels, from.height, from.width, stride].map(|n| n as i64);
    let [blocks, moved] = ["blocks", "moved"].map(|what| format!("{output}.{what}"));
    reshape(graph, input, &[0, c / (s * s), h, s, w, s], &blocks);
    graph.node("Transpose", &[&blocks], &moved, vec![AttributeProto::ints("perm", vec![0, 3, 5, 1, 2, 4])]);
    reshape(graph, &moved, &[0, c * s * s, h / s, w / s], output);
}

/// Adds an activation. Those that operator set 13 lacks are put together from what it has.
pub fn write_activation(graph: &mut GraphBuilder, activation: Activation, input: &str, output: &str) {
    let alpha = |alpha| vec![AttributeProto::float("alpha", alpha)];
    match activation {
        Activation::Linear => graph.node("Identity", &[input], output, vec![]),
        Activation::Leaky => graph.node("LeakyRelu", &[input], output, alpha(0.1)),
        Activation::Relu => graph.node("Relu", &[input], output, vec![]),
        Activation::Relu6 => clip(graph, input, [0.0, 6.0], output),
        Activation::Hardtan => clip(graph, input, [-1.0, 1.0], output),
        Activation::Logistic => graph.node("Sigmoid", &[input], output, vec![]),
        Activation::Tanh => graph.node("Tanh", &[input], output, vec![]),
        Activation::Elu => graph.node("Elu", &[input], output, alpha(1.0)),
        Activation::Swish => gated(graph, input, output, |graph, gate| graph.node("Sigmoid", &[input], gate, vec![])),
        Activation::Mish => gated(graph, input, output, |graph, gate| {
            let softplus = format!("{output}.softplus");
            graph.node("Softplus", &[input], &softplus, vec![]);
            graph.node("Tanh", &[&softplus], gate, vec![]);
        }),
        Activation::HardSwish => hard_gated(graph, input, output, [1.0 / 6.0, 0.5]),
        // x (x + 2) / 2 between -2 and 0 is x times a gate as well.
        Activation::HardMish => hard_gated(graph, input, output, [0.5, 1.0]),
    }
}

fn clip(graph: &mut GraphBuilder, input: &str, [low, high]: [f32; 2], output: &str) {
    let low = graph.floats(format!("{output}.min"), &[], &[low]);
    let high = graph.floats(format!("{output}.max"), &[], &[high]);
    graph.node("Clip", &[input, &low, &high], output, vec![]);
}

/// The input times what `gate` makes of it.
fn gated(graph: &mut GraphBuilder, input: &str, output: &str, gate: impl FnOnce(&mut GraphBuilder, &str)) {
    let name = format!("{output}.gate");
    gate(graph, &name);
    graph.node("Mul", &[input, &name], output, vec![]);
}

/// The input times `min(max(alpha x + beta, 0), 1)`.
fn hard_gated(graph: &mut GraphBuilder, input: &str, output: &str, [alpha, beta]: [f32; 2]) {
    gated(graph, input, output, |graph, gate| {
        let attributes = vec![AttributeProto::float("alpha", alpha), AttributeProto::float("beta", beta)];
        graph.node("HardSigmoid", &[input], gate, attributes);
    });
}
