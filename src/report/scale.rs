//! From values to positions on a drawing.

/// A linear map from a range of values to a range of positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// The range of values.
    pub from: (f64, f64),
    /// The range of positions.
    pub to: (f64, f64),
}

impl Scale {
    /// The map of `from` to `to`; a range of one value is widened.
    pub fn new(from: (f64, f64), to: (f64, f64)) -> Self {
        let (low, high) = from;
        let from = if high > low { from } else { (low, low + low.abs().max(1.0)) };
        Self { from, to }
    }

    /// The position of a value.
    pub fn at(&self, value: f64) -> f64 {
        let share = (value - self.from.0) / (self.from.1 - self.from.0);
        self.to.0 + share * (self.to.1 - self.to.0)
    }

    /// About `count` round values in the range.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        let step = step(self.from.1 - self.from.0, count);
        let first = (self.from.0 / step - 1e-9).ceil() as i64;
        let last = (self.from.1 / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }
}

/// The range from `low` to `high`, widened to round values.
pub fn rounded(low: f64, high: f64, count: usize) -> (f64, f64) {
    let step = step((high - low).max(f64::MIN_POSITIVE), count);
    ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step)
}

/// 1, 2 or 5 times a power of ten, so that about `count` of them make up `span`.
fn step(span: f64, count: usize) -> f64 {
    let rough = span / count.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0].map(|m| m * power).into_iter().find(|s| *s >= rough * 0.999).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_lie_in_the_range() {
        let near = |a: Vec<f64>, b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(near(Scale::new((0.0, 1.0), (0.0, 1.0)).ticks(5), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]));
        assert!(near(Scale::new((0.31, 0.44), (0.0, 1.0)).ticks(4), &[0.35, 0.4]));
        assert!(near(Scale::new((3.0, 19.0), (0.0, 1.0)).ticks(4), &[5.0, 10.0, 15.0]));
        assert_eq!(rounded(0.31, 0.44, 3), (0.30000000000000004, 0.45));
    }

    #[test]
    fn both_ends_map_to_both_ends_even_of_one_value() {
        for (low, high) in [(0.0, 4.0), (-3.0, 9.0), (7.0, 7.0), (0.0, 0.0)] {
            let scale = Scale::new((low, high), (50.0, 10.0));
            assert_eq!((scale.at(scale.from.0), scale.at(scale.from.1)), (50.0, 10.0));
        }
    }
}
