//! From the graph's terms to those of the kernels.

use yoloslim_core::graph::{Activation, Convolution, MaxPool, Shape};
use yoloslim_kernels as kernels;

/// The kernels' name for an activation.
pub(crate) fn activation(activation: Activation) -> kernels::Activation {
    match activation {
        Activation::Linear => kernels::Activation::Linear,
        Activation::Leaky => kernels::Activation::Leaky,
        Activation::Relu => kernels::Activation::Relu,
        Activation::Relu6 => kernels::Activation::Relu6,
        Activation::Mish => kernels::Activation::Mish,
        Activation::Swish => kernels::Activation::Swish,
        Activation::Logistic => kernels::Activation::Logistic,
        Activation::HardSwish => kernels::Activation::HardSwish,
        Activation::HardMish => kernels::Activation::HardMish,
        Activation::Hardtan => kernels::Activation::Hardtan,
        Activation::Tanh => kernels::Activation::Tanh,
        Activation::Elu => kernels::Activation::Elu,
    }
}

/// A convolution of `count` maps of the shape `input`.
pub(super) fn conv_shape(c: &Convolution, input: Shape, count: usize) -> kernels::ConvShape {
    kernels::ConvShape {
        batch: count,
        height: input.height,
        width: input.width,
        channels_in: input.channels,
        channels_out: c.filters,
        size: c.size,
        stride_y: c.stride_y,
        stride_x: c.stride_x,
        pad: c.pad,
        dilation: c.dilation,
        groups: c.groups,
    }
}

/// A max pool over `count` maps of the shape `input`.
pub(super) fn pool_shape(p: &MaxPool, input: Shape, count: usize) -> kernels::PoolShape {
    kernels::PoolShape {
        batch: count,
        height: input.height,
        width: input.width,
        channels: input.channels,
        size: p.size,
        stride_y: p.stride_y,
        stride_x: p.stride_x,
        padding: p.padding,
    }
}
