//! The range that keeps the shape of the distribution best (Migacz, '8-bit inference with TensorRT', GTC 2017).

use super::super::Histogram;

/// Ranges that are tried, evenly between the smallest sensible one and all that was seen.
const CANDIDATES: usize = 100;
/// Values of an asymmetric grid.
const ALL_VALUES: usize = 256;
/// Values of the larger side of a symmetric grid.
const VALUES_OF_A_SIDE: usize = 128;
/// Takes the place of a probability of zero under a logarithm.
const TINY: f64 = 1e-9;

/// The range, cut off at one magnitude, whose quantised distribution diverges least from the true one.
pub(super) fn range(histogram: &Histogram, symmetric: bool) -> (f32, f32) {
    let all = histogram.range();
    let bins = Bins::new(histogram, symmetric);
    let longest = bins.zero.max(bins.counts.len() - bins.zero);
    let least = (bins.levels / 2).min(longest);
    let lengths = (0..=CANDIDATES).map(|c| least + (longest - least) * c / CANDIDATES);
    let divergences = lengths.map(|length| (bins.divergence(length), length));
    let best = divergences.min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(all, |(_, length)| super::within(all, length as f32 * histogram.width()))
}

/// All bins between the smallest and the largest number.
struct Bins {
    counts: Vec<f64>,
    /// The first bin above zero.
    zero: usize,
    /// Values of the grid.
    levels: usize,
}

impl Bins {
    /// Of magnitudes where the grid is symmetric.
    fn new(histogram: &Histogram, symmetric: bool) -> Self {
        let width = histogram.width();
        let place = |middle: f32| (middle / width - 0.5).round() as i64;
        let filled = histogram.filled();
        // The bin -1 just below zero holds the same magnitudes as bin 0.
        let folded = |bin: i64| if symmetric && bin < 0 { -1 - bin } else { bin };
        let places = || filled.iter().map(|(middle, count)| (folded(place(*middle)), *count as f64));
        let first = places().map(|(bin, _)| bin).min().unwrap_or(0).min(0);
        let last = places().map(|(bin, _)| bin).max().unwrap_or(0).max(0);
        let mut counts = vec![0.0; (last - first + 1) as usize];
        places().for_each(|(bin, count)| counts[(bin - first) as usize] += count);
        Self { counts, zero: -first as usize, levels: if symmetric { VALUES_OF_A_SIDE } else { ALL_VALUES } }
    }

    /// How far the distribution, cut off `length` bins from zero and quantised, diverges from the whole one.
    fn divergence(&self, length: usize) -> f64 {
        let (from, to) = (self.zero.saturating_sub(length), (self.zero + length).min(self.counts.len()));
        let inside = &self.counts[from..to];
        let Some(last) = inside.len().checked_sub(1) else { return f64::INFINITY };
        let mut whole = inside.to_vec();
        whole[0] += self.counts[..from].iter().sum::<f64>();
        whole[last] += self.counts[to..].iter().sum::<f64>();
        let quantised = spread_over_levels(inside, &whole, self.levels);
        let (all, kept) = (whole.iter().sum::<f64>(), quantised.iter().sum::<f64>());
        let part = |(p, q): (&f64, &f64)| {
            let (p, q) = (p / all, (q / kept.max(TINY)).max(TINY));
            if p > 0.0 { p * (p / q).ln() } else { 0.0 }
        };
        whole.iter().zip(&quantised).map(part).sum()
    }
}

/// The counts as a grid of `levels` values tells them apart: the sum of each level, shared by those of its bins that
/// `whole` says are not empty.
fn spread_over_levels(inside: &[f64], whole: &[f64], levels: usize) -> Vec<f64> {
    let levels = levels.min(inside.len());
    let start = |level: usize| level * inside.len() / levels;
    let mut spread = vec![0.0; inside.len()];
    for bins in (0..levels).map(|level| start(level)..start(level + 1)) {
        let sum: f64 = inside[bins.clone()].iter().sum();
        let filled = whole[bins.clone()].iter().filter(|count| **count > 0.0).count();
        for bin in bins.filter(|bin| whole[*bin] > 0.0) {
            spread[bin] = sum / filled as f64;
        }
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_shared_by_its_filled_bins() {
        let counts = [4.0, 0.0, 1.0, 1.0, 0.0, 0.0];
        assert_eq!(spread_over_levels(&counts, &counts, 3), [4.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(spread_over_levels(&counts, &counts, 2), [2.5, 0.0, 2.5, 1.0, 0.0, 0.0]);
    }
}
