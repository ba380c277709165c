//! From folded nodes to Caffe's layers.

use super::layer::CaffeLayer;
use super::pool::{self, CaffePool};
use super::{CaffeOptions, Dialect, INPUT, UnevenPool, Upsample};
use crate::export::folded::{FoldedConvolution, FoldedNet, Node, Operator, Value};
use crate::graph::{Activation, MaxPool, Shape};
use crate::{Error, Result};

/// Layers and what is to be known of their blobs.
pub(super) struct Written {
    pub layers: Vec<CaffeLayer>,
    pub heads: Vec<String>,
    pub unused: Vec<String>,
    /// Heads that other layers read too, and that no name makes an output.
    pub read_on: Vec<String>,
    /// What Caffe has no words for. There the layers are those that come closest, for their sizes to be looked at.
    pub refused: Vec<Error>,
}

impl Written {
    /// Whether a blob is a head.
    pub fn is_head(&self, blob: &str) -> bool {
        self.heads.iter().any(|head| head == blob)
    }
}

pub(super) fn lower(net: &FoldedNet, options: &CaffeOptions) -> Written {
    let (blobs, read_on) = blobs(net, options.dialect);
    let mut lowering = Lowering { net, options, blobs, layers: Vec::new(), unused: Vec::new(), refused: Vec::new() };
    lowering.input();
    for node in 0..net.nodes.len() {
        let known = lowering.layers.len();
        if let Err(error) = lowering.node(node) {
            lowering.refused.push(error);
        }
        lowering.layers[known..].iter_mut().for_each(|layer| layer.place.clone_from(&net.nodes[node].place));
    }
    let heads = net.heads.iter().map(|head| lowering.blob(head.value)).collect();
    let Lowering { layers, unused, refused, .. } = lowering;
    Written { layers, heads, unused, read_on, refused }
}

/// The blob of each node: a head's name where it is one. A head that other layers read too is no output by itself;
/// nnie_mapper makes it one because of the ending `_report`, to other compilers it must be named. Gives those names too.
fn blobs(net: &FoldedNet, dialect: Dialect) -> (Vec<String>, Vec<String>) {
    let readers = net.readers();
    let mut read_on = Vec::new();
    let mut blob = |(i, node): (usize, &Node)| match net.heads.iter().find(|head| head.value == Value::Node(i)) {
        Some(head) if !readers[i].is_empty() && dialect == Dialect::Nnie => format!("{}_report", head.name),
        Some(head) => {
            read_on.extend((!readers[i].is_empty()).then(|| head.name.clone()));
            head.name.clone()
        }
        None => node.name.clone(),
    };
    let blobs = net.nodes.iter().enumerate().map(&mut blob).collect();
    (blobs, read_on)
}

struct Lowering<'a> {
    net: &'a FoldedNet,
    options: &'a CaffeOptions,
    blobs: Vec<String>,
    layers: Vec<CaffeLayer>,
    unused: Vec<String>,
    refused: Vec<Error>,
}

