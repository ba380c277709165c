//! Sparsity training: a penalty on the BN gammas that draws the channels to be pruned to zero (Liu et al. 2017,
//! 'Network Slimming'; decay and protect as the channel-and-layer-pruning project has them; Zhuang et al. 2020, polarization).

mod auto;
mod strategy;

use serde::{Deserialize, Serialize};
use yoloslim_core::{Error, Result};

pub(super) use auto::{Auto, Course, deadline};
pub use strategy::Strategy;

use super::auto_word::Auto as Word;
use crate::model::Layout;

/// How strong the penalty is, and for whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sparsity {
    /// The penalty's factor, the loss being a mean over images: it means the same for any batch and accumulation.
    pub s: Strength,
    /// How it changes over the run, and which gammas it acts on; of no effect with [`Strength::Auto`].
    #[serde(default)]
    pub strategy: Strategy,
    /// With [`Strength::Auto`]: the loss of mAP@0.5, 0 to 1, beyond which the penalty is eased while there is time.
    #[serde(default = "default_max_drop")]
    pub max_drop: f64,
}

/// The factor of the penalty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Strength {
    /// As given.
    Fixed(f64),
    /// Found while training, so that what is to be pruned is zero by the end.
    Auto(Word),
}

impl Strength {
    /// Found while training.
    pub const AUTO: Self = Self::Auto(Word::Auto);
}

impl std::str::FromStr for Strength {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::AUTO),
            number => {
                let given = number.parse().ok().filter(|s: &f64| *s >= 0.0 && s.is_finite());
                given.map(Self::Fixed).ok_or_else(|| "give a number of at least 0, 0.01 say, or auto".to_owned())
            }
        }
    }
}

fn default_max_drop() -> f64 {
    0.02
}

impl Sparsity {
    /// A penalty of a fixed factor.
    #[must_use]
    pub fn fixed(s: f64, strategy: Strategy) -> Self {
        Self { s: Strength::Fixed(s), strategy, max_drop: default_max_drop() }
    }

    /// A penalty whose factor is found while training.
    #[must_use]
    pub fn auto() -> Self {
        Self { s: Strength::AUTO, strategy: Strategy::default(), max_drop: default_max_drop() }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn check(&self) -> Result<()> {
        let bad = |value: &f64| !(*value >= 0.0 && value.is_finite());
        if let Strength::Fixed(s) = self.s
            && bad(&s)
        {
            return Err(
                Error::at("--sparsity", format!("{s} is out of range")).fix("give a number of at least 0, 0.01 say")
            );
        }
        if bad(&self.max_drop) {
            return Err(
                Error::at("max_drop", format!("{} is out of range", self.max_drop)).fix("give a share, 0.02 say")
            );
        }
        Ok(())
    }
}

/// The penalty of one epoch: what every update does to the gammas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Penalty {
    /// The factor.
    pub s: f64,
    pub strategy: Strategy,
    /// For each gamma of [`gammas`], whether the penalty acts on it; none for all.
    pub targets: Option<Vec<bool>>,
}

impl Penalty {
    /// One proximal step: every gamma moves towards zero by `rate * s / (1 - momentum)` and stays there when it
    /// arrives (soft thresholding). A plain gradient step would jitter round zero and never reach it. The
    /// momentum's factor makes `s` as strong as the same `s` added to the gradient, as the references do.
    /// `progress`, 0 to 1, is that of the whole training.
    pub fn step(&self, layout: &Layout, parameters: &mut [f32], rate: f64, momentum: f64, progress: f64) {
        let full = rate * self.s / (1.0 - momentum).max(1e-3);
        let force = self.strategy.force(gammas(layout, parameters), progress);
        let mut at = 0;
        for gamma in layout.convolutions().filter_map(|c| c.gamma.clone()) {
            for g in &mut parameters[gamma] {
                if self.targets.as_ref().is_none_or(|targets| targets[at]) {
                    *g = g.signum() * (g.abs() - (full * force.on(g.abs())) as f32).max(0.0);
                }
                at += 1;
            }
        }
    }
}

/// All BN gammas, in layer order.
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

    fn after(strategy: Strategy, targets: Option<Vec<bool>>, progress: f64) -> (Vec<f32>, Vec<f32>) {
        let (layout, mut parameters) = layout();
        let before = gammas(&layout, &parameters).collect();
        Penalty { s: 0.1, strategy, targets }.step(&layout, &mut parameters, 0.5, 0.5, progress);
        (before, gammas(&layout, &parameters).collect())
    }

    #[test]
    fn a_step_shrinks_every_gamma_and_small_ones_to_exactly_zero() {
        let (before, after) = after(Strategy::Constant, None, 0.9);
        for (b, a) in before.iter().zip(&after) {
            assert!((a - b.signum() * (b.abs() - 0.1).max(0.0)).abs() < 1e-6, "{b} became {a}");
        }
        assert_eq!(after.iter().filter(|g| **g == 0.0).count(), 2);
    }

    #[test]
    fn the_strategies_spare_all_or_the_largest_in_the_second_half() {
        let moved = |strategy, progress| {
            let (before, after) = after(strategy, None, progress);
            before.iter().zip(&after).filter(|(b, a)| (b.abs() - a.abs()) > 0.04).count()
        };
        assert_eq!(moved(Strategy::Decay, 0.4), 20);
        assert_eq!(moved(Strategy::Decay, 0.6), 0);
        assert_eq!(moved(Strategy::Protect, 0.4), 20);
        assert_eq!(moved(Strategy::Protect, 0.6), 16);
    }

    #[test]
    fn polarization_parts_the_small_from_the_large() {
        let (before, after) = after(Strategy::Polarization, None, 0.2);
        let mean = before.iter().map(|g| g.abs()).sum::<f32>() / 20.0;
        for (b, a) in before.iter().zip(&after) {
            if b.abs() < mean {
                assert!(a.abs() < b.abs() || *a == 0.0, "{b} became {a}");
            }
        }
        let shrunk = |low: bool| {
            let pairs = before.iter().zip(&after).filter(|(b, _)| (b.abs() < mean) == low);
            pairs.map(|(b, a)| b.abs() - a.abs()).fold(0.0, f32::max)
        };
        assert!(shrunk(true) > 10.0 * shrunk(false));
    }

    #[test]
    fn only_the_targets_move() {
        let targets = (0..20).map(|at| at % 3 == 0).collect();
        let (before, after) = after(Strategy::Constant, Some(targets), 0.5);
        assert!(before.iter().zip(&after).enumerate().all(|(at, (b, a))| (a == b) == (at % 3 != 0)));
    }

    #[test]
    fn the_factor_is_a_number_or_auto() {
        assert_eq!("auto".parse(), Ok(Strength::AUTO));
        assert_eq!("0.01".parse(), Ok(Strength::Fixed(0.01)));
        assert!("much".parse::<Strength>().is_err());
        let read = |text: &str| toml::from_str::<Sparsity>(text);
        assert_eq!(read("s = \"auto\""), Ok(Sparsity::auto()));
        assert_eq!(read("s = 0.5"), Ok(Sparsity::fixed(0.5, Strategy::Constant)));
        assert!(read("s = \"much\"").is_err());
    }
}
