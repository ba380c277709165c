//! ncnn: a `.param` that lists layers and a `.bin` of their numbers (reference: ncnn's wiki, "param and model file
//! structure" and "operators").

use std::fmt::Write;

use super::ExportedFile;
use super::folded::{FoldedConvolution, FoldedNet, Node, Operator, Value};
use crate::Result;
use crate::graph::{Activation, MaxPool, Shape};

/// First line of every `.param`.
const MAGIC: u32 = 7_767_517;
/// Before a convolution's kernel: its numbers are 32-bit floating point.
const FLOAT32: u32 = 0;
/// The name of the input blob.
pub const INPUT: &str = "data";

/// The `.param` and the `.bin` of `net`, called `name`. Input blob `data`, one blob a head: `head0`, `head1`, ..
///
/// # Errors
/// The first layer that ncnn has no words for.
pub fn write(net: &FoldedNet, name: &str) -> Result<Vec<ExportedFile>> {
    net.check_pools("ncnn")?;
    let writer = Writer::new(net);
    let file = |extension: &str, bytes: Vec<u8>| ExportedFile { name: format!("{name}.{extension}"), bytes };
    let mut numbers = Vec::new();
    for (_, c) in net.convolutions() {
        numbers.extend(FLOAT32.to_le_bytes());
        numbers.extend(c.kernel.iter().chain(&c.bias).flat_map(|v| v.to_le_bytes()));
    }
    Ok(vec![file("param", writer.param().into_bytes()), file("bin", numbers)])
}

/// Layers as lines. Every blob of ncnn's has one reader, so what is read more than once is split.
struct Writer {
    lines: Vec<String>,
    blobs: usize,
    /// For each value, the image first, the blobs that are left for its readers.
    left: Vec<Vec<String>>,
}

impl Writer {
    fn new(net: &FoldedNet) -> Self {
        let mut writer = Self { lines: Vec::new(), blobs: 0, left: vec![Vec::new(); net.nodes.len() + 1] };
        let Shape { channels, height, width } = net.input;
        writer.line("Input", INPUT, &[], &[INPUT.to_owned()], &format!("0={width} 1={height} 2={channels}"));
        writer.share(net, Value::Image, INPUT);
        for (i, node) in net.nodes.iter().enumerate() {
            let inputs: Vec<String> = node.inputs.iter().map(|input| writer.take(*input)).collect();
            let blob = blob_name(net, i);
            writer.node(net, node, &inputs, blob);
            writer.share(net, Value::Node(i), blob);
        }
        for head in &net.heads {
            let from = writer.take(head.value);
            if from != head.name {
                writer.line("Noop", &head.name, &[from], std::slice::from_ref(&head.name), "");
            }
        }
        writer
    }

    fn param(&self) -> String {
        let counts = format!("{MAGIC}\n{} {}\n", self.lines.len(), self.blobs);
        self.lines.iter().fold(counts, |text, line| text + line + "\n")
    }

    fn line(&mut self, kind: &str, name: &str, inputs: &[String], outputs: &[String], keys: &str) {
        let mut line = format!("{kind:<24} {name:<24} {} {}", inputs.len(), outputs.len());
        for part in inputs.iter().chain(outputs).map(String::as_str).chain([keys]).filter(|part| !part.is_empty()) {
            // Writing to a String does not fail.
            let _ = write!(line, " {part}");
        }
        self.blobs += outputs.len();
        self.lines.push(line);
    }

    /// Makes as many blobs of a value as it has readers.
    fn share(&mut self, net: &FoldedNet, value: Value, blob: &str) {
        let readers = readers(net, value);
        let blobs: Vec<String> = match readers {
            0 | 1 => vec![blob.to_owned()],
            _ => (0..readers).map(|i| format!("{blob}_{}", i + 1)).map(|b| format!("{b}_split")).collect(),
        };
        if readers > 1 {
            self.line("Split", &format!("{blob}_split"), &[blob.to_owned()], &blobs, "");
        }
        self.left[index(value)] = blobs.into_iter().rev().collect();
    }

    /// The next blob of a value that nothing reads yet.
    fn take(&mut self, value: Value) -> String {
        self.left[index(value)].pop().unwrap_or_default()
    }

