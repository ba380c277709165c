//! The kinds of layers and what each needs to know, as Darknet defines them (reference: Darknet's `parser.c`).

use serde::{Deserialize, Serialize};

/// The shape of one image's feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// Rows times columns.
    #[must_use]
    pub fn area(&self) -> usize {
        self.height * self.width
    }

    /// Numbers in the map.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels * self.area()
    }

    /// Whether the map holds no number.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a layer reads from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The net's input image.
    Image,
    /// The output of the layer of that index.
    Layer(usize),
}

impl Source {
    /// The layer's index, none for the image.
    #[must_use]
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Image => None,
            Self::Layer(i) => Some(i),
        }
    }
}

/// One layer of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// What it computes.
    pub op: Op,
    /// What it reads, in the order its kind defines.
    pub inputs: Vec<Source>,
    /// The shape of its output.
    pub shape: Shape,
    /// Its line, kind and index in the cfg, for messages.
    pub place: String,
}

/// What a layer computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// `[convolutional]`, with its batch normalisation and activation.
    Convolution(Convolution),
    /// `[maxpool]`.
    MaxPool(MaxPool),
    /// `[upsample]`: nearest neighbour, by a whole factor.
    Upsample {
        /// Output pixels for each input pixel, a side.
        stride: usize,
    },
    /// `[route]`: the channels of all inputs one after the other, or a slice of each.
    Route {
        /// Into how many equal slices each input is cut.
        groups: usize,
        /// Which of the slices is read.
        group_id: usize,
    },
    /// `[shortcut]`: the sum of all inputs over the channels they have in common with the first.
    Shortcut {
        /// Applied to the sum.
        activation: Activation,
    },
    /// `[dropout]`: passes its input on, but for what training drops.
    Dropout {
        /// Share of the numbers that training drops.
        probability: f32,
    },
    /// `[reorg]`: space to depth in Darknet's own order.
    Reorg {
        /// Side of the blocks.
        stride: usize,
    },
    /// `[avgpool]`: the mean of each channel over the whole map.
    AveragePool,
    /// `[scale_channels]`: the second input times the first, which is one number a channel.
    ScaleChannels {
        /// Applied to the product.
        activation: Activation,
    },
    /// `[sam]`: the product of both inputs, element by element.
    Sam {
        /// Applied to the product.
        activation: Activation,
    },
    /// `[yolo]`: a detection head; passes the raw map on.
    Yolo(Yolo),
}

impl Op {
    /// The activation function that follows the layer's own computation.
    #[must_use]
    pub fn activation(&self) -> Activation {
        match self {
            Self::Convolution(c) => c.activation,
            Self::Shortcut { activation } | Self::ScaleChannels { activation } | Self::Sam { activation } => {
                *activation
            }
            _ => Activation::Linear,
        }
    }
}

/// A convolution with square kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Output channels.
    pub filters: usize,
    /// Side of the kernel.
    pub size: usize,
    /// Step between rows.
    pub stride_y: usize,
    /// Step between columns.
    pub stride_x: usize,
    /// Zeros on each side of the input: Darknet's padding times the dilation.
    pub pad: usize,
    /// Distance between neighbouring taps.
    pub dilation: usize,
    /// Input and output channels are cut into this many independent groups.
    pub groups: usize,
    /// Whether batch normalisation follows (else a bias is added).
    pub batch_normalize: bool,
    /// Applied last.
    pub activation: Activation,
}

impl Convolution {
    /// Whether every input channel is convolved by itself.
    #[must_use]
    pub fn is_depthwise(&self, channels_in: usize) -> bool {
        self.groups == channels_in && self.groups > 1
    }

    /// Numbers in the kernel: `[filters, channels_in / groups, size, size]`.
    #[must_use]
    pub fn kernel_len(&self, channels_in: usize) -> usize {
        // A layer of which all is gone has no groups left.
        self.filters * channels_in.checked_div(self.groups).unwrap_or(0) * self.size * self.size
    }
}

/// Max pooling; what is outside of the map counts as minus infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    /// Side of the window.
    pub size: usize,
    /// Step between rows.
    pub stride_y: usize,
    /// Step between columns.
    pub stride_x: usize,
    /// Padding of both sides together; the smaller half goes left and above.
    pub padding: usize,
}

/// A detection head.
#[derive(Debug, Clone, PartialEq)]
pub struct Yolo {
    /// Width and height of this head's anchors (those of its mask), in pixels of the net's input.
    pub anchors: Vec<[f32; 2]>,
    /// Number of classes.
    pub classes: usize,
    /// Stretch of the cell offsets (YOLOv4), 1 for none.
    pub scale_x_y: f32,
    /// Whether the layer before applies the logistic function already (scaled YOLOv4).
    pub new_coords: bool,
}

impl Yolo {
    /// Channels the head reads: four coordinates, objectness and the classes, an anchor.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.anchors.len() * (5 + self.classes)
    }
}

/// Darknet's activations, by the names its files use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// x
    Linear,
    /// max(x, 0.1 x)
    Leaky,
    /// max(x, 0)
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// x tanh(ln(1 + e^x))
    Mish,
    /// x / (1 + e^-x)
    Swish,
    /// 1 / (1 + e^-x)
    Logistic,
    /// x min(max(x + 3, 0), 6) / 6
    #[serde(rename = "hard_swish")]
    HardSwish,
    /// 0 up to -2, x (x + 2) / 2 up to 0, then x
    #[serde(rename = "hard_mish")]
    HardMish,
    /// min(max(x, -1), 1)
    Hardtan,
    /// tanh x
    Tanh,
    /// x, or e^x - 1 below 0
    Elu,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Linear,
        Self::Leaky,
        Self::Relu,
        Self::Relu6,
        Self::Mish,
        Self::Swish,
        Self::Logistic,
        Self::HardSwish,
        Self::HardMish,
        Self::Hardtan,
        Self::Tanh,
        Self::Elu,
    ];

    /// Its name in a cfg.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Leaky => "leaky",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Mish => "mish",
            Self::Swish => "swish",
            Self::Logistic => "logistic",
            Self::HardSwish => "hard_swish",
            Self::HardMish => "hard_mish",
            Self::Hardtan => "hardtan",
            Self::Tanh => "tanh",
            Self::Elu => "elu",
        }
    }

    /// The activation of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "silu" => Some(Self::Swish),
            "sigmoid" => Some(Self::Logistic),
            _ => Self::ALL.into_iter().find(|a| a.name() == name),
        }
    }

    /// Its value at `x`.
    #[must_use]
    pub fn apply(self, x: f32) -> f32 {
        let logistic = |x: f32| 1.0 / (1.0 + (-x).exp());
        match self {
            Self::Linear => x,
            Self::Leaky => x.max(0.1 * x),
            Self::Relu => x.max(0.0),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::Mish => x * softplus(x).tanh(),
            Self::Swish => x * logistic(x),
            Self::Logistic => logistic(x),
            Self::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Self::HardMish if x > 0.0 => x,
            Self::HardMish if x > -2.0 => x * (x + 2.0) / 2.0,
            Self::HardMish => 0.0,
            Self::Hardtan => x.clamp(-1.0, 1.0),
            Self::Tanh => x.tanh(),
            Self::Elu => {
                if x >= 0.0 {
                    x
                } else {
                    x.exp_m1()
                }
            }
        }
    }
}

fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}
