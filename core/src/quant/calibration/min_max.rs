//! All that was seen.

use super::super::Histogram;

/// The smallest and the largest number.
pub(super) fn range(histogram: &Histogram) -> (f32, f32) {
    histogram.range()
}
