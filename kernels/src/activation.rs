//! Activation functions of Darknet, their values and slopes.

use crate::path::{Path, for_each_path};
use rayon::prelude::*;

/// Values in a task of an element-wise kernel: small enough for the L2 cache, large enough to hide the spawning.
pub(crate) const CHUNK: usize = 16 * 1024;

/// An activation function; `x` is the value before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Activation {
    /// `x`
    #[default]
    Linear,
    /// `x` above zero, `0.1 x` below
    Leaky,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x tanh(ln(1 + e^x))`
    Mish,
    /// `x / (1 + e^-x)`
    Swish,
    /// `1 / (1 + e^-x)`
    Logistic,
    /// `x relu6(x + 3) / 6`
    HardSwish,
    /// `relu6(x + 3) / 6`
    HardSigmoid,
    /// Darknet's `hard_mish`: `x` above zero, `x^2 / 2 + x` down to -2, then 0
    HardMish,
    /// `x` clamped to -1..1
    Hardtan,
    /// `tanh(x)`
    Tanh,
    /// `x` above zero, `e^x - 1` below
    Elu,
}

impl Activation {
    /// Whether no value falls where its input rises, so that the largest output is that of the largest input.
    pub fn rises(self) -> bool {
        !matches!(self, Self::Mish | Self::Swish | Self::HardSwish | Self::HardMish)
    }
}

/// Runs `$body` with `$act` as a constant `$fixed`, so that no loop of it branches on the function.
macro_rules! fix_activation {
    ($act:expr, $fixed:ident => $body:expr) => {
        $crate::activation::fix_activation!(@arms $act, $fixed, $body,
            Linear Leaky Relu Relu6 Mish Swish Logistic HardSwish HardSigmoid HardMish Hardtan Tanh Elu)
    };
    (@arms $act:expr, $fixed:ident, $body:expr, $($name:ident)*) => {
        match $act {
            $($crate::activation::Activation::$name => {
                const $fixed: $crate::activation::Activation = $crate::activation::Activation::$name;
                $body
            })*
        }
    };
}
pub(crate) use fix_activation;

impl Activation {
    /// The function's value.
    #[inline(always)]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Linear => x,
            Self::Leaky => {
                if x > 0.0 {
                    x
                } else {
                    0.1 * x
                }
            }
            Self::Relu => {
                // Not `max`, which makes 0 of NaN.
                if x < 0.0 { 0.0 } else { x }
            }
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::Mish => x * mish_gate(x),
            Self::Swish => x * logistic(x),
            Self::Logistic => logistic(x),
            Self::HardSwish => x * hard_sigmoid(x),
            Self::HardSigmoid => hard_sigmoid(x),
            Self::HardMish => {
                let below = if x <= -2.0 { 0.0 } else { x * x / 2.0 + x };
                if x > 0.0 { x } else { below }
            }
            Self::Hardtan => x.clamp(-1.0, 1.0),
            Self::Tanh => 2.0 * logistic(2.0 * x) - 1.0,
            Self::Elu => {
                if x > 0.0 {
                    x
                } else {
                    exp(x) - 1.0
                }
            }
        }
    }

    /// The function's slope at `x`, the value before the function. At a kink it is Darknet's: the slope of the flatter
    /// side, and of leaky the one to the left.
    #[inline(always)]
    pub fn derivative(self, x: f32) -> f32 {
        let inside = |low: f32, high: f32, slope: f32| if x > low && x < high { slope } else { 0.0 };
        match self {
            Self::Linear => 1.0,
            Self::Leaky => {
                if x > 0.0 {
                    1.0
                } else {
                    0.1
                }
            }
            Self::Relu => inside(0.0, f32::INFINITY, 1.0),
            Self::Relu6 => inside(0.0, 6.0, 1.0),
            Self::Mish => {
                // One exponential for both: above 20 the gate is 1 and the second term nothing.
                let e = exp(x.min(20.0));
                let gate = e * (e + 2.0) / (e * (e + 2.0) + 2.0);
                gate + x * (e / (1.0 + e)) * (1.0 - gate * gate)
            }
            Self::Swish => {
                let s = logistic(x);
                s + x * s * (1.0 - s)
            }
            Self::Logistic => logistic(x) * (1.0 - logistic(x)),
            Self::HardSwish => {
                if x > 3.0 {
                    1.0
                } else {
                    inside(-3.0, f32::INFINITY, (2.0 * x + 3.0) / 6.0)
                }
            }
            Self::HardSigmoid => inside(-3.0, 3.0, 1.0 / 6.0),
            Self::HardMish => {
                if x > 0.0 {
                    1.0
                } else {
                    inside(-2.0, f32::INFINITY, x + 1.0)
                }
            }
            Self::Hardtan => inside(-1.0, 1.0, 1.0),
            Self::Tanh => {
                let t = 2.0 * logistic(2.0 * x) - 1.0;
                1.0 - t * t
            }
            Self::Elu => {
                if x > 0.0 {
                    1.0
                } else {
                    exp(x)
                }
            }
        }
    }
}

/// Applies `act` to every value of `x` in place.
pub fn activate(x: &mut [f32], act: Activation) {
    let path = Path::detect();
    x.par_chunks_mut(CHUNK).for_each(|part| activate_on(path, part, act));
}

for_each_path! {
    /// [`activate`] on one thread.
    pub(crate) fn activate_on(x: &mut [f32], act: Activation) {
        if act == Activation::Linear {
            return;
        }
        fix_activation!(act, ACT => for v in x.iter_mut() {
            *v = ACT.apply(*v);
        })
    }
}

/// `dy *= act'(z)` in place, `z` the values before the activation and `dy` the gradient of its output.
///
/// # Panics
/// If the lengths differ.
pub fn activation_backward(z: &[f32], act: Activation, dy: &mut [f32]) {
    assert_eq!(z.len(), dy.len());
    let path = Path::detect();
    dy.par_chunks_mut(CHUNK).zip(z.par_chunks(CHUNK)).for_each(|(dy, z)| {
        multiply_by_derivative(path, z, act, dy);
    });
}

