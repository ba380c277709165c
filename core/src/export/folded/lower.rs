//! From a network to the nodes that compute it.

use super::{FoldedConvolution, FoldedNet, Head, Node, Operator, Value};
use crate::Network;
use crate::graph::{Activation, Convolution, Op, Shape, Source};
use crate::network::ConvWeights;

impl FoldedNet {
    /// The nodes that compute the heads of `network` (its last map where it has no head).
    #[must_use]
    pub fn of(network: &Network) -> Self {
        let mut lowering = Lowering { network, nodes: Vec::new(), values: Vec::new() };
        for layer in 0..network.graph.layers.len() {
            let value = lowering.layer(layer);
            lowering.values.push(value);
        }
        let head = |(i, (value, yolo))| Head { name: format!("head{i}"), value, yolo };
        let found = network.graph.heads().map(|(layer, yolo)| (lowering.values[layer], Some(yolo.clone())));
        let mut heads: Vec<Head> = found.enumerate().map(head).collect();
        if heads.is_empty() {
            heads.extend(lowering.values.last().map(|value| head((0, (*value, None)))));
        }
        Self { input: network.graph.input, nodes: lowering.nodes, heads }.without_unused()
    }

    /// The same net without nodes that no head depends on.
    fn without_unused(self) -> Self {
        let mut used = vec![false; self.nodes.len()];
        let mark = |used: &mut Vec<bool>, value: &Value| {
            if let Value::Node(i) = value {
                used[*i] = true;
            }
        };
        self.heads.iter().for_each(|head| mark(&mut used, &head.value));
        for i in (0..self.nodes.len()).rev() {
            if used[i] {
                self.nodes[i].inputs.iter().for_each(|input| mark(&mut used, input));
            }
        }
        let moved = |value: Value| match value {
            Value::Image => Value::Image,
            Value::Node(i) => Value::Node(used[..i].iter().filter(|used| **used).count()),
        };
        let nodes = self
            .nodes
            .into_iter()
            .zip(&used)
            .filter(|(_, used)| **used)
            .map(|(node, _)| Node { inputs: node.inputs.iter().map(|input| moved(*input)).collect(), ..node });
        let heads = self.heads.into_iter().map(|head| Head { value: moved(head.value), ..head });
        Self { input: self.input, nodes: nodes.collect(), heads: heads.collect() }
    }
}

struct Lowering<'a> {
    network: &'a Network,
    nodes: Vec<Node>,
    /// What each layer so far gives.
    values: Vec<Value>,
}

impl Lowering<'_> {
    fn layer(&mut self, layer: usize) -> Value {
        let l = &self.network.graph.layers[layer];
        let inputs: Vec<Value> = l.inputs.iter().map(|source| self.value(*source)).collect();
        let before = || vec![inputs[0]];
        let linear = Activation::Linear;
        match &l.op {
            Op::Convolution(c) => {
                let convolution = Operator::Convolution(folded(c, self.network.conv(layer)));
                self.push(layer, convolution, c.activation, before(), l.shape)
            }
            Op::MaxPool(pool) => self.push(layer, Operator::MaxPool(*pool), linear, before(), l.shape),
            Op::Upsample { stride } => {
                self.push(layer, Operator::Upsample { stride: *stride }, linear, before(), l.shape)
            }
            Op::Reorg { stride } => self.push(layer, Operator::Reorg { stride: *stride }, linear, before(), l.shape),
            Op::AveragePool => self.push(layer, Operator::AveragePool, linear, before(), l.shape),
            Op::Dropout { .. } | Op::Yolo(_) => inputs[0],
            Op::Route { groups, group_id } => self.route(layer, &inputs, *groups, *group_id),
            Op::Shortcut { activation } => self.shortcut(layer, &inputs, *activation),
            Op::ScaleChannels { activation } => {
                self.push(layer, Operator::Scale, *activation, vec![inputs[1], inputs[0]], l.shape)
            }
            Op::Sam { activation } => self.push(layer, Operator::Multiply, *activation, inputs, l.shape),
        }
    }

    fn route(&mut self, layer: usize, inputs: &[Value], groups: usize, group: usize) -> Value {
        let parts: Vec<Value> = inputs
            .iter()
            .map(|input| {
                let width = self.shape(*input).channels / groups;
                self.slice(layer, *input, group * width, width)
            })
            .collect();
        self.concat(layer, &parts)
    }

    /// The sum of all inputs over the channels they have in common with the first.
    fn shortcut(&mut self, layer: usize, inputs: &[Value], activation: Activation) -> Value {
        let mut sum = inputs[0];
        for other in &inputs[1..] {
            let (here, there) = (self.shape(sum).channels, self.shape(*other).channels);
            let common = here.min(there);
            let parts = [self.slice(layer, sum, 0, common), self.slice(layer, *other, 0, common)];
            let shape = self.shape(parts[0]);
            let added = self.push(layer, Operator::Add, Activation::Linear, parts.to_vec(), shape);
            let rest = (common < here).then(|| self.slice(layer, sum, common, here - common));
            sum = self.concat(layer, &[Some(added), rest].into_iter().flatten().collect::<Vec<_>>());
        }
        // A shortcut has an input beside the layer before, so the last node is this layer's.
        if let Value::Node(last) = sum {
            self.nodes[last].activation = activation;
        }
        sum
    }

    /// `width` channels of a value, from the `first` on.
    fn slice(&mut self, layer: usize, value: Value, first: usize, width: usize) -> Value {
        let shape = self.shape(value);
        if shape.channels == width {
            return value;
        }
        self.push(layer, Operator::Slice { first }, Activation::Linear, vec![value], Shape { channels: width, ..shape })
    }

    fn concat(&mut self, layer: usize, parts: &[Value]) -> Value {
        if let [single] = parts {
            return *single;
        }
        let channels = parts.iter().map(|part| self.shape(*part).channels).sum();
        let shape = Shape { channels, ..self.shape(parts[0]) };
        self.push(layer, Operator::Concat, Activation::Linear, parts.to_vec(), shape)
    }

    fn push(
        &mut self,
        layer: usize,
        operator: Operator,
        activation: Activation,
        inputs: Vec<Value>,
        shape: Shape,
    ) -> Value {
        let stem = format!("{}{layer}", kind(&operator));
        let same = self.nodes.iter().rev().take_while(|node| node.layer == layer);
        let earlier = same.filter(|node| kind(&node.operator) == kind(&operator)).count();
        let name = if earlier == 0 { stem } else { format!("{stem}_{earlier}") };
        let place = self.network.graph.layers[layer].place.clone();
        self.nodes.push(Node { name, operator, activation, inputs, shape, layer, place });
        Value::Node(self.nodes.len() - 1)
    }

    fn value(&self, source: Source) -> Value {
        source.layer().map_or(Value::Image, |layer| self.values[layer])
    }

    fn shape(&self, value: Value) -> Shape {
        match value {
            Value::Image => self.network.graph.input,
            Value::Node(i) => self.nodes[i].shape,
        }
    }
}

