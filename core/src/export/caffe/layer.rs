//! One Caffe layer and how it is written, as text and as a message.

use std::fmt::{self, Display, Write};

use crate::export::folded::FoldedConvolution;
use crate::export::proto::caffe::{BlobProto, BlobShape, ConvolutionParameter, LayerParameter};
use crate::graph::Shape;

/// A layer with its parameters, as the prototxt has them, and its numbers, as the caffemodel has them.
#[derive(Debug, Clone, PartialEq)]
pub struct CaffeLayer {
    /// Its name.
    pub name: String,
    /// What it computes: `Convolution`, `ReLU`, ..
    pub kind: &'static str,
    /// What it reads.
    pub bottoms: Vec<String>,
    /// What it writes.
    pub tops: Vec<String>,
    /// The shape of each of them.
    pub shapes: Vec<Shape>,
    /// The layer of the cfg that it stems from, for messages.
    pub place: String,
    /// The block of its parameters, if it has any: `convolution_param` and the keys in it, with their values.
    pub block: Option<(&'static str, Vec<(&'static str, String)>)>,
    /// Numbers: sides and values of each array.
    pub blobs: Vec<(Vec<usize>, Vec<f32>)>,
    /// A convolution's sizes again, for the message.
    pub convolution: Option<ConvolutionParameter>,
}

impl CaffeLayer {
    /// A layer without parameters.
    #[must_use]
    pub fn new(kind: &'static str, name: &str, bottoms: Vec<String>, tops: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            bottoms,
            tops,
            shapes: Vec::new(),
            place: String::new(),
            block: None,
            blobs: Vec::new(),
            convolution: None,
        }
    }

    /// With one output of that shape.
    #[must_use]
    pub fn giving(mut self, shape: Shape) -> Self {
        self.shapes = vec![shape];
        self
    }

    /// The numbers of a parameter, in their order; none where it is left out.
    #[must_use]
    pub fn numbers(&self, key: &str) -> Vec<usize> {
        let keys = self.block.iter().flat_map(|(_, keys)| keys);
        keys.filter(|(name, _)| *name == key).filter_map(|(_, value)| value.parse().ok()).collect()
    }

    /// With a block of parameters.
    #[must_use]
    pub fn with(mut self, block: &'static str, keys: &[(&'static str, &dyn Display)]) -> Self {
        self.block = Some((block, keys.iter().map(|(key, value)| (*key, value.to_string())).collect()));
        self
    }

    /// A convolution's parameters and numbers.
    #[must_use]
    pub fn convolving(mut self, c: &FoldedConvolution) -> Self {
        let [kernel, stride_y, stride_x] = [c.size, c.stride_y, c.stride_x].map(|n| n as u32);
        let stride = if stride_y == stride_x { vec![stride_y] } else { vec![stride_y, stride_x] };
        self.sizes(ConvolutionParameter {
            num_output: Some(c.filters as u32),
            bias_term: Some(true),
            pad: vec![c.pad as u32],
            kernel_size: vec![kernel],
            group: Some(c.groups as u32),
            stride,
            dilation: vec![c.dilation as u32],
        });
        self.blobs = vec![(c.kernel_shape().to_vec(), c.kernel.clone()), (vec![c.filters], c.bias.clone())];
        self
    }

    /// A deconvolution's, which copies each pixel of `channels` maps `stride` times a side.
    #[must_use]
    pub fn repeating(mut self, channels: usize, stride: usize) -> Self {
        self.sizes(ConvolutionParameter {
            num_output: Some(channels as u32),
            bias_term: Some(false),
            pad: vec![0],
            kernel_size: vec![stride as u32],
            group: Some(channels as u32),
            stride: vec![stride as u32],
            dilation: vec![],
        });
        self.blobs = vec![(vec![channels, 1, stride, stride], vec![1.0; channels * stride * stride])];
        self
    }

    fn sizes(&mut self, c: ConvolutionParameter) {
        let mut keys = vec![("num_output", c.num_output.unwrap_or(0).to_string())];
        keys.push(("bias_term", c.bias_term.unwrap_or(true).to_string()));
        let each = |key: &'static str, values: &[u32]| values.iter().map(|v| (key, v.to_string())).collect::<Vec<_>>();
        keys.extend(each("pad", &c.pad));
        keys.extend(each("kernel_size", &c.kernel_size));
        keys.extend(each("stride", &c.stride));
        // What is usual is left out: some forks of Caffe don't know the key.
        keys.extend(each("dilation", c.dilation.iter().copied().filter(|d| *d != 1).collect::<Vec<_>>().as_slice()));
        keys.extend(c.group.filter(|group| *group != 1).map(|group| ("group", group.to_string())));
        self.block = Some(("convolution_param", keys));
        self.convolution = Some(c);
    }

    /// The layer as a caffemodel has it.
    #[must_use]
    pub fn to_message(&self) -> LayerParameter {
        let blob = |(sides, values): &(Vec<usize>, Vec<f32>)| BlobProto {
            data: values.clone(),
            shape: Some(BlobShape { dim: sides.iter().map(|&side| side as i64).collect() }),
        };
        LayerParameter {
            name: Some(self.name.clone()),
            r#type: Some(self.kind.to_owned()),
            bottom: self.bottoms.clone(),
            top: self.tops.clone(),
            blobs: self.blobs.iter().map(blob).collect(),
            convolution_param: self.convolution.clone(),
        }
    }
}

/// As a prototxt has it.
impl Display for CaffeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "layer {{\n  name: \"{}\"\n  type: \"{}\"", self.name, self.kind)?;
        for bottom in &self.bottoms {
            writeln!(f, "  bottom: \"{bottom}\"")?;
        }
        for top in &self.tops {
            writeln!(f, "  top: \"{top}\"")?;
        }
        if let Some((block, keys)) = &self.block {
            writeln!(f, "  {block} {{")?;
            for (key, value) in keys {
                writeln!(f, "    {key}: {value}")?;
            }
            f.write_str("  }\n")?;
        }
        f.write_str("}\n")
    }
}

/// The prototxt of layers.
#[must_use]
pub(super) fn prototxt(name: &str, comment: &str, layers: &[CaffeLayer]) -> String {
    let mut text = String::new();
    for line in comment.lines() {
        // Writing to a String does not fail.
        let _ = writeln!(text, "# {line}");
    }
    let _ = writeln!(text, "name: \"{name}\"");
    layers.iter().for_each(|layer| {
        let _ = write!(text, "{layer}");
    });
    text
}
