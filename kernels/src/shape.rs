//! Sizes of convolutions and poolings.

/// Sizes of a two-dimensional convolution over NHWC activations with OIHW weights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConvShape {
    /// Images in the batch.
    pub batch: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels of the input; a multiple of `groups`.
    pub channels_in: usize,
    /// Channels of the output; a multiple of `groups`.
    pub channels_out: usize,
    /// Rows and columns of the square kernel.
    pub size: usize,
    /// Input rows from one output row to the next.
    pub stride_y: usize,
    /// Input columns from one output column to the next.
    pub stride_x: usize,
    /// Zero rows and columns on each side of the input.
    pub pad: usize,
    /// Input rows and columns from one kernel tap to the next; 1 is a plain convolution.
    pub dilation: usize,
    /// Groups that channels are divided into; output channels see the input channels of their group only.
    pub groups: usize,
}

impl ConvShape {
    /// Rows of the output: `(height + 2 pad - dilation (size - 1) - 1) / stride_y + 1`, or 0 if no tap fits.
    pub fn out_height(&self) -> usize {
        self.steps(self.height, self.stride_y)
    }

    /// Columns of the output, see [`Self::out_height`].
    pub fn out_width(&self) -> usize {
        self.steps(self.width, self.stride_x)
    }

    /// Values of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels_in
    }

    /// Values of the output.
    pub fn output_len(&self) -> usize {
        self.output_pixels() * self.channels_out
    }

    /// Values of the weights: `channels_out * channels_in / groups * size * size`.
    pub fn weights_len(&self) -> usize {
        self.channels_out * self.group_in() * self.taps()
    }

    /// Pooling of the output over windows of 2 x 2 pixels, side by side.
    pub(crate) fn pooled(&self) -> PoolShape {
        PoolShape::quarter(self.batch, self.out_height(), self.out_width(), self.channels_out)
    }

    pub(crate) fn output_pixels(&self) -> usize {
        self.batch * self.out_height() * self.out_width()
    }

    pub(crate) fn group_in(&self) -> usize {
        self.channels_in / self.groups
    }

    pub(crate) fn group_out(&self) -> usize {
        self.channels_out / self.groups
    }

    pub(crate) fn taps(&self) -> usize {
        self.size * self.size
    }

    /// True if each output channel sees one input channel, its own.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.channels_in && self.groups == self.channels_out
    }

    /// Panics on sizes that describe no convolution.
    pub(crate) fn check(&self) {
        assert!(self.size > 0 && self.stride_y > 0 && self.stride_x > 0 && self.dilation > 0 && self.groups > 0);
        assert!(
            self.channels_in.is_multiple_of(self.groups) && self.channels_out.is_multiple_of(self.groups),
            "channels {} -> {} are no multiples of {} groups",
            self.channels_in,
            self.channels_out,
            self.groups
        );
        // What is compared with these lengths must not have wrapped; buffers with padding are larger than the maps.
        let (rows, columns) = (padded(self.height, self.pad), padded(self.width, self.pad));
        let reach = self.dilation.checked_mul(self.size - 1).and_then(|reach| reach.checked_add(1));
        let maps = [
            product([self.batch, rows, columns, self.channels_in]),
            product([self.batch, self.out_height(), self.out_width(), self.channels_out]),
            product([self.channels_out, self.group_in(), self.size, self.size]),
        ];
        assert!(
            reach.is_some() && maps.iter().all(|&len| len <= LIMIT),
            "{self:?} has more values than memory can hold"
        );
    }

    fn steps(&self, length: usize, stride: usize) -> usize {
        let reach = self.dilation.saturating_mul(self.size - 1).saturating_add(1);
        padded(length, self.pad).checked_sub(reach).map_or(0, |rest| rest / stride + 1)
    }
}

/// Values that no buffer has, with room for what is computed from such lengths.
const LIMIT: usize = isize::MAX as usize / 1024;

/// A length with `pad` on either side, or the largest number.
fn padded(length: usize, pad: usize) -> usize {
    pad.saturating_mul(2).saturating_add(length)
}

