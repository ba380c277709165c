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
}

pub(super) fn lower(net: &FoldedNet, options: &CaffeOptions) -> Result<Written> {
    let mut lowering = Lowering { net, options, blobs: blobs(net), layers: Vec::new(), unused: Vec::new() };
    lowering.input();
    for node in 0..net.nodes.len() {
        lowering.node(node)?;
    }
    let heads = net.heads.iter().map(|head| lowering.blob(head.value)).collect();
    Ok(Written { heads, layers: lowering.layers, unused: lowering.unused })
}

/// The blob of each node: a head's name where it is one. A head that other layers read too is no output by itself; the
/// mapper makes it one because of the ending `_report`.
fn blobs(net: &FoldedNet) -> Vec<String> {
    let readers = net.readers();
    let blob = |(i, node): (usize, &Node)| match net.heads.iter().find(|head| head.value == Value::Node(i)) {
        Some(head) if readers[i].is_empty() => head.name.clone(),
        Some(head) => format!("{}_report", head.name),
        None => node.name.clone(),
    };
    net.nodes.iter().enumerate().map(blob).collect()
}

struct Lowering<'a> {
    net: &'a FoldedNet,
    options: &'a CaffeOptions,
    blobs: Vec<String>,
    layers: Vec<CaffeLayer>,
    unused: Vec<String>,
}

impl Lowering<'_> {
    fn input(&mut self) {
        let Shape { channels, height, width } = self.net.input;
        let shape = format!("{{ dim: 1 dim: {channels} dim: {height} dim: {width} }}");
        let mut layer = CaffeLayer::new("Input", INPUT, vec![], vec![INPUT.to_owned()]);
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
        let layer = |kind| CaffeLayer::new(kind, &name, bottoms.clone(), tops.clone());
        match &node.operator {
            Operator::Convolution(c) => self.layers.push(layer("Convolution").convolving(c)),
            Operator::MaxPool(pool) => self.max_pool(node, pool, layer("Pooling"))?,
            Operator::Upsample { stride } => self.upsample(node, *stride, layer),
            Operator::Concat => self.layers.push(layer("Concat").with("concat_param", &[("axis", &1)])),
            Operator::Slice { first } => {
                self.slice(
                    &name,
                    &bottoms[0],
                    self.net.shape(node.inputs[0]).channels,
                    (1, *first, node.shape.channels),
                    &tops[0],
                );
            }
            Operator::Add => self.layers.push(layer("Eltwise").with("eltwise_param", &[("operation", &"SUM")])),
            Operator::Multiply => self.layers.push(layer("Eltwise").with("eltwise_param", &[("operation", &"PROD")])),
            Operator::Scale => return Err(scaled(node)),
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
        let layer = CaffeLayer::new(kind, &name, vec![blob.to_owned()], vec![blob.to_owned()]);
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

    /// A slice of axis `axis`: `wanted` of `all`, from `first` on. What is left over gets blobs that nobody reads.
    fn slice(&mut self, name: &str, from: &str, all: usize, (axis, first, wanted): (usize, usize, usize), to: &str) {
        let mut tops = vec![to.to_owned()];
        let mut points = Vec::new();
        if first > 0 {
            tops.insert(0, format!("{to}_low"));
            points.push(first);
        }
        if first + wanted < all {
            tops.push(format!("{to}_high"));
            points.push(first + wanted);
        }
        self.unused.extend(tops.iter().filter(|top| *top != to).cloned());
        let mut layer = CaffeLayer::new("Slice", name, vec![from.to_owned()], tops);
        let keys = [("axis", axis.to_string())].into_iter();
        let points = points.iter().map(|point| ("slice_point", point.to_string()));
        layer.block = Some(("slice_param", keys.chain(points).collect()));
        self.layers.push(layer);
    }

    fn max_pool(&mut self, node: &Node, pool: &MaxPool, mut layer: CaffeLayer) -> Result<()> {
        let refused = |cause: String| {
            Error::at(&node.place, cause).fix(
                "train the net with a max pool of stride 2, or one of odd size and stride 1, in this place; or export \
                 ONNX",
            )
        };
        let found = pool::in_caffe(pool, self.net.shape(node.inputs[0]), node.shape).ok_or_else(|| {
            refused(format!("a max pool of size={} padding={} is no layer of Caffe's", pool.size, pool.padding))
        })?;
        let whole = found.shape == node.shape;
        if !whole && self.options.uneven_pool == UnevenPool::Refuse {
            return Err(refused(format!(
                "a max pool of size={} stride={} is no single layer of Caffe's, and such pools are to be refused",
                pool.size, pool.stride_y
            )));
        }
        let (name, top) = (layer.name.clone(), layer.tops[0].clone());
        let padded = format!("{}_padded", node.name);
        if !whole {
            layer.tops = vec![padded.clone()];
            layer.name = format!("{}_padded", node.name);
        }
        let (size, stride) = (pool.size, pool.stride_y);
        let keys: [(&str, &dyn std::fmt::Display); 4] =
            [("pool", &"MAX"), ("kernel_size", &size), ("stride", &stride), ("pad", &found.pad)];
        self.layers.push(layer.with("pooling_param", &keys));
        match (whole, self.options.uneven_pool) {
            (true, _) => {}
            (false, UnevenPool::Convolution) if found.is_one_more_before(node.shape) => {
                let crop = CaffeLayer::new("Convolution", &name, vec![padded], vec![top]);
                self.layers.push(crop.convolving(&last_tap(node.shape.channels)));
            }
            (false, _) => self.cut(&name, &padded, &found, node.shape, &top),
        }
        Ok(())
    }

    /// The wanted rows, and of them the wanted columns.
    fn cut(&mut self, name: &str, from: &str, found: &CaffePool, to: Shape, top: &str) {
        let rows = format!("{name}_rows");
        let (skipped, all) = (found.skipped, found.shape);
        let (rows_differ, columns_differ) = (all.height != to.height, all.width != to.width);
        let cut_rows = if columns_differ { rows.as_str() } else { top };
        if rows_differ {
            let name = if columns_differ { &rows } else { name };
            self.slice(name, from, all.height, (2, skipped, to.height), cut_rows);
        }
        if columns_differ {
            let from = if rows_differ { cut_rows } else { from };
            self.slice(name, from, all.width, (3, skipped, to.width), top);
        }
    }
}

impl CaffePool {
    /// Whether the wanted part is all but the first row and column.
    fn is_one_more_before(&self, to: Shape) -> bool {
        self.skipped == 1 && self.shape.height == to.height + 1 && self.shape.width == to.width + 1
    }
}

/// A depth-wise convolution of 2x2 that passes on its last tap.
fn last_tap(channels: usize) -> FoldedConvolution {
    FoldedConvolution {
        size: 2,
        stride_y: 1,
        stride_x: 1,
        pad: 0,
        dilation: 1,
        groups: channels,
        filters: channels,
        kernel: [0.0, 0.0, 0.0, 1.0].repeat(channels),
        bias: vec![0.0; channels],
    }
}

fn scaled(node: &Node) -> Error {
    Error::at(&node.place, "a map times one number a channel is no layer that the chip has")
        .fix("train a net without [scale_channels], or export ONNX or ncnn")
}
