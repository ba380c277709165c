//! A detector as runtimes see it: convolutions with their normalisation folded in, and nodes that every runtime has.

mod chain;
mod colour;
mod lower;

pub use crate::graph::Activation;
use crate::graph::{MaxPool, Shape, Yolo};
use crate::{Error, Result};

/// A detector as a list of nodes.
///
/// What Darknet writes in its own way is written plainly here: a route of one layer and a dropout are no node, a route
/// by groups is slices, a shortcut of unequal widths is slices and sums. Nodes that no head needs are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldedNet {
    /// The input image.
    pub input: Shape,
    /// The nodes, in an order in which they can be computed: each reads the image or earlier nodes.
    pub nodes: Vec<Node>,
    /// What the net gives, in the cfg's order.
    pub heads: Vec<Head>,
}

/// What a node reads, or a head is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// The net's input image.
    Image,
    /// The output of the node of that index.
    Node(usize),
}

/// A raw head map.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// `head0`, `head1`, ..
    pub name: String,
    /// The map.
    pub value: Value,
    /// How to decode it; none if the net has no `[yolo]` layer and this is its last map.
    pub yolo: Option<Yolo>,
}

/// One operation with an activation after it; it has one output.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its kind and the index of its layer in the cfg, and a count from the second node of a kind in a layer on:
    /// `conv12`, `slice40`, `slice40_1`. No two are alike.
    pub name: String,
    /// What it computes.
    pub operator: Operator,
    /// Applied last.
    pub activation: Activation,
    /// What it reads.
    pub inputs: Vec<Value>,
    /// The shape of its output, one image's.
    pub shape: Shape,
    /// The layer it stems from, by index.
    pub layer: usize,
    /// The layer's line, kind and index in the cfg, for messages.
    pub place: String,
}

/// What a node computes, before its activation.
#[derive(Debug, Clone, PartialEq)]
pub enum Operator {
    /// The input convolved, plus a bias.
    Convolution(FoldedConvolution),
    /// The largest of each window; what is outside of the map counts as minus infinity.
    MaxPool(MaxPool),
    /// Nearest neighbour, by a whole factor.
    Upsample {
        /// Output pixels for each input pixel, a side.
        stride: usize,
    },
    /// The channels of all inputs, one after the other.
    Concat,
    /// Some of the input's channels: as many as the output has.
    Slice {
        /// The first of them.
        first: usize,
    },
    /// The sum of two maps of one shape.
    Add,
    /// The product of two maps of one shape, element by element.
    Multiply,
    /// The first input, each channel multiplied by a number: the second input, `[channels, 1, 1]`.
    Scale,
    /// Space to depth in Darknet's own order (see [`crate::reference`]).
    Reorg {
        /// Side of the blocks.
        stride: usize,
    },
    /// The mean of each channel over the whole map.
    AveragePool,
}

/// A convolution with square kernels, all of whose numbers are known.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldedConvolution {
    /// Side of the kernel.
    pub size: usize,
    /// Step between rows.
    pub stride_y: usize,
    /// Step between columns.
    pub stride_x: usize,
    /// Zeros on each side of the input.
    pub pad: usize,
    /// Distance between neighbouring taps.
    pub dilation: usize,
    /// Input and output channels are cut into this many independent groups.
    pub groups: usize,
    /// Output channels.
    pub filters: usize,
    /// `[filters, channels_in / groups, size, size]`, row-major.
    pub kernel: Vec<f32>,
    /// `[filters]`
    pub bias: Vec<f32>,
}

impl FoldedConvolution {
    /// The sides of the kernel: filters, input channels of a group, rows, columns.
    #[must_use]
    pub fn kernel_shape(&self) -> [usize; 4] {
        let taps = self.filters * self.size * self.size;
        [self.filters, self.kernel.len() / taps, self.size, self.size]
    }
}

impl FoldedNet {
    /// The shape of what `value` is, one image's.
    #[must_use]
    pub fn shape(&self, value: Value) -> Shape {
        match value {
            Value::Image => self.input,
            Value::Node(i) => self.nodes[i].shape,
        }
    }

    /// Refuses pools whose padding is not below their size, which `runtime` does not compute.
    ///
    /// # Errors
    /// The first such layer.
    pub fn check_pools(&self, runtime: &str) -> Result<()> {
        for node in &self.nodes {
            if let Operator::MaxPool(pool) = &node.operator
                && pool.padding - pool.padding / 2 >= pool.size
            {
                let MaxPool { padding, size, .. } = pool;
                let cause = format!("padding={padding} of a pool of size={size} in {runtime} stays below the size");
                return Err(Error::at(&node.place, cause).fix("train the net with less padding"));
            }
        }
        Ok(())
    }

    /// For each node, the nodes that read it; one that reads it twice is there twice.
    #[must_use]
    pub fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                if let Value::Node(source) = input {
                    readers[*source].push(i);
                }
            }
        }
        readers
    }

    /// All convolutions with their node index, in order.
    pub fn convolutions(&self) -> impl Iterator<Item = (usize, &FoldedConvolution)> {
        self.nodes.iter().enumerate().filter_map(|(i, node)| match &node.operator {
            Operator::Convolution(c) => Some((i, c)),
            _ => None,
        })
    }
}
