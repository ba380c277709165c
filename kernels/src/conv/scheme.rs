//! The transformed convolutions there are, what their tiles look like, and when they pay.

use crate::shape::ConvShape;
use std::sync::OnceLock;

/// A convolution computed on transformed tiles: planes of the transformed source are multiplied by planes of the
/// transformed kernel, and the products summed to planes that are transformed to the destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    /// Stride 1 and its input's gradient, see [`super::transforms`]: from 6 x 6 pixels 36 products for 4 x 4 pixels.
    Plain,
    /// Stride 2, see [`super::strided`]: from 9 x 9 pixels 81 products in 25 sums for 4 x 4 pixels.
    Strided,
    /// The input's gradient for stride 2: from 5 x 5 pixels 25 values in 81 products for 8 x 8 pixels.
    StridedData,
}

/// What a convolution is computed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// A forward pass with weights that are packed once and for all.
    Inference,
    /// A forward pass with weights that are packed for it, or a gradient.
    Training,
}

/// Multiplications of a core in the time in which its share of the memory delivers one weight.
const READ: usize = 30;
/// The same for a transformed weight that is written before it is read, or summed up in memory.
const WRITTEN: usize = 110;
/// Multiplications in the time of transforming one of the 81 values of an input tile, and of an output tile.
const INPUT: usize = 35;
const OUTPUT: usize = 8;

impl Scheme {
    /// The scheme by which `y = conv(x)` can be computed, if any.
    pub(crate) fn fitting(shape: &ConvShape) -> Option<Self> {
        match (shape.size, shape.dilation, shape.groups, shape.stride_y, shape.stride_x, shape.pad) {
            (3, 1, 1, 1, 1, 0..=2) => Some(Self::Plain),
            (3, 1, 1, 2, 2, 1) => Some(Self::Strided),
            _ => None,
        }
    }

    /// The fitting scheme, if enough is won by it to pay for the transforms.
    pub(crate) fn of(shape: &ConvShape, work: Work) -> Option<Self> {
        let enough_channels = shape.channels_in >= 8 && shape.channels_out >= 8;
        Self::fitting(shape).filter(|scheme| enough_channels && !direct_only() && scheme.pays(shape, work))
    }

    /// The scheme of the input's gradient for a convolution of this scheme.
    pub(crate) fn gradient(self) -> Self {
        if self == Self::Strided { Self::StridedData } else { self }
    }

    /// Zero rows above the output's gradient, from which tiles of this scheme make the input's.
    pub(crate) fn gradient_pad(self, pad: usize) -> usize {
        if self == Self::Plain { 2 - pad } else { 0 }
    }

    fn pays(self, shape: &ConvShape, work: Work) -> bool {
        let pixels = shape.out_height() * shape.out_width();
        let (_, step) = self.steps();
        let tiles = shape.out_height().div_ceil(step) * shape.out_width().div_ceil(step);
        if self == Self::Plain {
            return tiles * self.products() * 3 <= pixels * 9 * 2;
        }
        // Costs for each pair of channels. On small maps the memory that weights lie in decides, of which there are nine
        // times as many; with few channels the transforms do.
        let (pixels, tiles) = (pixels * shape.batch, tiles * shape.batch);
        let transforms = tiles * INPUT / shape.channels_out + tiles * OUTPUT / shape.channels_in;
        let weight = if work == Work::Inference { READ } else { WRITTEN };
        let transformed = tiles + transforms + weight;
        self.products() * transformed <= 9 * (pixels + READ)
    }

    /// Pixels of source and destination from a tile to the next.
    pub(crate) fn steps(self) -> (usize, usize) {
        match self {
            Self::Plain => (4, 4),
            Self::Strided => (8, 4),
            Self::StridedData => (4, 8),
        }
    }

    /// Products of a tile for each pair of channels, which is also the length of a transformed kernel.
    pub(crate) fn products(self) -> usize {
        if self == Self::Plain { 36 } else { 81 }
    }

    /// Values of a transformed source tile.
    pub(crate) fn sources(self) -> usize {
        self.source(self.products() - 1) + 1
    }

    /// Sums of products, to be transformed to a destination tile.
    pub(crate) fn sums(self) -> usize {
        self.sum(self.products() - 1) + 1
    }

    /// The value of the source that is a factor of this product.
    pub(crate) fn source(self, product: usize) -> usize {
        if self == Self::StridedData { point(product) } else { product }
    }

    /// The sum that this product belongs to.
    pub(crate) fn sum(self, product: usize) -> usize {
        if self == Self::Strided { point(product) } else { product }
    }
}

/// True if `YOLOSLIM_CONVOLUTION=direct` is in the environment: nothing is computed on transformed tiles.
fn direct_only() -> bool {
    static DIRECT: OnceLock<bool> = OnceLock::new();
    *DIRECT.get_or_init(|| std::env::var_os("YOLOSLIM_CONVOLUTION").is_some_and(|value| value == "direct"))
}

/// The point, of 5 x 5, of one of the 9 x 9 products with stride 2.
fn point(product: usize) -> usize {
    product / 9 / 2 * 5 + product % 9 / 2
}