fn kind(operator: &Operator) -> &'static str {
    match operator {
        Operator::Convolution(_) => "conv",
        Operator::MaxPool(_) => "pool",
        Operator::Upsample { .. } => "upsample",
        Operator::Concat => "concat",
        Operator::Slice { .. } => "slice",
        Operator::Add => "add",
        Operator::Multiply => "multiply",
        Operator::Scale => "scale",
        Operator::Reorg { .. } => "reorg",
        Operator::AveragePool => "average",
    }
}

fn folded(c: &Convolution, weights: &ConvWeights) -> FoldedConvolution {
    let (kernel, bias) = weights.folded();
    FoldedConvolution {
        size: c.size,
        stride_y: c.stride_y,
        stride_x: c.stride_x,
        pad: c.pad,
        dilation: c.dilation,
        groups: c.groups,
        filters: c.filters,
        kernel,
        bias,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Cfg;

    fn lowered(layers: &str) -> FoldedNet {
        let text = format!("[net]\nwidth=8\nheight=8\nchannels=4\n{layers}");
        FoldedNet::of(&Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap())
    }

    fn told(net: &FoldedNet) -> Vec<String> {
        let name = |value: &Value| match value {
            Value::Image => "image".to_owned(),
            Value::Node(i) => net.nodes[*i].name.clone(),
        };
        let node = |n: &Node| {
            format!("{}({}) {}", n.name, n.inputs.iter().map(name).collect::<Vec<_>>().join(","), n.shape.channels)
        };
        net.nodes.iter().map(node).chain(net.heads.iter().map(|h| format!("{}={}", h.name, name(&h.value)))).collect()
    }

    #[test]
    fn what_passes_its_input_on_is_no_node_and_what_no_head_needs_is_gone() {
        let net = lowered(
            "[convolutional]\nfilters=6\n[convolutional]\nfilters=9\n[dropout]\n[route]\nlayers=0\n\
             [convolutional]\nfilters=6\nactivation=linear\n[yolo]\nmask=0\nanchors=1,1\nclasses=1\n",
        );
        assert_eq!(told(&net), ["conv0(image) 6", "conv4(conv0) 6", "head0=conv4"]);
    }

    #[test]
    fn a_route_by_groups_slices_each_input() {
        let net = lowered("[convolutional]\nfilters=6\n[route]\nlayers=0,0\ngroups=2\ngroup_id=1\n");
        assert_eq!(
            told(&net),
            ["conv0(image) 6", "slice1(conv0) 3", "slice1_1(conv0) 3", "concat1(slice1,slice1_1) 6", "head0=concat1"]
        );
        assert!(matches!(net.nodes[1].operator, Operator::Slice { first: 3 }));
    }

    #[test]
    fn a_shortcut_adds_the_channels_in_common_and_activates_last() {
        let wide = "[convolutional]\nfilters=6\n[convolutional]\nfilters=4\n[shortcut]\nfrom=0\nactivation=leaky\n";
        let net = lowered(wide);
        assert_eq!(told(&net)[2..4], ["slice2(conv0) 4", "add2(conv1,slice2) 4"]);
        assert_eq!(net.nodes[3].activation, Activation::Leaky);
        let net = lowered(&wide.replace("filters=6", "filters=3"));
        assert_eq!(
            told(&net)[2..],
            [
                "slice2(conv1) 3",
                "add2(slice2,conv0) 3",
                "slice2_1(conv1) 1",
                "concat2(add2,slice2_1) 4",
                "head0=concat2"
            ]
        );
        assert_eq!((net.nodes[3].activation, net.nodes[5].activation), (Activation::Linear, Activation::Leaky));
    }
}
