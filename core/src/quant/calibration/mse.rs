//! The range with the least mean squared error.

use super::super::{Histogram, Scheme};

/// Limits that are tried on each side, evenly up to all that was seen.
const CANDIDATES: usize = 64;

/// The range whose grid moves the numbers least, in the mean of squares, as seen through `effect`. A symmetric grid has
/// one limit to choose; else both are, one after the other.
pub(super) fn range(histogram: &Histogram, scheme: Scheme, effect: &dyn Fn(f32) -> f32) -> (f32, f32) {
    let all = histogram.range();
    let bins: Vec<Bin> = histogram.filled().iter().map(|(middle, count)| Bin::new(*middle, *count, effect)).collect();
    let error = |range: (f32, f32)| {
        let grid = scheme.activations(range);
        bins.iter().map(|bin| bin.error(grid.nearest(bin.middle), effect)).sum::<f64>()
    };
    let best = |candidate: &dyn Fn(f32) -> (f32, f32)| {
        let shares = (1..=CANDIDATES).rev().map(|c| c as f32 / CANDIDATES as f32);
        let tried = shares.map(|share| (error(candidate(share)), candidate(share)));
        tried.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(all, |(_, range)| range)
    };
    let largest = histogram.largest();
    let mut range = best(&|share| super::within(all, share * largest));
    if !scheme.is_symmetric() {
        range = best(&|share| (range.0, all.1 * share));
        range = best(&|share| (all.0 * share, range.1));
    }
    range
}

struct Bin {
    middle: f32,
    count: f64,
    wanted: f32,
}

impl Bin {
    fn new(middle: f32, count: u64, effect: &dyn Fn(f32) -> f32) -> Self {
        Self { middle, count: count as f64, wanted: effect(middle) }
    }

    fn error(&self, rounded: f32, effect: &dyn Fn(f32) -> f32) -> f64 {
        self.count * f64::from(effect(rounded) - self.wanted).powi(2)
    }
}
