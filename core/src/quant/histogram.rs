//! How the numbers of a tensor are distributed, gathered in one pass without knowing their range before.

/// Bins a side of zero.
const HALF: usize = 4096;

/// Counts of numbers in equal bins over a range that grows by doubling.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The bins cover `-limit` to `limit`; 0 before the first number.
    limit: f32,
    counts: Vec<u64>,
    low: f32,
    high: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { limit: 0.0, counts: vec![0; 2 * HALF], low: f32::INFINITY, high: f32::NEG_INFINITY }
    }
}

impl Histogram {
    /// The distribution of `values`.
    #[must_use]
    pub fn of(values: &[f32]) -> Self {
        let mut histogram = Self::default();
        histogram.add(values);
        histogram
    }

    /// Counts numbers; those that are not finite are left out.
    pub fn add(&mut self, values: &[f32]) {
        let finite = values.iter().filter(|v| v.is_finite());
        let (low, high) = finite.fold((self.low, self.high), |(low, high), v| (low.min(*v), high.max(*v)));
        (self.low, self.high) = (low, high);
        let largest = high.max(-low);
        if largest.is_finite() {
            self.cover(largest);
            let bins = HALF as f32 / self.limit;
            for v in values.iter().filter(|v| v.is_finite()) {
                let bin = (v * bins + HALF as f32) as usize;
                self.counts[bin.min(2 * HALF - 1)] += 1;
            }
        }
    }

    /// Counts what another histogram has counted.
    pub fn merge(&mut self, mut other: Self) {
        if other.limit == 0.0 {
            return;
        }
        self.cover(other.limit);
        other.cover(self.limit);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        (self.low, self.high) = (self.low.min(other.low), self.high.max(other.high));
    }

    /// Doubles the range until it holds `largest`.
    fn cover(&mut self, largest: f32) {
        if self.limit == 0.0 {
            self.limit = largest.max(1e-20).log2().ceil().exp2();
            return self.cover(largest);
        }
        while self.limit < largest {
            let mut wide = vec![0; 2 * HALF];
            for (bin, count) in self.counts.iter().enumerate() {
                wide[HALF / 2 + bin / 2] += count;
            }
            self.counts = wide;
            self.limit *= 2.0;
        }
    }

    /// The smallest and the largest number; zeros where there was none.
    #[must_use]
    pub fn range(&self) -> (f32, f32) {
        if self.low <= self.high { (self.low, self.high) } else { (0.0, 0.0) }
    }

    /// The largest magnitude.
    #[must_use]
    pub fn largest(&self) -> f32 {
        let (low, high) = self.range();
        high.max(-low)
    }

    /// The width of a bin.
    #[must_use]
    pub fn width(&self) -> f32 {
        self.limit / HALF as f32
    }

    /// The bins that hold numbers, as `(middle, count)`, ascending.
    #[must_use]
    pub fn filled(&self) -> Vec<(f32, u64)> {
        let middle = |bin: usize| (bin as f32 + 0.5 - HALF as f32) * self.width();
        let bins = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        bins.map(|(bin, count)| (middle(bin), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_keeps_all_counts_near_their_place() {
        let mut histogram = Histogram::default();
        let parts: [&[f32]; 4] = [&[0.0, 0.1, -0.1], &[], &[3.0, f32::NAN], &[-40.0]];
        parts.into_iter().for_each(|part| histogram.add(part));
        assert_eq!(histogram.range(), (-40.0, 3.0));
        assert_eq!(histogram.largest(), 40.0);
        let filled = histogram.filled();
        assert_eq!(filled.iter().map(|(_, count)| count).sum::<u64>(), 5);
        for x in [0.0, 0.1, -0.1, 3.0, -40.0] {
            assert!(filled.iter().any(|(middle, _)| (middle - x).abs() <= histogram.width()), "{x} in {filled:?}");
        }
    }

    #[test]
    fn merged_parts_are_the_whole() {
        // Eighths lie on borders of bins at every width, so no rounding moves them.
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 - 300.0) / 8.0).collect();
        for middle in [0, 310, 1000] {
            let mut merged = Histogram::of(&values[..middle]);
            merged.merge(Histogram::of(&values[middle..]));
            assert!(merged == Histogram::of(&values), "parted at {middle}");
        }
    }

    #[test]
    fn no_number_or_only_zeros_have_a_range() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.range(), (0.0, 0.0));
        histogram.add(&[0.0; 3]);
        assert_eq!(histogram.range(), (0.0, 0.0));
        assert_eq!(histogram.filled().len(), 1);
    }
}
