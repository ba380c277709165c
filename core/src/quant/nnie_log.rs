//! The logarithmic 8-bit grid of HiSilicon's NNIE, one a tensor (as MQBench's NNIE quantiser has it).

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// Steps an octave.
const STEPS: i32 = 16;
/// The largest code of a magnitude.
const CODES: i32 = 127;
/// Bits of a single-precision fraction.
const FRACTION_BITS: u32 = 23;
/// The fraction's leading bits that find its step.
const LEADING_BITS: u32 = 7;

/// A grid of zero and of magnitudes `2^((code + z) / 16)` of either sign.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NnieLog {
    /// 16 times the base-2 logarithm of the magnitude of code 0.
    pub z: i32,
}

/// What turns numbers into codes without logarithms: a magnitude is `2^exponent * (1 + fraction)`.
struct Tables {
    /// For each value of a fraction's leading bits, the steps that lie below all such fractions.
    steps: [u8; 1 << LEADING_BITS],
    /// The fraction's bits from which the next step is nearer, by steps below.
    borders: [u32; STEPS as usize + 1],
    /// The bits of `2^(step / 16)`.
    powers: [u32; STEPS as usize],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let fraction = |x: f64| ((x - 1.0) * f64::from(1 << FRACTION_BITS)).ceil() as u32;
    let step = |j: f64| (j / f64::from(STEPS)).exp2();
    let borders = std::array::from_fn(|j| if j < STEPS as usize { fraction(step(j as f64 + 0.5)) } else { u32::MAX });
    let first = |lead: usize| (lead as u32) << (FRACTION_BITS - LEADING_BITS);
    Tables {
        steps: std::array::from_fn(|lead| borders.iter().filter(|b| **b <= first(lead)).count() as u8),
        borders,
        powers: std::array::from_fn(|j| (step(j as f64) as f32).to_bits()),
    }
});

impl NnieLog {
    /// The grid of a tensor whose largest magnitude is `largest`.
    #[must_use]
    pub fn new(largest: f32) -> Self {
        let largest = if largest.is_normal() { f64::from(largest.abs()) } else { 1.0 };
        let z = (f64::from(STEPS) * largest.log2()).round_ties_even() as i32 - CODES;
        // The smallest and the largest value stay normal numbers.
        Self { z: z.clamp(-125 * STEPS, 127 * STEPS - CODES - 1) }
    }

    /// The number nearest to `x` in the chip's sense: within the grid by ratio, not by distance; too small ones are 0.
    #[inline]
    #[must_use]
    pub fn nearest(self, x: f32) -> f32 {
        self.nearest_by(&TABLES, x)
    }

    /// Sets every number to the nearest.
    pub fn round(self, values: &mut [f32]) {
        let tables = &*TABLES;
        values.iter_mut().for_each(|v| *v = self.nearest_by(tables, *v));
    }

    /// The smallest and the largest value.
    #[must_use]
    pub fn range(self) -> (f32, f32) {
        let largest = power(&TABLES, CODES + self.z);
        (-largest, largest)
    }

    #[inline]
    fn nearest_by(self, tables: &Tables, x: f32) -> f32 {
        let bits = x.to_bits() & !(1 << 31);
        let negative = x.is_sign_negative();
        let fraction = bits & ((1 << FRACTION_BITS) - 1);
        let below = tables.steps[(fraction >> (FRACTION_BITS - LEADING_BITS)) as usize];
        let step = i32::from(below) + i32::from(fraction >= tables.borders[usize::from(below)]);
        // 16 log2 |x|, rounded.
        let place = ((bits >> FRACTION_BITS) as i32 - 127) * STEPS + step;
        if bits < power(tables, self.z - STEPS + i32::from(negative)).to_bits() {
            return 0.0;
        }
        let code = (place - self.z).clamp(i32::from(negative), CODES);
        power(tables, code + self.z).copysign(x)
    }
}

/// `2^(place / 16)`.
#[inline]
fn power(tables: &Tables, place: i32) -> f32 {
    let (octave, step) = (place.div_euclid(STEPS), place.rem_euclid(STEPS));
    f32::from_bits(tables.powers[step as usize].wrapping_add_signed(octave << FRACTION_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The reference's formula, in double precision.
    fn by_formula(largest: f64, x: f64) -> f64 {
        let z = (16.0 * largest.log2()).round_ties_even() - 127.0;
        if x > -((z + 1.0 - 16.0) / 16.0).exp2() && x < ((z - 16.0) / 16.0).exp2() {
            return 0.0;
        }
        let code = (16.0 * x.abs().log2() - z).round_ties_even().clamp(if x < 0.0 { 1.0 } else { 0.0 }, 127.0);
        x.signum() * ((code + z) / 16.0).exp2()
    }

    #[test]
    fn the_grid_is_that_of_the_formula() {
        // z = -127 for 1; code 0 is 2^(-127/16), numbers below 2^(-143/16) vanish.
        let cases = [
            (1.0, 1.0, 1.0),
            (1.0, 0.5, 0.5),
            (1.0, -0.5, -0.5),
            (1.0, 3.0, 1.0),
            (1.0, 0.97, 2f32.powf(-1.0 / 16.0)),
            (1.0, 0.98, 1.0),
            (1.0, 0.0021, 2f32.powf(-127.0 / 16.0)),
            (1.0, 0.0020, 0.0),
            (1.0, -0.0021, 0.0),
            (1.0, -0.0022, -(2f32.powf(-126.0 / 16.0))),
            (6.0, 6.0, 2f32.powf(41.0 / 16.0)),
            (0.0, 0.0, 0.0),
        ];
        for (largest, x, wanted) in cases {
            let found = NnieLog::new(largest).nearest(x);
            assert!((found - wanted).abs() <= 1e-6 * wanted.abs(), "{x} of {largest}: {found}, wanted {wanted}");
        }
        assert_eq!([1.0, 6.0, 0.01].map(|largest| NnieLog::new(largest).z), [-127, -86, -233]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn tables_and_formula_agree(largest in 1e-3f32..1e3, share in -1.2f32..1.2, octaves in 0i32..10) {
            let x = largest * share * 0.5f32.powi(octaves);
            let (found, wanted) = (NnieLog::new(largest).nearest(x), by_formula(f64::from(largest), f64::from(x)) as f32);
            prop_assert!((found - wanted).abs() <= 1e-6 * wanted.abs(), "{x} of {largest}: {found}, wanted {wanted}");
        }

        #[test]
        fn what_is_on_the_grid_stays(largest in 1e-3f32..1e3, share in -1.0f32..1.0) {
            let grid = NnieLog::new(largest);
            let once = grid.nearest(largest * share);
            prop_assert_eq!(grid.nearest(once), once);
        }

        #[test]
        fn errors_within_seven_octaves_are_below_2_2_percent(largest in 1e-3f32..1e3, octaves in 0.1f32..7.0) {
            let x = largest * (-octaves).exp2();
            prop_assert!((NnieLog::new(largest).nearest(x) - x).abs() <= 0.022 * x);
        }

        #[test]
        fn larger_numbers_never_have_smaller_values(largest in 1e-3f32..1e3, mut shares in prop::collection::vec(-1.5f32..1.5, 2..60)) {
            shares.sort_by(f32::total_cmp);
            let grid = NnieLog::new(largest);
            let values: Vec<f32> = shares.iter().map(|s| grid.nearest(largest * s)).collect();
            prop_assert!(values.windows(2).all(|w| w[0] <= w[1]), "{values:?}");
        }
    }
}
