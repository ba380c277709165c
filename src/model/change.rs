//! How far maps differ from others.

/// The root mean square of a difference, as a share of that of what it is a difference from.
#[derive(Debug, Default)]
pub struct RelativeChange {
    of_change: f64,
    of_size: f64,
}

impl RelativeChange {
    /// Takes in a part of both, of the same length.
    pub fn add(&mut self, before: &[f32], after: &[f32]) {
        let square = |v: f64| v * v;
        self.of_change += before.iter().zip(after).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum::<f64>();
        self.of_size += before.iter().map(|a| square(f64::from(*a))).sum::<f64>();
    }

    /// Of all that was taken in. Of nothing but zeros, the root of the sum of squares of what came of them.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.of_size > 0.0 { (self.of_change / self.of_size).sqrt() } else { self.of_change.sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_relative_to_what_has_changed_over_all_parts() {
        let mut change = RelativeChange::default();
        change.add(&[3.0, 4.0], &[3.0, 4.5]);
        change.add(&[0.0, 0.0], &[0.0, 0.0]);
        assert!((change.share() - 0.1).abs() < 1e-9);
        let mut from_nothing = RelativeChange::default();
        from_nothing.add(&[0.0, 0.0], &[3.0, 4.0]);
        assert_eq!(from_nothing.share(), 5.0);
    }
}
