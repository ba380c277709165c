//! Sparsity training: an L1 penalty on the BN gammas by proximal steps (Liu et al. 2017, 'Network Slimming';
//! strategies by reference/pruning.md).

use serde::{Deserialize, Serialize};
use yoloslim_core::{Error, Result};

use crate::model::Layout;

/// How strong the penalty is, and for whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sparsity {
    /// The penalty's factor, the loss being a mean over images: it means the same for any batch and accumulation.
    pub s: f64,
    /// How it changes over the run.
    #[serde(default)]
    pub strategy: Strategy,
}

/// The reference projects' three strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The same for all gammas, to the end.
    #[default]
    Constant,
    /// A hundredth for all gammas after half of the run.
    Decay,
    /// A hundredth for the largest 15 % of the gammas after half of the run.
    Protect,
}

/// The share of gammas that [`Strategy::Protect`] spares.
const PROTECTED: f64 = 0.15;
/// What is left of the penalty where it is spared.
const SPARED: f64 = 0.01;

impl Sparsity {
    /// Checks the factor.
    ///
    /// # Errors
    /// A factor that is negative or not finite.
    pub fn check(&self) -> Result<()> {
        if self.s >= 0.0 && self.s.is_finite() {
            return Ok(());
        }
        Err(Error::at("--sparsity", format!("{} is out of range", self.s)).fix("give a number of at least 0, 0.01 say"))
    }

    /// One proximal step: every gamma moves towards zero by `rate * s / (1 - momentum)` and stays there when it
    /// arrives (soft thresholding). A plain gradient step would jitter round zero and never reach it. The
    /// momentum's factor makes `s` as strong as the same `s` added to the gradient, as the references do.
    pub fn step(&self, layout: &Layout, parameters: &mut [f32], rate: f64, momentum: f64, progress: f64) {
        let full = rate * self.s / (1.0 - momentum).max(1e-3);
        let late = progress >= 0.5;
        let limit = match self.strategy {
            Strategy::Protect if late => upper_quantile(layout, parameters),
            _ => f32::INFINITY,
        };
        let all = if late && self.strategy == Strategy::Decay { full * SPARED } else { full };
        for gamma in layout.convolutions().filter_map(|c| c.gamma.clone()) {
            for g in &mut parameters[gamma] {
                let shrink = if g.abs() >= limit { full * SPARED } else { all };
                *g = g.signum() * (g.abs() - shrink as f32).max(0.0);
            }
        }
    }
}

/// The smallest of the gammas that are spared.
fn upper_quantile(layout: &Layout, parameters: &[f32]) -> f32 {
    let mut gammas: Vec<f32> = gammas(layout, parameters).map(f32::abs).collect();
    if gammas.is_empty() {
        return f32::INFINITY;
    }
    let at = ((1.0 - PROTECTED) * gammas.len() as f64) as usize;
    let at = at.min(gammas.len() - 1);
    *gammas.select_nth_unstable_by(at, f32::total_cmp).1
}

/// All BN gammas.
pub fn gammas<'a>(layout: &'a Layout, parameters: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
    layout.convolutions().filter_map(|c| c.gamma.clone()).flat_map(|g| parameters[g].iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::Network;
    use yoloslim_core::darknet::Cfg;

    fn layout() -> (Layout, Vec<f32>) {
        let text = "[net]\nwidth=8\nheight=8\n[convolutional]\nbatch_normalize=1\nfilters=20\nactivation=leaky\n";
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 0).unwrap();
        let layout = Layout::new(&network.graph);
        let (mut parameters, _) = layout.flatten(&network);
        let gamma = layout.slots(0).gamma.clone().unwrap();
        parameters[gamma].iter_mut().enumerate().for_each(|(i, g)| *g = (i as f32 - 9.5) / 10.0);
        (layout, parameters)
    }

    fn after(strategy: Strategy, progress: f64) -> (Vec<f32>, Vec<f32>) {
        let (layout, mut parameters) = layout();
        let before = gammas(&layout, &parameters).collect();
        Sparsity { s: 0.1, strategy }.step(&layout, &mut parameters, 0.5, 0.5, progress);
        (before, gammas(&layout, &parameters).collect())
    }

    #[test]
    fn a_step_shrinks_every_gamma_and_small_ones_to_exactly_zero() {
        let (before, after) = after(Strategy::Constant, 0.9);
        for (b, a) in before.iter().zip(&after) {
            assert!((a - b.signum() * (b.abs() - 0.1).max(0.0)).abs() < 1e-6, "{b} became {a}");
        }
        assert_eq!(after.iter().filter(|g| **g == 0.0).count(), 2);
    }

    #[test]
    fn the_strategies_spare_all_or_the_largest_in_the_second_half() {
        let moved = |strategy, progress| {
            let (before, after) = after(strategy, progress);
            before.iter().zip(&after).filter(|(b, a)| (b.abs() - a.abs()) > 0.04).count()
        };
        assert_eq!(moved(Strategy::Decay, 0.4), 20);
        assert_eq!(moved(Strategy::Decay, 0.6), 0);
        assert_eq!(moved(Strategy::Protect, 0.4), 20);
        assert_eq!(moved(Strategy::Protect, 0.6), 16);
    }
}
