//! A quantised net as ONNX, operator set 13, with QuantizeLinear and DequantizeLinear around every tensor of 8 bits:
//! runtimes put integer kernels in place of an operator between them.

use prost::Message;

use super::{Linear, Profile, Quantisation, Quantiser, Scheme, filter_scales};
use crate::export::folded::{FoldedConvolution, FoldedNet, Node, Operator, Value};
use crate::export::onnx::{
    self, ConvTensors, GraphBuilder, INPUT, OnnxOptions, float_tensors, tensor_name, write_activation, write_operator,
};
use crate::export::proto::onnx::{AttributeProto, ModelProto, TensorProto};
use crate::graph::Activation;
use crate::{Error, Network, Result};

/// The image after its rounding.
const ROUNDED_INPUT: &str = "images.rounded";

/// The bytes of an ONNX file that computes `network`, whose normalisation is folded, as `quantisation` says.
///
/// # Errors
/// A scheme that ONNX has no operators for; a net that ONNX has no words for; `decode` for a net without heads.
pub fn write(network: &Network, quantisation: &Quantisation, options: OnnxOptions) -> Result<Vec<u8>> {
    Ok(model(network, quantisation, options)?.encode_to_vec())
}

/// The model that [`write()`] encodes.
///
/// # Errors
/// As [`write()`].
pub fn model(network: &Network, quantisation: &Quantisation, options: OnnxOptions) -> Result<ModelProto> {
    let Scheme::Int8(profile) = quantisation.scheme else {
        return Err(Error::at("ONNX", "it has no logarithmic codes").fix("export the net for NNIE in Caffe's format"));
    };
    let net = FoldedNet::of(network);
    net.check_pools("ONNX")?;
    let mut writer = Writer { graph: GraphBuilder::new("detector"), net: &net, network, quantisation, profile };
    writer.graph.input(INPUT, &onnx::sides(onnx::batch(options.dynamic_batch), net.input));
    if let Some(grid) = quantisation.image {
        writer.round(grid, INPUT, ROUNDED_INPUT);
    }
    for node in 0..net.nodes.len() {
        writer.node(node);
    }
    onnx::write_heads(&mut writer.graph, &net, options)?;
    let mut properties = onnx::properties(options);
    let profile = match profile {
        Profile::OnnxRuntime => "int8 for ONNX Runtime",
        Profile::TensorRt => "int8 for TensorRT",
    };
    properties.push(("quantisation", profile));
    Ok(writer.graph.finish(properties))
}

struct Writer<'a> {
    graph: GraphBuilder,
    net: &'a FoldedNet,
    network: &'a Network,
    quantisation: &'a Quantisation,
    profile: Profile,
}