for_each_path! {
    fn multiply_by_derivative(z: &[f32], act: Activation, dy: &mut [f32]) {
        fix_activation!(act, ACT => for (d, &v) in dy.iter_mut().zip(z) {
            *d *= ACT.derivative(v);
        })
    }
}

#[inline(always)]
fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn hard_sigmoid(x: f32) -> f32 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// `tanh(ln(1 + e^x))`, which is `(e^2x + 2 e^x) / (e^2x + 2 e^x + 2)`; above 20 it is 1 in `f32`.
#[inline(always)]
fn mish_gate(x: f32) -> f32 {
    let e = exp(x.min(20.0));
    let n = e * (e + 2.0);
    n / (n + 2.0)
}

/// `e^x` to about 2e-7 relative, without a branch so that loops of it vectorise.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, then the Taylor series of `e^r` to the seventh power times `2^n`.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    // Comparisons in this order keep NaN.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let series = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let series = 1.0 / 24.0 + r * (1.0 / 120.0 + r * series);
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * series)));
    let power = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    series * f32::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 13] = [
        Activation::Linear,
        Activation::Leaky,
        Activation::Relu,
        Activation::Relu6,
        Activation::Mish,
        Activation::Swish,
        Activation::Logistic,
        Activation::HardSwish,
        Activation::HardSigmoid,
        Activation::HardMish,
        Activation::Hardtan,
        Activation::Tanh,
        Activation::Elu,
    ];

    fn exact(act: Activation, x: f64) -> f64 {
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        match act {
            Activation::Linear => x,
            Activation::Leaky => x.max(0.1 * x),
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::Mish => x * x.exp().ln_1p().tanh(),
            Activation::Swish => x * logistic(x),
            Activation::Logistic => logistic(x),
            Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::HardMish if x > 0.0 => x,
            Activation::HardMish if x > -2.0 => x * x / 2.0 + x,
            Activation::HardMish => 0.0,
            Activation::Hardtan => x.clamp(-1.0, 1.0),
            Activation::Tanh => x.tanh(),
            Activation::Elu => x.max(x.min(0.0).exp_m1()),
        }
    }

    #[test]
    fn values_and_slopes_follow_the_formulas_in_double_precision() {
        for act in ALL {
            for step in -400..400 {
                let x = step as f64 * 0.1 + 0.013;
                let value = act.apply(x as f32) as f64;
                assert!((value - exact(act, x)).abs() <= 2e-6 * x.abs().max(1.0), "{act:?}({x}) = {value}");
                let slope = (exact(act, x + 1e-5) - exact(act, x - 1e-5)) / 2e-5;
                let got = act.derivative(x as f32) as f64;
                assert!((got - slope).abs() <= 1e-5 * x.abs().max(1.0), "{act:?}'({x}) = {got}, not {slope}");
            }
        }
    }

    #[test]
    fn far_values_stay_finite_and_nan_is_kept() {
        for act in ALL {
            assert!(act.apply(f32::NAN).is_nan(), "{act:?}");
            assert!(act.apply(-1e30).is_finite() && act.apply(1e4).is_finite(), "{act:?}");
            assert!(act.derivative(-1e4).is_finite() && act.derivative(1e4).is_finite(), "{act:?}");
        }
    }

    #[test]
    fn slices_are_activated_on_every_path() {
        let x: Vec<f32> = (0..37).map(|v| v as f32 * 0.3 - 5.0).collect();
        for path in Path::available() {
            let mut y = x.clone();
            activate_on(path, &mut y, Activation::Mish);
            assert!(y.iter().zip(&x).all(|(y, &x)| (y - Activation::Mish.apply(x)).abs() < 1e-6));
        }
        let mut dy = vec![2.0; x.len()];
        activation_backward(&x, Activation::Leaky, &mut dy);
        assert_eq!((dy[0], dy[36]), (0.2, 2.0));
    }
}
