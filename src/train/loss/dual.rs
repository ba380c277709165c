//! Dual numbers: a value and its derivatives with respect to a box's four raw outputs, so that the gradient of any
//! box loss follows from the loss as it is written down.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// A value with four partial derivatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dual {
    /// The value.
    pub value: f64,
    /// Its derivatives with respect to tx, ty, tw, th.
    pub slope: [f64; 4],
}

impl Dual {
    /// A value that does not depend on the outputs.
    #[must_use]
    pub fn constant(value: f64) -> Self {
        Self { value, slope: [0.0; 4] }
    }

    /// The output of that index itself.
    #[must_use]
    pub fn variable(value: f64, index: usize) -> Self {
        let mut slope = [0.0; 4];
        slope[index] = 1.0;
        Self { value, slope }
    }

    /// `f(self)` by its value and derivative.
    fn chain(self, value: f64, derivative: f64) -> Self {
        Self { value, slope: self.slope.map(|s| s * derivative) }
    }

    /// `f(self, other)` by its value and partial derivatives.
    fn join(self, other: Self, value: f64, partial: [f64; 2]) -> Self {
        let slope = |i: usize| self.slope[i] * partial[0] + other.slope[i] * partial[1];
        Self { value, slope: std::array::from_fn(slope) }
    }

    /// 1 / (1 + e^-x)
    #[must_use]
    pub fn logistic(self) -> Self {
        let p = 1.0 / (1.0 + (-self.value).exp());
        self.chain(p, p * (1.0 - p))
    }

    /// e^x
    #[must_use]
    pub fn exp(self) -> Self {
        let e = self.value.exp();
        self.chain(e, e)
    }

    /// ln x
    #[must_use]
    pub fn ln(self) -> Self {
        self.chain(self.value.ln(), 1.0 / self.value)
    }

    /// arctan x
    #[must_use]
    pub fn atan(self) -> Self {
        self.chain(self.value.atan(), 1.0 / (1.0 + self.value * self.value))
    }

    /// The smaller of both.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if self.value <= other.value { self } else { other }
    }

    /// The larger of both.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if self.value >= other.value { self } else { other }
    }
}

impl From<f64> for Dual {
    fn from(value: f64) -> Self {
        Self::constant(value)
    }
}

impl Neg for Dual {
    type Output = Self;
    fn neg(self) -> Self {
        self.chain(-self.value, -1.0)
    }
}

/// Implements an operator from its value and its two partial derivatives.
macro_rules! operator {
    ($trait:ident, $method:ident, |$a:ident, $b:ident| $value:expr, $da:expr, $db:expr) => {
        impl $trait for Dual {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                let ($a, $b) = (self.value, other.value);
                self.join(other, $value, [$da, $db])
            }
        }
        impl $trait<f64> for Dual {
            type Output = Self;
            fn $method(self, other: f64) -> Self {
                self.$method(Dual::constant(other))
            }
        }
    };
}

operator!(Add, add, |a, b| a + b, 1.0, 1.0);
operator!(Sub, sub, |a, b| a - b, 1.0, -1.0);
operator!(Mul, mul, |a, b| a * b, b, a);
operator!(Div, div, |a, b| a / b, 1.0 / b, -a / (b * b));