impl Lowering<'_> {
    fn input(&mut self) {
        let Shape { channels, height, width } = self.net.input;
        let shape = format!("{{ dim: 1 dim: {channels} dim: {height} dim: {width} }}");
        let mut layer = CaffeLayer::new("Input", INPUT, vec![], vec![INPUT.to_owned()]);
        layer.shapes = vec![self.net.input];
        "net".clone_into(&mut layer.place);
        // A message in a message: the only one of its kind.
        layer.block = Some(("input_param", vec![("shape", shape)]));
        self.layers.push(layer);
    }

    fn node(&mut self, i: usize) -> Result<()> {
        let node = &self.net.nodes[i];
        let high = if self.options.high_precision.contains(&i) { "_hp" } else { "" };
        let name = format!("{}{high}", node.name);
        let bottoms: Vec<String> = node.inputs.iter().map(|input| self.blob(*input)).collect();
        let tops = vec![self.blobs[i].clone()];
        let layer = |kind| CaffeLayer::new(kind, &name, bottoms.clone(), tops.clone()).giving(node.shape);
        match &node.operator {
            Operator::Convolution(c) => self.layers.push(layer("Convolution").convolving(c)),
            Operator::MaxPool(pool) => self.max_pool(node, pool, layer("Pooling")),
            Operator::Upsample { stride } => self.upsample(node, *stride, layer),
            Operator::Concat => self.layers.push(layer("Concat").with("concat_param", &[("axis", &1)])),
            Operator::Slice { first } => {
                let from = (bottoms[0].as_str(), self.net.shape(node.inputs[0]));
                self.slice(&name, from, (1, *first, node.shape.channels), &tops[0]);
            }
            Operator::Add => self.layers.push(layer("Eltwise").with("eltwise_param", &[("operation", &"SUM")])),
            Operator::Multiply => self.layers.push(layer("Eltwise").with("eltwise_param", &[("operation", &"PROD")])),
            Operator::Scale => {
                self.layers.push(layer("Scale"));
                self.refused.push(scaled(node));
            }
            Operator::Reorg { stride } => {
                let sides: [(&str, &dyn std::fmt::Display); 2] = [("block_height", stride), ("block_width", stride)];
                self.layers.push(layer("PassThrough").with("pass_through_param", &sides));
            }
            Operator::AveragePool => {
                self.layers
                    .push(layer("Pooling").with("pooling_param", &[("pool", &"AVE"), ("global_pooling", &true)]));
            }
        }
        self.activation(node, &name, &self.blobs[i].clone())
    }

    fn blob(&self, value: Value) -> String {
        match value {
            Value::Image => INPUT.to_owned(),
            Value::Node(i) => self.blobs[i].clone(),
        }
    }

    fn activation(&mut self, node: &Node, name: &str, blob: &str) -> Result<()> {
        let kind = match node.activation {
            Activation::Linear => return Ok(()),
            Activation::Leaky | Activation::Relu => "ReLU",
            Activation::Logistic => "Sigmoid",
            Activation::Tanh => "TanH",
            Activation::Elu => "ELU",
            other => {
                let cause = format!("activation={} is no layer of Caffe's that the chip has", other.name());
                return Err(Error::at(&node.place, cause)
                    .fix("write activation=leaky there, and train the net again from these weights"));
            }
        };
        // An ending that means something to the mapper is the convolution's, not the activation's.
        let name = format!("{}_{}", name.trim_end_matches("_hp"), kind.to_lowercase());
        let layer = CaffeLayer::new(kind, &name, vec![blob.to_owned()], vec![blob.to_owned()]).giving(node.shape);
        self.layers.push(match node.activation {
            Activation::Leaky => layer.with("relu_param", &[("negative_slope", &0.1)]),
            _ => layer,
        });
        Ok(())
    }

    fn upsample(&mut self, node: &Node, stride: usize, layer: impl Fn(&'static str) -> CaffeLayer) {
        self.layers.push(match (self.options.upsample, self.options.dialect) {
            (Upsample::Deconvolution, _) => layer("Deconvolution").repeating(node.shape.channels, stride),
            (Upsample::Upsample, Dialect::Nnie) => layer("Upsample").with("upsample_param", &[("scale", &stride)]),
            (Upsample::Upsample, Dialect::SvpNpu) => {
                layer("Upsample").with("upsample_param", &[("scale", &1), ("stride", &stride)])
            }
        });
    }

    /// A slice of the map `from` along `axis`: `wanted` from `first` on. What is left over gets blobs that nobody reads.
    fn slice(&mut self, name: &str, from: (&str, Shape), (axis, first, wanted): (usize, usize, usize), to: &str) {
        let (from, shape) = from;
        let side = |length: usize| match axis {
            1 => Shape { channels: length, ..shape },
            2 => Shape { height: length, ..shape },
            _ => Shape { width: length, ..shape },
        };
        let all = [shape.channels, shape.height, shape.width][axis - 1];
        let mut tops = vec![to.to_owned()];
        let mut shapes = vec![side(wanted)];
        let mut points = Vec::new();
        if first > 0 {
            tops.insert(0, format!("{to}_low"));
            shapes.insert(0, side(first));
            points.push(first);
        }
        if first + wanted < all {
            tops.push(format!("{to}_high"));
            shapes.push(side(all - first - wanted));
            points.push(first + wanted);
        }
        self.unused.extend(tops.iter().filter(|top| *top != to).cloned());
        let mut layer = CaffeLayer::new("Slice", name, vec![from.to_owned()], tops);
        layer.shapes = shapes;
        let keys = [("axis", axis.to_string())].into_iter();
        let points = points.iter().map(|point| ("slice_point", point.to_string()));
        layer.block = Some(("slice_param", keys.chain(points).collect()));
        self.layers.push(layer);
    }

    fn max_pool(&mut self, node: &Node, pool: &MaxPool, mut layer: CaffeLayer) {
        let refused = |cause: String| {
            Error::at(&node.place, cause).fix(
                "train the net with a max pool of stride 2, or one of odd size and stride 1, in this place; or export \
                 ONNX",
            )
        };
        let found = pool::in_caffe(pool, self.net.shape(node.inputs[0]), node.shape).unwrap_or_else(|| {
            let cause = format!("a max pool of size={} padding={} is no layer of Caffe's", pool.size, pool.padding);
            self.refused.push(refused(cause));
            CaffePool { pad: pool.padding / 2, shape: node.shape, skipped: 0 }
        });
        let whole = found.shape == node.shape;
        if !whole && self.options.uneven_pool == UnevenPool::Refuse {
            self.refused.push(refused(format!(
                "a max pool of size={} stride={} is no single layer of Caffe's, and such pools are to be refused",
                pool.size, pool.stride_y
            )));
        }
        let (name, top) = (layer.name.clone(), layer.tops[0].clone());
        let padded = format!("{}_padded", node.name);
        if !whole {
            layer.tops = vec![padded.clone()];
            layer.name = format!("{}_padded", node.name);
            layer.shapes = vec![found.shape];
        }
        let (size, stride) = (pool.size, pool.stride_y);
        let keys: [(&str, &dyn std::fmt::Display); 4] =
            [("pool", &"MAX"), ("kernel_size", &size), ("stride", &stride), ("pad", &found.pad)];
        self.layers.push(layer.with("pooling_param", &keys));
        match (whole, self.options.uneven_pool, found.margin(node.shape)) {
            (true, ..) => {}
            (false, UnevenPool::Convolution, Some(margin)) => {
                let crop = CaffeLayer::new("Convolution", &name, vec![padded], vec![top]).giving(node.shape);
                self.layers.push(crop.convolving(&tap(node.shape.channels, margin + 1, found.skipped)));
            }
            (false, ..) => self.cut(&name, &padded, &found, node.shape, &top),
        }
    }

    /// The wanted rows, and of them the wanted columns.
    fn cut(&mut self, name: &str, from: &str, found: &CaffePool, to: Shape, top: &str) {
        let rows = format!("{name}_rows");
        let (skipped, all) = (found.skipped, found.shape);
        let (rows_differ, columns_differ) = (all.height != to.height, all.width != to.width);
        let cut_rows = if columns_differ { rows.as_str() } else { top };
        if rows_differ {
            let name = if columns_differ { &rows } else { name };
            self.slice(name, (from, all), (2, skipped, to.height), cut_rows);
        }
        if columns_differ {
            let (from, height) = if rows_differ { (cut_rows, to.height) } else { (from, all.height) };
            self.slice(name, (from, Shape { height, ..all }), (3, skipped, to.width), top);
        }
    }
}

impl CaffePool {
    /// How many rows, and as many columns, there are beside the wanted part; none where they are not as many.
    fn margin(&self, to: Shape) -> Option<usize> {
        let (rows, columns) = (self.shape.height - to.height, self.shape.width - to.width);
        (rows == columns).then_some(rows)
    }
}

/// A depth-wise convolution that passes on the tap in row and column `at`.
fn tap(channels: usize, size: usize, at: usize) -> FoldedConvolution {
    let mut kernel = vec![0.0; size * size];
    kernel[at * size + at] = 1.0;
    FoldedConvolution {
        size,
        stride_y: 1,
        stride_x: 1,
        pad: 0,
        dilation: 1,
        groups: channels,
        filters: channels,
        kernel: kernel.repeat(channels),
        bias: vec![0.0; channels],
    }
}

fn scaled(node: &Node) -> Error {
    Error::at(&node.place, "a map times one number a channel is no layer that the chip has")
        .fix("train a net without [scale_channels], or export ONNX or ncnn")
}