    fn node(&mut self, net: &FoldedNet, node: &Node, inputs: &[String], blob: &str) {
        let from = net.shape(node.inputs[0]);
        let fused = match &node.operator {
            Operator::Convolution(_) => fused_activation(node.activation),
            _ => None,
        };
        let separate = node.activation != Activation::Linear && fused.is_none();
        let output = if separate { format!("{}_linear", node.name) } else { blob.to_owned() };
        let name = if separate { &output } else { &node.name };
        if let Operator::Reorg { stride } = node.operator {
            self.reorg(&output, from, stride, inputs);
        } else {
            let (kind, keys) = operator(node, from, fused.unwrap_or_default());
            self.line(kind, name, inputs, std::slice::from_ref(&output), &keys);
        }
        if separate {
            let (kind, keys) = activation(node.activation);
            self.line(kind, &node.name, &[output], &[blob.to_owned()], keys);
        }
    }

    /// Darknet reads the map as one of `stride` times the sides and fewer channels; ncnn's own space to depth of that
    /// is read as the output's shape.
    fn reorg(&mut self, name: &str, from: Shape, stride: usize, inputs: &[String]) {
        let Shape { channels, height, width } = from;
        let [large, deep] = ["large", "deep"].map(|part| format!("{name}_{part}"));
        let squared = stride * stride;
        let keys = format!("0={} 1={} 2={}", width * stride, height * stride, channels / squared);
        self.line("Reshape", &large, inputs, std::slice::from_ref(&large), &keys);
        self.line("Reorg", &deep, &[large], std::slice::from_ref(&deep), &format!("0={stride} 1=1"));
        let keys = format!("0={} 1={} 2={}", width / stride, height / stride, channels * squared);
        self.line("Reshape", name, &[deep], &[name.to_owned()], &keys);
    }
}

/// How often a value is read, by nodes and heads.
fn readers(net: &FoldedNet, value: Value) -> usize {
    let inputs = net.nodes.iter().flat_map(|node| &node.inputs);
    inputs.chain(net.heads.iter().map(|head| &head.value)).filter(|read| **read == value).count()
}

/// A head's name where the node is that and nothing else, so that the head needs no layer of its own.
fn blob_name(net: &FoldedNet, node: usize) -> &str {
    let value = Value::Node(node);
    match net.heads.iter().find(|head| head.value == value) {
        Some(head) if readers(net, value) == 1 => &head.name,
        _ => &net.nodes[node].name,
    }
}

fn index(value: Value) -> usize {
    match value {
        Value::Image => 0,
        Value::Node(i) => i + 1,
    }
}

/// An operator's kind and keys.
fn operator(node: &Node, from: Shape, activation: &str) -> (&'static str, String) {
    match &node.operator {
        Operator::Convolution(c) => convolution(c, activation),
        Operator::MaxPool(pool) => ("Pooling", max_pool(pool)),
        Operator::Upsample { stride } => ("Interp", format!("0=1 1={stride}.0 2={stride}.0")),
        Operator::Concat => ("Concat", "0=0".to_owned()),
        Operator::Slice { first } => {
            ("Crop", format!("0=0 1=0 2={first} 3={} 4={} 5={}", from.width, from.height, node.shape.channels))
        }
        Operator::Add => ("BinaryOp", "0=0".to_owned()),
        Operator::Multiply | Operator::Scale => ("BinaryOp", "0=2".to_owned()),
        Operator::AveragePool => ("Pooling", "0=1 4=1".to_owned()),
        // Three layers: the caller writes it.
        Operator::Reorg { stride } => ("Reorg", format!("0={stride} 1=1")),
    }
}

fn convolution(c: &FoldedConvolution, activation: &str) -> (&'static str, String) {
    let mut keys = format!(
        "0={} 1={} 2={} 3={} 13={} 4={} 5=1 6={}",
        c.filters,
        c.size,
        c.dilation,
        c.stride_x,
        c.stride_y,
        c.pad,
        c.kernel.len()
    );
    // Writing to a String does not fail.
    let _ = if c.groups > 1 { write!(keys, " 7={}", c.groups) } else { Ok(()) };
    keys += activation;
    (if c.groups > 1 { "ConvolutionDepthWise" } else { "Convolution" }, keys)
}

