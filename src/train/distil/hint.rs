//! Hints (Romero et al., arXiv:1412.6550; Chen et al., NIPS 2017, equation 6).

use serde::{Deserialize, Serialize};

use super::features::{FeatureLoss, Features};

/// The squared distance of the student's adapted map to the teacher's, as a share of the teacher's squared norm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hint {
    /// Weight beside the hard loss.
    pub weight: f64,
}

impl Default for Hint {
    fn default() -> Self {
        Self { weight: 0.5 }
    }
}

impl FeatureLoss for Hint {
    fn add(&self, features: &Features, share: f64, gradient: &mut [f32]) -> f64 {
        features.relative_distance(|_| true, self.weight * share, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::super::features::tests::Scene;
    use super::*;

    #[test]
    fn the_gradient_of_every_cell_agrees_with_finite_differences() {
        assert_eq!(Scene::new().check_gradient(&Hint::default()).len(), 24);
        assert_eq!(Scene::new().loss_of_equals(&Hint::default()), 0.0);
    }
}
