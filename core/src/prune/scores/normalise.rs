//! How scores of different layers are compared.

use serde::{Deserialize, Serialize};

/// What scores are divided by before they are compared with other layers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// Nothing: one threshold for the whole net.
    None,
    /// Their mean: a filter is then worth its share of what its layer is worth.
    Layer,
    /// What a channel costs of the budgets: what does the least damage for what it frees goes first.
    Cost,
}

impl Normalise {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Layer, Self::Cost];

    /// The name that options use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Layer => "layer",
            Self::Cost => "cost",
        }
    }

    /// Divides the scores of one layer. Scores that are all zero stay so. What a channel costs is known once it is known which
    /// filters make it: [`super::Scores::per_cost`].
    pub fn apply(self, scores: &mut [f32]) {
        let mean = scores.iter().map(|s| f64::from(*s)).sum::<f64>() / scores.len().max(1) as f64;
        if self == Self::Layer && mean > 0.0 {
            scores.iter_mut().for_each(|s| *s = (f64::from(*s) / mean) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_a_mean_of_one_afterwards_whatever_its_scale() {
        for scale in [1e-6, 1.0, 300.0] {
            let mut scores = [1.0, 2.0, 6.0].map(|s: f32| s * scale);
            Normalise::Layer.apply(&mut scores);
            for (score, wanted) in scores.into_iter().zip([1.0 / 3.0, 2.0 / 3.0, 2.0]) {
                assert!((score - wanted).abs() < 1e-6, "{scale}: {scores:?}");
            }
        }
        let (mut plain, mut zero) = ([1.0, 3.0], [0.0; 2]);
        Normalise::None.apply(&mut plain);
        Normalise::Layer.apply(&mut zero);
        assert_eq!((plain, zero), ([1.0, 3.0], [0.0; 2]));
    }
}
