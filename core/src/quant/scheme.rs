//! The two ways of quantising, and what each does to weights and activations.

use serde::{Deserialize, Serialize};

use super::{Linear, NnieLog, Quantiser, filter_scales};

/// A way of quantising a net.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Uniform 8-bit codes, weights a filter each, activations a tensor each.
    Int8(Profile),
    /// NNIE's logarithmic 8-bit codes, a tensor each.
    Nnie,
}

/// For which runtime uniform codes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// ONNX Runtime: asymmetric activations, and also the sum before an activation function is 8 bits wide, for only
    /// then its integer kernels run the convolution.
    OnnxRuntime,
    /// TensorRT: symmetric activations; convolution and activation function are one kernel.
    TensorRt,
}

impl Scheme {
    /// Whether the value between a convolution and its activation function is quantised too.
    #[must_use]
    pub fn quantises_before_activation(self) -> bool {
        self == Self::Int8(Profile::OnnxRuntime)
    }

    /// Whether a quantised layer's output is quantised even where only layers in floating point read it. In QDQ graphs it
    /// must be, or the layer runs in floating point; NNIE writes what the readers want.
    #[must_use]
    pub fn quantises_every_output(self) -> bool {
        self != Self::Nnie
    }

    /// Whether a convolution and the sum that follows it are one kernel, with no 8 bits between them.
    #[must_use]
    pub fn fuses_sums(self) -> bool {
        self == Self::Int8(Profile::TensorRt)
    }

    /// The grid for activations of a range.
    #[must_use]
    pub fn activations(self, (low, high): (f32, f32)) -> Quantiser {
        let largest = high.max(-low);
        match self {
            Self::Int8(Profile::OnnxRuntime) => Quantiser::Linear(Linear::asymmetric(low, high)),
            Self::Int8(Profile::TensorRt) => Quantiser::Linear(Linear::symmetric(largest)),
            Self::Nnie => Quantiser::Log(NnieLog::new(largest)),
        }
    }

    /// Whether the grid of a range is that of its larger side.
    #[must_use]
    pub fn is_symmetric(self) -> bool {
        self != Self::Int8(Profile::OnnxRuntime)
    }

    /// Sets the biases `[filters]` of a convolution to whole multiples of their steps, where the scheme has them in codes;
    /// `kernel` is `[filters, ..]`, not yet rounded, `input` the grid of what the layer reads.
    pub fn round_biases(self, kernel: &[f32], bias: &mut [f32], input: Option<Quantiser>) {
        let Self::Int8(profile) = self else { return };
        let Some(step) = profile.bias_step(input) else { return };
        for (scale, bias) in filter_scales(kernel, bias, Some(step)).iter().zip(bias) {
            *bias = (*bias / (scale * step)).round_ties_even() * (scale * step);
        }
    }

    /// Sets the weights `[filters, ..]` to their grids' nearest; `bias` is `[filters]`, `input` the grid of what the
    /// layer reads.
    pub fn round_weights(self, kernel: &mut [f32], bias: &[f32], input: Option<Quantiser>) {
        let Self::Int8(profile) = self else {
            let largest = kernel.iter().fold(0.0f32, |m, w| m.max(w.abs()));
            return NnieLog::new(largest).round(kernel);
        };
        let taps = (kernel.len() / bias.len().max(1)).max(1);
        let scales = filter_scales(kernel, bias, profile.bias_step(input));
        for (filter, scale) in kernel.chunks_mut(taps).zip(scales) {
            Quantiser::Linear(Linear { scale, zero_point: 0 }).round(filter);
        }
    }
}

impl Profile {
    /// The scale of the input that 32-bit biases are multiples of, where biases are quantised.
    #[must_use]
    pub fn bias_step(self, input: Option<Quantiser>) -> Option<f32> {
        match (self, input) {
            (Self::OnnxRuntime, Some(Quantiser::Linear(input))) => Some(input.scale),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_are_whole_multiples_of_weight_scale_times_input_scale() {
        let input = Some(Quantiser::Linear(Linear { scale: 0.1, zero_point: 0 }));
        let rounded = |scheme: Scheme| {
            let mut bias = [0.0126, -0.26];
            scheme.round_biases(&[1.27, -12.7], &mut bias, input);
            bias
        };
        let [a, b] = rounded(Scheme::Int8(Profile::OnnxRuntime));
        assert!((a - 0.013).abs() < 1e-6 && (b + 0.26).abs() < 1e-6, "{a} {b}");
        for scheme in [Scheme::Int8(Profile::TensorRt), Scheme::Nnie] {
            assert_eq!(rounded(scheme), [0.0126, -0.26]);
        }
    }

    #[test]
    fn each_filter_has_its_own_scale_where_the_scheme_says_so() {
        let kernel = [1.0f32, 0.3, 0.01, 0.006];
        let rounded = |scheme: Scheme| {
            let mut rounded = kernel;
            scheme.round_weights(&mut rounded, &[0.0; 2], None);
            rounded
        };
        for scheme in [Scheme::Int8(Profile::OnnxRuntime), Scheme::Int8(Profile::TensorRt)] {
            let [a, b, c, d] = rounded(scheme);
            assert!(a == 1.0 && (b - 38.0 / 127.0).abs() < 1e-6, "{a} {b}");
            assert!((c - 0.01).abs() < 1e-8 && (d - 76.0 * 0.01 / 127.0).abs() < 1e-8, "{c} {d}");
        }
        assert!(rounded(Scheme::Nnie).iter().zip(kernel).all(|(a, b)| (a - b).abs() <= 0.022 * b));
    }
}
