//! All but the outermost numbers.

use super::super::Histogram;

/// The share of the numbers that is left out.
const OUTSIDE: f64 = 1e-4;

/// The range without the outermost numbers: of the larger side where the grid is symmetric, else half of them on each.
pub(super) fn range(histogram: &Histogram, symmetric: bool) -> (f32, f32) {
    let (low, high) = histogram.range();
    let filled = histogram.filled();
    let total: u64 = filled.iter().map(|(_, count)| count).sum();
    let half_bin = histogram.width() / 2.0;
    if symmetric {
        let mut sizes: Vec<(f32, u64)> = filled.iter().map(|(middle, count)| (middle.abs(), *count)).collect();
        sizes.sort_by(|a, b| b.0.total_cmp(&a.0));
        let limit = outermost(sizes.into_iter(), OUTSIDE * total as f64).map_or(0.0, |middle| middle + half_bin);
        return super::within((low, high), limit);
    }
    let left_out = OUTSIDE / 2.0 * total as f64;
    let above = outermost(filled.iter().rev().copied(), left_out).map_or(high, |middle| middle + half_bin);
    let below = outermost(filled.iter().copied(), left_out).map_or(low, |middle| middle - half_bin);
    (below.max(low), above.min(high))
}

/// The first bin from outside that can't be left out when `left_out` numbers may be.
fn outermost(bins: impl Iterator<Item = (f32, u64)>, left_out: f64) -> Option<f32> {
    let mut passed = 0.0;
    for (middle, count) in bins {
        passed += count as f64;
        if passed > left_out {
            return Some(middle);
        }
    }
    None
}