fn max_pool(pool: &MaxPool) -> String {
    let before = pool.padding / 2;
    let after = pool.padding - before;
    format!(
        "0=0 1={} 2={} 12={} 3={before} 13={before} 14={after} 15={after} 5=1",
        pool.size, pool.stride_x, pool.stride_y
    )
}

/// The keys of an activation that convolutions apply themselves, none if they can't.
fn fused_activation(activation: Activation) -> Option<&'static str> {
    Some(match activation {
        Activation::Linear => "",
        Activation::Relu => " 9=1",
        Activation::Leaky => " 9=2 -23310=1,0.1",
        Activation::Relu6 => " 9=3 -23310=2,0.0,6.0",
        Activation::Hardtan => " 9=3 -23310=2,-1.0,1.0",
        Activation::Logistic => " 9=4",
        Activation::Mish => " 9=5",
        Activation::HardSwish => " 9=6 -23310=2,0.16666667,0.5",
        Activation::HardMish => " 9=6 -23310=2,0.5,1.0",
        Activation::Swish | Activation::Tanh | Activation::Elu => return None,
    })
}

/// An activation as a layer: its kind and keys.
fn activation(activation: Activation) -> (&'static str, &'static str) {
    match activation {
        Activation::Linear => ("Noop", ""),
        Activation::Relu => ("ReLU", ""),
        Activation::Leaky => ("ReLU", "0=0.1"),
        Activation::Relu6 => ("Clip", "0=0.0 1=6.0"),
        Activation::Hardtan => ("Clip", "0=-1.0 1=1.0"),
        Activation::Logistic => ("Sigmoid", ""),
        Activation::Mish => ("Mish", ""),
        Activation::Swish => ("Swish", ""),
        Activation::Tanh => ("TanH", ""),
        Activation::Elu => ("ELU", "0=1.0"),
        // x min(max(alpha x + beta, 0), 1)
        Activation::HardSwish => ("HardSwish", "0=0.16666667 1=0.5"),
        Activation::HardMish => ("HardSwish", "0=0.5 1=1.0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;
    use crate::darknet::Cfg;

    #[test]
    fn every_blob_is_written_once_and_read_once_and_the_counts_are_true() {
        let text = "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=6\nactivation=leaky\n\
            [convolutional]\nfilters=6\ngroups=6\nsize=3\npad=1\nactivation=swish\n[shortcut]\nfrom=-2\n\
            activation=linear\n[route]\nlayers=-1\ngroups=2\n[maxpool]\nsize=2\nstride=1\n[route]\nlayers=-1,0,0\n\
            [convolutional]\nfilters=7\nactivation=linear\n[yolo]\nmask=0\nanchors=1,1\nclasses=2\n";
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        let files = write(&FoldedNet::of(&network), "net").unwrap();
        let param = String::from_utf8(files[0].bytes.clone()).unwrap();
        let mut lines = param.lines();
        assert_eq!(lines.next(), Some("7767517"));
        let counts: Vec<usize> = lines.next().unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
        let (mut layers, mut written, mut read) = (0, Vec::new(), Vec::new());
        for line in lines {
            let parts: Vec<&str> = line.split_whitespace().collect();
            let [inputs, outputs] = [2, 3].map(|i| parts[i].parse::<usize>().unwrap());
            for blob in &parts[4..4 + inputs] {
                assert!(written.contains(blob), "{blob} is read before it is written");
                read.push(*blob);
            }
            written.extend(&parts[4 + inputs..4 + inputs + outputs]);
            layers += 1;
        }
        assert_eq!(counts, [layers, written.len()]);
        let unread: Vec<_> = written.iter().filter(|blob| !read.contains(*blob)).collect();
        assert_eq!(unread, [&"head0"]);
        for mut names in [written, read] {
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "a blob is there twice");
        }
        assert!(param.contains("14=1 15=1"), "the pool is padded on the right and below only:\n{param}");
        let numbers: usize = network.weights.iter().flatten().map(|w| w.kernel.len() + w.bias.len()).sum();
        assert_eq!(files[1].bytes.len(), 4 * (numbers + 3), "all numbers, and a flag for each convolution");
    }
}
