//! How a penalty of a fixed factor is spread over the gammas and over the run.

use serde::{Deserialize, Serialize};

/// The three strategies of the reference project, and polarization.
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
    /// `t |gamma| - |gamma - mean|`, which draws small gammas to zero and lets large ones be (Zhuang et al., NeurIPS
    /// 2020).
    Polarization,
}

/// The share of gammas that [`Strategy::Protect`] spares.
const PROTECTED: f64 = 0.15;
/// What is left of the penalty where it is spared.
const SPARED: f64 = 0.01;
/// `t` of polarization: above 1, so that large gammas feel a little of it too, as the paper advises.
const BALANCE: f64 = 1.2;

/// The penalty's slope with respect to |gamma|, for small and for large gammas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Force {
    /// The |gamma| from which on a gamma is large.
    border: f32,
    below: f64,
    above: f64,
}

impl Force {
    /// The slope at this |gamma|.
    pub fn on(&self, gamma: f32) -> f64 {
        if gamma >= self.border { self.above } else { self.below }
    }
}

impl Strategy {
    /// The slope of a penalty with factor 1 at `progress`, 0 to 1, of the run.
    pub(super) fn force(self, gammas: impl Iterator<Item = f32>, progress: f64) -> Force {
        let late = progress >= 0.5;
        let all = |slope| Force { border: f32::INFINITY, below: slope, above: slope };
        match self {
            Self::Constant => all(1.0),
            Self::Decay => all(if late { SPARED } else { 1.0 }),
            Self::Protect if late => Force { border: upper_quantile(gammas), below: 1.0, above: SPARED },
            Self::Protect => all(1.0),
            Self::Polarization => polarization(gammas),
        }
    }
}

/// The derivative of `t |g_i| - sum over j of |g_j - mean|` by `|g_i|`, the mean's own share included.
fn polarization(gammas: impl Iterator<Item = f32>) -> Force {
    let gammas: Vec<f32> = gammas.map(f32::abs).collect();
    let count = gammas.len().max(1) as f64;
    let mean = (gammas.iter().map(|g| f64::from(*g)).sum::<f64>() / count) as f32;
    let large = gammas.iter().filter(|g| **g >= mean).count() as f64;
    // The mean moves with each gamma: the sum over j of sign(g_j - mean), divided by their number.
    let drift = (2.0 * large - gammas.len() as f64) / count;
    Force { border: mean, below: BALANCE + 1.0 + drift, above: BALANCE - 1.0 + drift }
}

/// The smallest of the gammas that are spared.
fn upper_quantile(gammas: impl Iterator<Item = f32>) -> f32 {
    let mut gammas: Vec<f32> = gammas.map(f32::abs).collect();
    if gammas.is_empty() {
        return f32::INFINITY;
    }
    let at = ((1.0 - PROTECTED) * gammas.len() as f64) as usize;
    let at = at.min(gammas.len() - 1);
    *gammas.select_nth_unstable_by(at, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_force_of_polarization_is_the_slope_of_its_formula() {
        let gammas = [0.1_f32, 0.2, 0.25, 0.9, 1.1];
        let value = |gammas: &[f32]| {
            let mean = gammas.iter().map(|g| f64::from(*g)).sum::<f64>() / 5.0;
            gammas.iter().map(|g| BALANCE * f64::from(*g) - (f64::from(*g) - mean).abs()).sum::<f64>()
        };
        let force = Strategy::Polarization.force(gammas.into_iter(), 0.0);
        for at in 0..5 {
            let moved = |step: f32| {
                let mut moved = gammas;
                moved[at] += step;
                value(&moved)
            };
            let slope = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            assert!((slope - force.on(gammas[at])).abs() < 1e-3, "{slope} and {force:?} at {at}");
        }
    }
}
