//! ONNX, operator set 13: the oldest with a scale for each channel in quantised nets, read by every current runtime.

mod builder;
mod decode;
mod operators;
#[cfg(test)]
mod tests;

use prost::Message;

pub use builder::{GraphBuilder, Side};
pub use operators::{ConvTensors, float_tensors, write_activation, write_node, write_operator};

use super::folded::{FoldedNet, Head, Operator, Value};
use super::heads::{self, FIT, VALUES};
use super::proto::onnx::ModelProto;
use super::{Colour, ExportedFile};
use crate::Result;

/// Name of the input tensor, `[images, channels, rows, columns]`, 0 to 1.
pub const INPUT: &str = "images";

/// Name of the output with decoded boxes.
pub const BOXES: &str = "boxes";

/// How a net is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Any number of images at once; else one.
    pub dynamic_batch: bool,
    /// One output `boxes`, `[images, boxes, 5 + classes]`, instead of the raw heads: centre, width and height in pixels
    /// of the net's input, objectness, and the probability of each class. Boxes are ordered by head, anchor, row and
    /// column.
    pub decode: bool,
    /// The colours of the images that the net reads; said in the file. The caller has already given the net that order.
    pub colour: Colour,
}

/// The bytes of an ONNX file that computes `net`.
///
/// # Errors
/// A layer that ONNX has no words for; `decode` for a net without heads.
pub fn write(net: &FoldedNet, options: OnnxOptions) -> Result<Vec<u8>> {
    Ok(model(net, options)?.encode_to_vec())
}

/// The model that computes `net`.
///
/// # Errors
/// As [`write()`].
pub fn model(net: &FoldedNet, options: OnnxOptions) -> Result<ModelProto> {
    net.check_pools("ONNX")?;
    let batch = batch(options.dynamic_batch);
    let mut graph = GraphBuilder::new("detector");
    graph.input(INPUT, &sides(batch, net.input));
    for (i, node) in net.nodes.iter().enumerate() {
        let inputs: Vec<String> = node.inputs.iter().map(|input| tensor_name(net, *input)).collect();
        let tensors = match &node.operator {
            Operator::Convolution(c) => Some(float_tensors(&mut graph, &node.name, c)),
            _ => None,
        };
        write_node(&mut graph, net, i, &inputs, tensors.as_ref(), &tensor_name(net, Value::Node(i)));
    }
    write_heads(&mut graph, net, options)?;
    Ok(graph.finish(properties(options)))
}

/// What a program that runs the file should know, as the model's metadata.
#[must_use]
pub fn properties(options: OnnxOptions) -> Vec<(&'static str, &'static str)> {
    let outputs = if options.decode { "decoded boxes" } else { "raw heads" };
    vec![("colours", options.colour.name()), ("values", VALUES), ("fit", FIT), ("outputs", outputs)]
}

/// `NAME.heads.json`: what a program that runs the file has to know of its input and outputs.
///
/// # Errors
/// None that an input can cause.
pub fn describe(net: &FoldedNet, name: &str, options: OnnxOptions) -> Result<ExportedFile> {
    if !options.decode {
        let outputs: Vec<String> = net.heads.iter().map(|head| head.name.clone()).collect();
        return heads::describe_heads(net, name, INPUT, &outputs, options.colour);
    }
    heads::describe_boxes(net, name, INPUT, BOXES, options.colour)
}

/// The outputs of a graph that has the tensors of all nodes already, named by [`tensor_name`].
///
/// # Errors
/// `decode` for a net without heads.
pub fn write_heads(graph: &mut GraphBuilder, net: &FoldedNet, options: OnnxOptions) -> Result<()> {
    let batch = batch(options.dynamic_batch);
    for (i, head) in net.heads.iter().enumerate() {
        // A map has one name; a head that is the image, or another head too, gets its own by a copy.
        let tensor = tensor_name(net, head.value);
        if tensor != head.name {
            graph.node("Identity", &[&tensor], &head.name, vec![]);
        }
        if options.decode {
            decode::head(graph, net, i)?;
        } else {
            graph.output(&head.name, &sides(batch, net.shape(head.value)));
        }
    }
    if options.decode {
        decode::join(graph, net, batch);
    }
    Ok(())
}

/// The name of a value's tensor: the head's that it is, else the node's.
#[must_use]
pub fn tensor_name(net: &FoldedNet, value: Value) -> String {
    let is_this = |head: &&Head| head.value == value;
    match (value, net.heads.iter().find(is_this)) {
        (Value::Image, _) => INPUT.to_owned(),
        (Value::Node(_), Some(head)) => head.name.clone(),
        (Value::Node(i), None) => net.nodes[i].name.clone(),
    }
}

/// The side of the images of a batch.
pub(crate) fn batch(dynamic: bool) -> Side<'static> {
    if dynamic { Side::Named("batch") } else { Side::Fixed(1) }
}

/// The sides of a map of each image of a batch.
pub(crate) fn sides(batch: Side<'static>, shape: crate::graph::Shape) -> [Side<'static>; 4] {
    [batch, Side::Fixed(shape.channels), Side::Fixed(shape.height), Side::Fixed(shape.width)]
}
