//! The learning rate over a run.

use serde::{Deserialize, Serialize};

/// How the rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine wave down to a twentieth.
    #[default]
    Cosine,
    /// A tenth from 70 % of the run on, a hundredth from 90 % on.
    Steps,
    /// It does not.
    Constant,
}

/// Where the cosine ends, as a share of the largest rate.
const COSINE_END: f64 = 0.05;

impl Schedule {
    /// The rate at `progress` (0 to 1) of a run, as a share of the largest.
    #[must_use]
    pub fn factor(self, progress: f64) -> f64 {
        match self {
            Self::Cosine => COSINE_END + (1.0 - COSINE_END) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Self::Steps if progress >= 0.9 => 0.01,
            Self::Steps if progress >= 0.7 => 0.1,
            Self::Steps | Self::Constant => 1.0,
        }
    }

    /// The rate at `step` of `steps`, as a share of the largest: a straight rise over the first `warmup` steps, which
    /// ends where the schedule is by then, so that it never overshoots.
    #[must_use]
    pub fn factor_at(self, step: usize, steps: usize, warmup: usize) -> f64 {
        let factor = self.factor(step as f64 / steps.max(1) as f64);
        if step < warmup { factor * (step + 1) as f64 / (warmup + 1) as f64 } else { factor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_rises_to_the_schedule_and_never_above_it() {
        for schedule in [Schedule::Cosine, Schedule::Steps, Schedule::Constant] {
            let rates: Vec<f64> = (0..100).map(|s| schedule.factor_at(s, 100, 10)).collect();
            assert!(rates[..10].windows(2).all(|w| w[0] < w[1]), "{schedule:?} rises");
            assert!(rates.iter().all(|r| *r <= 1.0), "{schedule:?} stays below the largest rate");
            assert!(rates[10..].windows(2).all(|w| w[0] >= w[1]), "{schedule:?} does not rise again");
        }
        assert!((Schedule::Cosine.factor_at(100, 100, 10) - COSINE_END).abs() < 1e-12);
        assert_eq!(Schedule::Steps.factor_at(95, 100, 10), 0.01);
    }
}
