//! Uniform 8-bit grids, as ONNX's QuantizeLinear and DequantizeLinear (opset 13) define them.

use serde::{Deserialize, Serialize};

/// The largest code of a weight. Weights leave -128 out, so that their grid is symmetric (TensorRT's rule).
const WEIGHT_CODES: f32 = 127.0;
/// Bits of a 32-bit bias that are used, so that a sum of products still fits beside it.
const BIAS_LIMIT: f32 = (1u32 << 30) as f32;
/// Adding and taking away 1.5 * 2^23 rounds a number below 2^22 to the nearest whole one, halves to even, in two
/// additions that vectorise on every processor.
const ROUNDING: f32 = 12_582_912.0;

/// A grid of signed 8-bit codes: a code stands for `scale * (code - zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    /// Distance of neighbouring values, above 0.
    pub scale: f32,
    /// The code of 0, -128 to 127.
    pub zero_point: i8,
}

impl Linear {
    /// The grid whose code 127 is `limit` and whose code 0 is 0.
    #[must_use]
    pub fn symmetric(limit: f32) -> Self {
        Self { scale: usable(limit / WEIGHT_CODES), zero_point: 0 }
    }

    /// The grid of 256 values from `low` to `high`, moved so that 0 is one of them; 0 counts as within the range.
    #[must_use]
    pub fn asymmetric(low: f32, high: f32) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = usable((high - low) / 255.0);
        let zero_point = (-128.0 - low / scale).round_ties_even().clamp(-128.0, 127.0);
        Self { scale, zero_point: zero_point as i8 }
    }

    /// The code nearest to `x`, halves to even, those outside of the grid at its ends.
    #[must_use]
    pub fn code(self, x: f32) -> i8 {
        self.rounded(x) as i8
    }

    /// The number that a code stands for.
    #[must_use]
    pub fn value(self, code: i8) -> f32 {
        self.scale * (f32::from(code) - f32::from(self.zero_point))
    }

    /// The value of the grid nearest to `x`.
    #[inline]
    #[must_use]
    pub fn nearest(self, x: f32) -> f32 {
        self.scale * (self.rounded(x) - f32::from(self.zero_point))
    }

    /// The smallest and the largest value.
    #[must_use]
    pub fn range(self) -> (f32, f32) {
        (self.value(i8::MIN), self.value(i8::MAX))
    }

    #[inline]
    fn rounded(self, x: f32) -> f32 {
        let zero = f32::from(self.zero_point);
        // The clamp before the rounding gives the same codes, and keeps it within what the trick rounds right.
        let code = (x / self.scale).clamp(-128.0 - zero, 127.0 - zero);
        (code + ROUNDING) - ROUNDING + zero
    }
}

/// The scale of each filter's weights, symmetric codes -127 to 127; `kernel` is `[filters, ..]`, `bias` `[filters]`.
///
/// Biases become 32-bit codes of the step weight scale times input scale. A filter with weights so small that its bias
/// would not fit gets the scale at which it does. `input_scale` is none where biases stay in floating point.
#[must_use]
pub fn filter_scales(kernel: &[f32], bias: &[f32], input_scale: Option<f32>) -> Vec<f32> {
    let taps = (kernel.len() / bias.len().max(1)).max(1);
    let filters = kernel.chunks(taps).zip(bias);
    let scale = |(filter, bias): (&[f32], &f32)| {
        let largest = filter.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let least = input_scale.map_or(0.0, |input| bias.abs() / (input * BIAS_LIMIT));
        usable((largest / WEIGHT_CODES).max(least))
    };
    filters.map(scale).collect()
}

/// A scale that can be divided by: 1 for a tensor of zeros, whose codes are 0 at any scale.
fn usable(scale: f32) -> f32 {
    if scale.is_normal() && scale > 0.0 { scale } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grids() -> impl Strategy<Value = Linear> {
        let asymmetric = (-10.0f32..1.0, -1.0f32..100.0).prop_map(|(low, high)| Linear::asymmetric(low, high));
        prop_oneof![asymmetric, (1e-3f32..1e3).prop_map(Linear::symmetric)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_code_comes_back_from_its_value(grid in grids()) {
            for code in i8::MIN..=i8::MAX {
                prop_assert_eq!(grid.code(grid.value(code)), code);
            }
        }

        #[test]
        fn larger_numbers_never_have_smaller_codes(grid in grids(), mut xs in prop::collection::vec(-200.0f32..200.0, 2..50)) {
            xs.sort_by(f32::total_cmp);
            prop_assert!(xs.windows(2).all(|w| grid.code(w[0]) <= grid.code(w[1])));
        }

        #[test]
        fn numbers_in_range_move_by_half_a_step_at_most(grid in grids(), share in 0.0f32..1.0) {
            let (low, high) = grid.range();
            let x = low + share * (high - low);
            prop_assert!((grid.nearest(x) - x).abs() <= grid.scale * 0.5001);
            prop_assert_eq!(grid.nearest(x), grid.value(grid.code(x)));
        }

        #[test]
        fn zero_is_on_every_grid_and_the_asked_range_is_covered(low in -10.0f32..1.0, high in -1.0f32..100.0) {
            let grid = Linear::asymmetric(low, high);
            prop_assert_eq!(grid.nearest(0.0), 0.0);
            let (least, most) = grid.range();
            prop_assert!(least <= low + 0.51 * grid.scale && most >= high - 0.51 * grid.scale);
        }
    }

    #[test]
    fn codes_are_what_onnx_defines() {
        let grid = Linear { scale: 0.5, zero_point: 10 };
        let cases =
            [(0.0, 10), (0.25, 10), (0.75, 12), (-0.75, 8), (1e9, 127), (-1e9, -128), (58.5, 127), (-69.0, -128)];
        for (x, code) in cases {
            assert_eq!(grid.code(x), code, "{x}");
        }
    }

    #[test]
    fn a_tensor_of_zeros_has_a_grid_too() {
        for grid in [Linear::symmetric(0.0), Linear::asymmetric(0.0, 0.0)] {
            assert_eq!(grid.nearest(0.0), 0.0);
        }
    }

    #[test]
    fn a_bias_that_would_not_fit_widens_the_scale_of_its_filter_alone() {
        let scales = filter_scales(&[1.27, -0.5, 1e-9, 0.0], &[3.0, 3.0], Some(0.01));
        assert!((scales[0] - 0.01).abs() < 1e-7, "{scales:?}");
        assert!(3.0 / (0.01 * scales[1]) <= 1.001 * BIAS_LIMIT, "{scales:?}");
        let free = filter_scales(&[1.27, -0.5, 1e-9, 0.0], &[3.0, 3.0], None);
        assert!(free[1] < 1e-10 && free[0] == scales[0], "{free:?}");
    }
}