/// The product, or the largest number.
fn product(factors: [usize; 4]) -> usize {
    // A factor of 0 makes the product 0 however large the others are.
    if factors.contains(&0) { 0 } else { factors.into_iter().fold(1, usize::saturating_mul) }
}

/// Sizes of a pooling over NHWC activations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PoolShape {
    /// Images in the batch.
    pub batch: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels of input and output.
    pub channels: usize,
    /// Rows and columns of the square window.
    pub size: usize,
    /// Input rows from one output row to the next.
    pub stride_y: usize,
    /// Input columns from one output column to the next.
    pub stride_x: usize,
    /// Rows (and columns) of padding in total. As in Darknet `padding / 2` of them are above (left), the others below
    /// (right), so that size 2, stride 1, padding 1 pads below and right only. Padding never wins a maximum.
    pub padding: usize,
}

impl PoolShape {
    /// Windows of 2 x 2 pixels, side by side.
    pub(crate) fn quarter(batch: usize, height: usize, width: usize, channels: usize) -> Self {
        Self { batch, height, width, channels, size: 2, stride_y: 2, stride_x: 2, padding: 0 }
    }

    /// Rows of the output: `(height + padding - size) / stride_y + 1`, or 0 if the window does not fit.
    pub fn out_height(&self) -> usize {
        self.height.saturating_add(self.padding).checked_sub(self.size).map_or(0, |rest| rest / self.stride_y + 1)
    }

    /// Columns of the output, see [`Self::out_height`].
    pub fn out_width(&self) -> usize {
        self.width.saturating_add(self.padding).checked_sub(self.size).map_or(0, |rest| rest / self.stride_x + 1)
    }

    /// Panics on sizes that describe no pooling.
    pub(crate) fn check(&self) {
        assert!(self.size > 0 && self.stride_y > 0 && self.stride_x > 0, "{self:?}");
        let maps = [
            product([self.batch, self.height, self.width, self.channels]),
            product([self.batch, self.out_height(), self.out_width(), self.channels]),
        ];
        assert!(maps.iter().all(|&len| len <= LIMIT), "{self:?} has more values than memory can hold");
    }

    /// Values of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    /// Values of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_height() * self.out_width() * self.channels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yolov3_shapes_come_out_as_darknet_prints_them() {
        let mut conv = ConvShape {
            batch: 1,
            height: 416,
            width: 416,
            channels_in: 32,
            channels_out: 64,
            size: 3,
            stride_y: 2,
            stride_x: 2,
            pad: 1,
            dilation: 1,
            groups: 1,
        };
        assert_eq!((conv.out_height(), conv.out_width(), conv.weights_len()), (208, 208, 18432));
        conv.dilation = 300;
        assert_eq!(conv.out_height(), 0);
    }

    #[test]
    fn sizes_that_no_memory_holds_are_refused_before_their_products_wrap() {
        let one = ConvShape {
            batch: 1,
            height: 1,
            width: 1,
            channels_in: 1,
            channels_out: 1,
            size: 1,
            stride_y: 1,
            stride_x: 1,
            pad: 0,
            dilation: 1,
            groups: 1,
        };
        one.check();
        let wide = ConvShape { channels_out: 1 << 20, stride_x: 2, stride_y: 2, pad: (1 << 22) - 1, ..one };
        let deep = ConvShape { channels_in: 8, channels_out: (1 << 61) + 1, ..one };
        let far = ConvShape { size: 3, dilation: usize::MAX, ..one };
        let padded = ConvShape { pad: usize::MAX, ..one };
        for shape in [wide, deep, far, padded] {
            assert!(std::panic::catch_unwind(|| shape.check()).is_err(), "{shape:?}");
        }
        let pool = PoolShape { channels: 1 << 40, ..PoolShape::quarter(1, 1 << 20, 1 << 20, 1) };
        assert!(std::panic::catch_unwind(|| pool.check()).is_err());
    }

    #[test]
    fn tiny_pool_with_stride_one_keeps_its_size() {
        let pool =
            PoolShape { batch: 1, height: 13, width: 13, channels: 512, size: 2, stride_y: 1, stride_x: 1, padding: 1 };
        assert_eq!((pool.out_height(), pool.out_width()), (13, 13));
    }
}
