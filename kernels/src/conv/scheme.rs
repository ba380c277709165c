//! The transformed convolutions there are, what their tiles look like, and when they pay.

use crate::shape::ConvShape;
use std::sync::OnceLock;

/// A convolution computed on transformed tiles: planes of the transformed source are multiplied by planes of the
/// transformed kernel, and the products summed to planes that are transformed to the destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    /// Stride 1 and its input's gradient, see [`super::transforms`]: from 6 x 6 pixels 36 products for 4 x 4 pixels.
    Plain,
    /// The same on small maps, see [`super::small`]: from 4 x 4 pixels 16 products for 2 x 2 pixels. More is multiplied, but the
    /// transformed weights, which few tiles share there, take less than half of the memory.
    Small,
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
    /// A forward pass with weights that are packed for it, or the gradient of the input.
    Training,
    /// The gradient of the weights.
    Weights,
}

/// Multiplications of a core in the time in which its share of the memory delivers one weight.
const READ: usize = 30;
/// The same for a transformed weight that is written before it is read, or summed up in memory.
const WRITTEN: usize = 110;
/// Multiplications in the time of transforming one of the 81 values of an input tile, and of an output tile.
const INPUT: usize = 35;
const OUTPUT: usize = 8;

impl Work {
    /// What a transformed weight costs, in multiplications.
    fn weight(self) -> usize {
        if self == Self::Inference { READ } else { WRITTEN }
    }
}

impl Scheme {
    /// The schemes by which `y = conv(x)` can be computed.
    pub(crate) fn fitting(shape: &ConvShape) -> &'static [Self] {
        match (shape.size, shape.dilation, shape.groups, shape.stride_y, shape.stride_x, shape.pad) {
            (3, 1, 1, 1, 1, 0..=2) => &[Self::Plain, Self::Small],
            (3, 1, 1, 2, 2, 1) => &[Self::Strided],
            _ => &[],
        }
    }

    /// The best of the fitting schemes, if enough is won by it to pay for the transforms.
    pub(crate) fn of(shape: &ConvShape, work: Work) -> Option<Self> {
        let enough_channels = shape.channels_in >= 8 && shape.channels_out >= 8;
        let fitting = Self::fitting(shape).iter().copied();
        fitting
            .filter(|scheme| enough_channels && !direct_only() && scheme.pays(shape, work))
            .min_by_key(|scheme| scheme.multiplied(shape, work))
    }

    /// Tiles of an image.
    fn tiles(self, shape: &ConvShape) -> usize {
        let (_, step) = self.steps();
        shape.out_height().div_ceil(step) * shape.out_width().div_ceil(step)
    }

    /// What a pair of channels costs but the transforms, in multiplications.
    fn multiplied(self, shape: &ConvShape, work: Work) -> usize {
        self.products() * (self.tiles(shape) * shape.batch + work.weight())
    }

    /// The scheme of the input's gradient for a convolution of this scheme.
    pub(crate) fn gradient(self) -> Self {
        if self == Self::Strided { Self::StridedData } else { self }
    }

    /// Zero rows above the output's gradient, from which tiles of this scheme make the input's.
    pub(crate) fn gradient_pad(self, pad: usize) -> usize {
        if matches!(self, Self::Plain | Self::Small) { 2 - pad } else { 0 }
    }

    fn pays(self, shape: &ConvShape, work: Work) -> bool {
        let pixels = shape.out_height() * shape.out_width();
        let tiles = self.tiles(shape);
        match self {
            Self::Plain => return tiles * self.products() * 3 <= pixels * 9 * 2,
            // What decides there is how many weights are read for few tiles; in their gradient the sums over tiles, more of
            // which are multiplied here, are transformed from the cache.
            Self::Small if work == Work::Weights => return false,
            Self::Small => return tiles * self.products() * 3 <= pixels * 9 * 2,
            Self::Strided | Self::StridedData => {}
        }
        // Costs for each pair of channels. On small maps the memory decides that the weights lie in, 81 transformed ones for
        // nine; with few channels the transforms do.
        let (pixels, tiles) = (pixels * shape.batch, tiles * shape.batch);
        let transforms = tiles * INPUT / shape.channels_out + tiles * OUTPUT / shape.channels_in;
        let transformed = tiles + transforms + work.weight();
        self.products() * transformed <= 9 * (pixels + READ)
    }

    /// Pixels of source and destination from a tile to the next.
    pub(crate) fn steps(self) -> (usize, usize) {
        match self {
            Self::Plain => (4, 4),
            Self::Small => (2, 2),
            Self::Strided => (8, 4),
            Self::StridedData => (4, 8),
        }
    }

    /// Products of a tile for each pair of channels, which is also the length of a transformed kernel.
    pub(crate) fn products(self) -> usize {
        match self {
            Self::Plain => 36,
            Self::Small => 16,
            Self::Strided | Self::StridedData => 81,
        }
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

/// True if `YOLOSLIM_CONVOLUTION=direct` is in the environment: everything is summed up directly.
pub(crate) fn direct_only() -> bool {
    static DIRECT: OnceLock<bool> = OnceLock::new();
    *DIRECT.get_or_init(|| std::env::var_os("YOLOSLIM_CONVOLUTION").is_some_and(|value| value == "direct"))
}

/// The point, of 5 x 5, of one of the 9 x 9 products with stride 2.
fn point(product: usize) -> usize {
    product / 9 / 2 * 5 + product % 9 / 2
}
