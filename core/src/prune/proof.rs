//! The proof that a slim net is the same detector.

/// The largest [`max_relative_difference`] between masked and compact heads that passes as rounding.
pub const PROOF_TOLERANCE: f64 = 1e-4;

/// The largest difference between two runs' heads, each head's relative to its largest value: max over heads of
/// max |a - b| / max |a|. Infinite when the heads differ in number or size or hold a number that is not finite.
#[must_use]
pub fn max_relative_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    a.iter().zip(b).map(|(a, b)| head_difference(a, b)).fold(0.0, f64::max)
}

fn head_difference(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() || a.iter().chain(b).any(|v| !v.is_finite()) {
        return f64::INFINITY;
    }
    let largest = a.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max);
    let difference = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).fold(0.0, f64::max);
    if difference == 0.0 { 0.0 } else { difference / largest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_head_counts_by_its_own_largest_value() {
        let a = [vec![1.0, -2.0], vec![100.0, 0.0]];
        let b = [vec![1.0, -2.5], vec![101.0, 0.0]];
        assert!((max_relative_difference(&a, &b) - 0.25).abs() < 1e-9);
        assert_eq!(max_relative_difference(&a, &a), 0.0);
        assert_eq!(max_relative_difference(&[vec![0.0]], &[vec![0.0]]), 0.0);
    }

    #[test]
    fn what_cannot_be_compared_is_infinitely_far() {
        assert_eq!(max_relative_difference(&[vec![1.0]], &[]), f64::INFINITY);
        assert_eq!(max_relative_difference(&[vec![1.0]], &[vec![1.0, 2.0]]), f64::INFINITY);
        assert_eq!(max_relative_difference(&[vec![f32::NAN]], &[vec![1.0]]), f64::INFINITY);
        assert_eq!(max_relative_difference(&[vec![0.0]], &[vec![1.0]]), f64::INFINITY);
    }
}
