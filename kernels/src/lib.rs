//! CPU kernels for convolutional detectors, on plain slices.
//!
//! Activations are `f32` in NHWC order: `[batch][row][column][channel]`, the channel running fastest. Convolution
//! weights keep Darknet's order, OIHW: `[out][in / groups][kernel row][kernel column]`.
//!
//! * Slices whose lengths do not fit their shape are programmer errors: every function panics on them.
//! * Work is spread over rayon's current pool. Borders of the work depend on the shape alone and partial sums are
//!   added in a fixed order, so results do not depend on the number of threads, bit for bit.
//! * AMX, AVX-512, AVX2 with FMA or NEON are used where the processor has them, portable code elsewhere; [`cpu_path`] says
//!   which, and how to choose. They differ in the last bits, as they round and add in other places.
//! * With AMX, convolutions of some size multiply tiles of bfloat16: a value is the sum of two, and an output is off by about a
//!   hundred thousandth of the largest. Elsewhere 3 x 3 convolutions are computed on transformed tiles where that pays.
//!   `YOLOSLIM_CONVOLUTION=direct` in the environment has all of them summed up directly, with less rounding error and more time.
//! * Denormals are neither flushed nor treated apart, but by AMX, for which they are zero.
//! * [`awake`] keeps the pool's threads from falling asleep between the layers of a net.
//! * This is the only package of the workspace with `unsafe` code.
//!
//! ```
//! use yoloslim_kernels::{Activation, ConvShape, Epilogue, Scratch, conv_forward_once};
//!
//! // One image of 4 x 4 pixels and one channel; a 3 x 3 kernel that adds up its neighbourhood.
//! let shape = ConvShape {
//!     batch: 1, height: 4, width: 4, channels_in: 1, channels_out: 1,
//!     size: 3, stride_y: 1, stride_x: 1, pad: 1, dilation: 1, groups: 1,
//! };
//! let (image, kernel, bias) = ([1.0; 16], [1.0; 9], [-5.0]);
//! let mut output = vec![0.0; shape.output_len()];
//! let epilogue = Epilogue::new(Some(&bias), Activation::Relu);
//! conv_forward_once(&shape, &kernel, &image, epilogue, &mut output, &mut Scratch::default());
//! // Nine neighbours inside, six at an edge, four in a corner.
//! let row = |y: usize| output[4 * y..][..4].iter().map(|v| v.round()).collect::<Vec<_>>();
//! assert_eq!(row(0), [0.0, 1.0, 1.0, 0.0]);
//! assert_eq!(row(1), [1.0, 4.0, 4.0, 1.0]);
//! ```

mod activation;
mod awake;
mod channels;
mod conv;
mod huge_pages;
mod norm;
mod optimiser;
mod path;
mod pool;
mod resample;
mod shape;
mod share;

pub use activation::{Activation, activate, activation_backward};
pub use awake::awake;
pub use channels::{add_into, copy, copy_channels, fill, nchw_to_nhwc, nhwc_to_nchw, sum};
pub use conv::{
    Epilogue, PackedConv, Scratch, conv_backward_data, conv_backward_weights, conv_forward, conv_forward_once,
};
pub use huge_pages::HugePages;
pub use norm::{
    BatchNormView, channel_mean_variance, channel_sums, norm_activate, norm_activate_backward,
    norm_activate_backward_shared,
};
pub use optimiser::{SgdStep, lerp_into, sgd_nesterov, sum_of_squares};
pub use path::cpu_path;
pub use pool::{average_pool, average_pool_backward, max_pool, max_pool_backward};
pub use resample::{reorg, reorg_backward, upsample_nearest, upsample_nearest_backward, upsample_nearest_into};
pub use shape::{ConvShape, PoolShape};
