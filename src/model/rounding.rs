//! Numbers rounded in the forward pass of training, as a quantised net rounds them. The backward pass takes rounding for
//! the identity (the straight-through estimator: Bengio, Léonard and Courville, arXiv:1308.3432; Jacob et al. 2018,
//! 'Quantization and training of neural networks for efficient integer-arithmetic-only inference').

/// What rounds a net's numbers.
pub trait Rounding: Send + Sync {
    /// Rounds input images.
    fn images(&self, images: &mut [f32]);

    /// Rounds the kernel of a convolution, `[filters, ..]`; `bias` is `[filters]`.
    fn kernel(&self, layer: usize, kernel: &mut [f32], bias: &[f32]);

    /// Rounds what a layer gives before its activation function.
    fn before(&self, layer: usize, map: &mut [f32]);

    /// Rounds a layer's output.
    fn after(&self, layer: usize, map: &mut [f32]);
}
