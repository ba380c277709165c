//! Times measured on a grid of sizes, and the times between them.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Milliseconds on a grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The sizes that were measured.
    pub axes: Vec<Axis>,
    /// One time a grid point, the last axis running fastest.
    pub ms: Vec<f64>,
}

/// One size of a layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// What it is: channels_out, say.
    pub name: String,
    /// A size costs what the next multiple of this costs: channels are computed in whole vectors, maps in whole tiles.
    pub step: usize,
    /// The grid's values, ascending.
    pub at: Vec<f64>,
}

impl Axis {
    /// The size that is paid for.
    #[must_use]
    pub fn rounded(&self, size: f64) -> f64 {
        let step = self.step as f64;
        (size / step).ceil() * step
    }

    /// The lower end of the grid's segment for `size`, and where between its ends that lies, in logarithms: below 0
    /// or above 1 beyond the grid.
    fn locate(&self, size: f64) -> (usize, f64) {
        if self.at.len() < 2 {
            return (0, 0.0);
        }
        let size = self.rounded(size);
        let low = self.at.partition_point(|at| *at <= size).clamp(1, self.at.len() - 1) - 1;
        let [a, b] = [low, low + 1].map(|i| self.rounded(self.at[i]));
        (low, if b > a { (size / a).ln() / (b / a).ln() } else { 0.0 })
    }
}

impl Table {
    /// Milliseconds at `sizes`, one an axis: between grid points, and beyond the grid, time is taken for a power of
    /// each size.
    ///
    /// # Panics
    /// If there is not one size an axis.
    #[must_use]
    pub fn at(&self, sizes: &[f64]) -> f64 {
        assert_eq!(sizes.len(), self.axes.len(), "one size an axis");
        let places: Vec<(usize, f64)> = self.axes.iter().zip(sizes).map(|(axis, size)| axis.locate(*size)).collect();
        self.logarithm(&places, 0).exp()
    }

    /// The logarithm of the time at `places`, of which those before the last `places.len()` axes have led to `index`.
    fn logarithm(&self, places: &[(usize, f64)], index: usize) -> f64 {
        let Some(((low, share), rest)) = places.split_first() else { return self.ms[index].ln() };
        let axis = &self.axes[self.axes.len() - places.len()];
        let at = |i: usize| self.logarithm(rest, index * axis.at.len() + i);
        if axis.at.len() < 2 { at(0) } else { at(*low) * (1.0 - share) + at(low + 1) * share }
    }

    /// Checks that the grid is one.
    ///
    /// # Errors
    /// Names the axis that isn't ascending, or what is missing.
    pub fn check(&self) -> Result<()> {
        for axis in &self.axes {
            let ascending = axis.at.is_sorted_by(|a, b| a < b) && axis.at.iter().all(|v| *v > 0.0 && v.is_finite());
            if axis.at.is_empty() || axis.step == 0 || !ascending {
                return Err(Error::at(&axis.name, "its values are not ascending sizes").fix("measure again"));
            }
        }
        let points: usize = self.axes.iter().map(|axis| axis.at.len()).product();
        if self.ms.len() != points || self.ms.iter().any(|ms| !(*ms > 0.0 && ms.is_finite())) {
            let cause = format!("{} times for {points} grid points, or some that are none", self.ms.len());
            return Err(Error::at("ms", cause).fix("measure again"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn axis(step: usize, at: &[f64]) -> Axis {
        Axis { name: "size".to_owned(), step, at: at.to_vec() }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_power_law_is_followed_everywhere(
            sizes in prop::array::uniform2(0.5..99.0f64),
            powers in prop::array::uniform2(0.0..2.5f64),
        ) {
            let law = |sizes: [f64; 2]| 0.3 * sizes[0].powf(powers[0]) * sizes[1].powf(powers[1]);
            let (x, y) = ([1.0, 4.0, 20.0], [2.0, 50.0]);
            let ms = x.iter().flat_map(|x| y.iter().map(move |y| law([*x, *y]))).collect();
            let table = Table { axes: vec![axis(1, &x), axis(1, &y)], ms };
            table.check().unwrap();
            let whole = sizes.map(f64::ceil);
            prop_assert!((table.at(&sizes) / law(whole) - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_size_costs_what_the_next_multiple_costs() {
        let table = Table { axes: vec![axis(8, &[8.0, 16.0, 64.0])], ms: vec![1.0, 2.0, 8.0] };
        for (size, wanted) in [(1.0, 1.0), (8.0, 1.0), (9.0, 2.0), (17.0, 3.0), (24.0, 3.0), (120.0, 15.0)] {
            assert!((table.at(&[size]) - wanted).abs() < 1e-9, "{size}: {}", table.at(&[size]));
        }
        let one = Table { axes: vec![axis(1, &[5.0])], ms: vec![7.0] };
        assert!((one.at(&[100.0]) - 7.0).abs() < 1e-9);
    }

    #[test]
    fn a_grid_with_holes_is_refused() {
        for (at, ms) in [(vec![2.0, 1.0], vec![1.0; 2]), (vec![1.0, 2.0], vec![1.0]), (vec![1.0], vec![0.0])] {
            assert!(Table { axes: vec![axis(1, &at)], ms }.check().is_err());
        }
    }
}