impl Writer<'_> {
    /// The operators of one node; what others read by its name is the rounded output.
    fn node(&mut self, at: usize) {
        let node = &self.net.nodes[at];
        let inputs: Vec<String> = node.inputs.iter().map(|input| self.tensor(*input)).collect();
        let tensors = match &node.operator {
            Operator::Convolution(c) if self.quantisation.quantises(node.layer) => {
                Some(self.quantised_tensors(node, c))
            }
            Operator::Convolution(c) => Some(float_tensors(&mut self.graph, &node.name, c)),
            _ => None,
        };
        let name = tensor_name(self.net, Value::Node(at));
        let grid = self.grid(at);
        let computed = if grid.is_some() { format!("{name}.raw") } else { name.clone() };
        match (node.activation, self.quantisation.before[node.layer]) {
            (Activation::Linear, _) => {
                write_operator(&mut self.graph, self.net, at, &inputs, tensors.as_ref(), &computed);
            }
            (activation, before) => {
                let linear = format!("{name}.linear");
                let sum = if before.is_some() { format!("{linear}.raw") } else { linear.clone() };
                write_operator(&mut self.graph, self.net, at, &inputs, tensors.as_ref(), &sum);
                before.into_iter().for_each(|grid| self.round(grid, &sum, &linear));
                write_activation(&mut self.graph, activation, &linear, &computed);
            }
        }
        grid.into_iter().for_each(|grid| self.round(grid, &computed, &name));
    }

    /// The tensor that readers of `value` read.
    fn tensor(&self, value: Value) -> String {
        match value {
            Value::Image if self.quantisation.image.is_some() => ROUNDED_INPUT.to_owned(),
            _ => tensor_name(self.net, value),
        }
    }

    /// The grid of a node's output: its layer's, where it is the layer's last node, or what it moves.
    fn grid(&self, at: usize) -> Option<Quantiser> {
        let node = &self.net.nodes[at];
        match node.operator {
            Operator::MaxPool(_) | Operator::Upsample { .. } | Operator::Slice { .. } | Operator::Reorg { .. } => {
                match node.inputs[0] {
                    Value::Image => self.quantisation.image,
                    Value::Node(input) => self.grid(input),
                }
            }
            _ => {
                let last = self.net.nodes.get(at + 1).is_none_or(|next| next.layer != node.layer);
                self.quantisation.after[node.layer].filter(|_| last)
            }
        }
    }

    /// Rounds the tensor `from` to a grid: `to` has the rounded numbers.
    fn round(&mut self, grid: Quantiser, from: &str, to: &str) {
        let Quantiser::Linear(Linear { scale, zero_point }) = grid else { return };
        let scale = self.graph.floats(format!("{to}.scale"), &[], &[scale]);
        let zero = self.graph.constant(format!("{to}.zero"), &[], TensorProto::INT8, vec![zero_point as u8]);
        let codes = format!("{to}.codes");
        self.graph.node("QuantizeLinear", &[from, &scale, &zero], &codes, vec![]);
        self.graph.node("DequantizeLinear", &[&codes, &scale, &zero], to, vec![]);
    }

    /// A convolution's numbers on their grids.
    fn quantised_tensors(&mut self, node: &Node, c: &FoldedConvolution) -> ConvTensors {
        let input = self.quantisation.input_grid(&self.network.graph, node.layer);
        let step = self.profile.bias_step(input);
        let scales = filter_scales(&c.kernel, &c.bias, step);
        let (kernel, bias) = (format!("{}.weight", node.name), format!("{}.bias", node.name));
        match self.profile {
            Profile::OnnxRuntime => self.weight_codes(&kernel, c, &scales),
            Profile::TensorRt => self.rounded_weights(&kernel, c, &scales),
        }
        match step {
            None => {
                self.graph.floats(bias.clone(), &[c.filters], &c.bias);
            }
            Some(input) => {
                let steps: Vec<f32> = scales.iter().map(|scale| scale * input).collect();
                let codes = c.bias.iter().zip(&steps).map(|(bias, step)| (bias / step).round_ties_even() as i32);
                let bytes = codes.flat_map(i32::to_le_bytes).collect();
                self.filters(&bias, &[c.filters], TensorProto::INT32, bytes, &steps);
            }
        }
        ConvTensors { kernel, bias }
    }

    /// Weights as codes of 8 bits, which an operator turns into numbers.
    fn weight_codes(&mut self, name: &str, c: &FoldedConvolution, scales: &[f32]) {
        let grids: Vec<Linear> = scales.iter().map(|&scale| Linear { scale, zero_point: 0 }).collect();
        let taps = (c.kernel.len() / c.filters.max(1)).max(1);
        let filters = c.kernel.chunks(taps).zip(&grids);
        let codes = filters.flat_map(|(filter, grid)| filter.iter().map(|w| grid.code(*w) as u8)).collect();
        self.filters(name, &c.kernel_shape(), TensorProto::INT8, codes, scales);
    }

    /// Weights as 32-bit numbers that two operators round: TensorRT up to 8 makes the codes itself, and refuses weights
    /// that are codes already.
    fn rounded_weights(&mut self, name: &str, c: &FoldedConvolution, scales: &[f32]) {
        let float = self.graph.floats(format!("{name}.float"), &c.kernel_shape(), &c.kernel);
        let (scale, zero) = self.filter_grids(name, TensorProto::INT8, scales);
        let (codes, axis) = (format!("{name}.codes"), || vec![AttributeProto::int("axis", 0)]);
        self.graph.node("QuantizeLinear", &[&float, &scale, &zero], &codes, axis());
        self.graph.node("DequantizeLinear", &[&codes, &scale, &zero], name, axis());
    }

    /// Constants of a scale for each filter, with the operator that turns their codes into the tensor `name`.
    fn filters(&mut self, name: &str, sides: &[usize], data_type: i32, codes: Vec<u8>, scales: &[f32]) {
        let codes = self.graph.constant(format!("{name}.codes"), sides, data_type, codes);
        let (scale, zero) = self.filter_grids(name, data_type, scales);
        self.graph.node("DequantizeLinear", &[&codes, &scale, &zero], name, vec![AttributeProto::int("axis", 0)]);
    }

    /// The scale and the zero point, 0, of each filter.
    fn filter_grids(&mut self, name: &str, data_type: i32, scales: &[f32]) -> (String, String) {
        let width = if data_type == TensorProto::INT32 { 4 } else { 1 };
        let scale = self.graph.floats(format!("{name}.scale"), &[scales.len()], scales);
        let zeros = vec![0; width * scales.len()];
        let zero = self.graph.constant(format!("{name}.zero"), &[scales.len()], data_type, zeros);
        (scale, zero)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tensor;
    use super::*;
    use crate::darknet::Cfg;
    use std::collections::BTreeSet;

    const CFG: &str = "[net]\nwidth=8\nheight=8\n\
        [convolutional]\nfilters=4\nsize=3\npad=1\nactivation=leaky\n\
        [maxpool]\nsize=2\nstride=2\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n";

    fn network() -> Network {
        let mut network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        network.conv_mut(0).bias = vec![0.5, -0.25, 0.0, 3.0];
        network
    }

    fn made(scheme: Scheme, float: &[usize]) -> Result<ModelProto> {
        let network = network();
        let grid = |tensor| scheme.activations((0.0, if tensor == Tensor::Image { 1.0 } else { 4.0 }));
        let quantisation = Quantisation::new(&network.graph, scheme, float.iter().copied().collect(), grid);
        model(&network, &quantisation, OnnxOptions::default())
    }

    fn operators(profile: Profile, float: &[usize]) -> String {
        let graph = made(Scheme::Int8(profile), float).unwrap().graph.unwrap();
        let short = |op: &str| match op {
            "QuantizeLinear" => "Q".to_owned(),
            "DequantizeLinear" => "D".to_owned(),
            _ => op.to_owned(),
        };
        graph.node.iter().map(|node| short(&node.op_type)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn operators_of_8_bits_stand_between_roundings() {
        let (ort, trt) = (Profile::OnnxRuntime, Profile::TensorRt);
        assert_eq!(operators(ort, &[2]), "Q D D D Conv Q D LeakyRelu Q D MaxPool Q D Conv");
        assert_eq!(operators(trt, &[2]), "Q D Q D Conv LeakyRelu Q D MaxPool Q D Conv");
        assert_eq!(operators(ort, &[]), "Q D D D Conv Q D LeakyRelu Q D MaxPool Q D D D Conv Q D");
        assert_eq!(operators(trt, &[0, 2]), "Conv LeakyRelu MaxPool Conv");
    }

    #[test]
    fn every_tensor_read_is_there_before_it() {
        let floats = [&[][..], &[2], &[0], &[0, 2]];
        for (float, profile) in floats.into_iter().zip([Profile::OnnxRuntime, Profile::TensorRt].into_iter().cycle()) {
            let graph = made(Scheme::Int8(profile), float).unwrap().graph.unwrap();
            let constants = graph.initializer.iter().map(|t| t.name.clone());
            let mut there: BTreeSet<String> = constants.chain(graph.input.iter().map(|i| i.name.clone())).collect();
            for node in &graph.node {
                assert!(node.input.iter().all(|name| there.contains(name)), "{node:?}");
                node.output.iter().for_each(|name| assert!(there.insert(name.clone()), "{name} is written twice"));
            }
            assert!(graph.output.iter().all(|output| there.contains(&output.name)));
        }
    }

    #[test]
    fn codes_of_weights_and_biases_stand_for_them() {
        let graph = made(Scheme::Int8(Profile::OnnxRuntime), &[2]).unwrap().graph.unwrap();
        let bytes = |name: &str| &graph.initializer.iter().find(|t| t.name == name).unwrap().raw_data;
        let floats = |name: &str| -> Vec<f32> {
            bytes(name).as_chunks().0.iter().map(|b: &[u8; 4]| f32::from_le_bytes(*b)).collect()
        };
        let network = network();
        let scales = floats("conv0.weight.scale");
        for (i, (code, weight)) in bytes("conv0.weight.codes").iter().zip(&network.conv(0).kernel).enumerate() {
            let scale = scales[i / 27];
            assert!((f32::from(*code as i8) * scale - weight).abs() <= 0.501 * scale, "weight {i}");
        }
        let (steps, codes) = (floats("conv0.bias.scale"), bytes("conv0.bias.codes").as_chunks::<4>().0);
        for ((step, code), bias) in steps.iter().zip(codes).zip(&network.conv(0).bias) {
            assert!((i32::from_le_bytes(*code) as f32 * step - bias).abs() <= 0.501 * step, "{bias}");
        }
        assert!(steps.iter().zip(&scales).all(|(step, scale)| (step / scale * 255.0 - 1.0).abs() < 1e-4));
    }

    #[test]
    fn tensorrt_gets_weights_and_biases_in_floating_point_and_no_codes_but_zero_points() {
        let graph = made(Scheme::Int8(Profile::TensorRt), &[2]).unwrap().graph.unwrap();
        let float = |name: &str| graph.initializer.iter().any(|t| t.name == name && t.data_type == TensorProto::FLOAT);
        assert!(float("conv0.weight.float") && float("conv0.bias"));
        for tensor in graph.initializer.iter().filter(|t| t.data_type != TensorProto::FLOAT) {
            let zero = tensor.name.ends_with(".zero") && tensor.raw_data.iter().all(|byte| *byte == 0);
            assert!(zero && tensor.data_type == TensorProto::INT8, "{}", tensor.name);
        }
        let readers: Vec<_> = graph.node.iter().filter(|n| n.input.iter().any(|i| i == "conv0.bias")).collect();
        assert!(readers.len() == 1 && readers[0].op_type == "Conv", "{readers:?}");
        let axes: Vec<_> = graph.node.iter().filter(|n| n.name.starts_with("conv0.weight")).collect();
        assert!(axes.len() == 2 && axes.iter().all(|n| n.attribute[0].name == "axis" && n.attribute[0].i == 0));
    }

    #[test]
    fn logarithmic_codes_are_refused() {
        let message = made(Scheme::Nnie, &[2]).unwrap_err().to_string();
        assert!(message.contains("logarithmic") && message.contains("Caffe"), "{message}");
    }
}
