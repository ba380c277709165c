//! Weighted cross-entropy with the teacher's scores (Chen et al., NIPS 2017, equations 2 and 3).

use serde::{Deserialize, Serialize};

use super::heads::{HeadLoss, Heads};
use super::logits::{logistic, logit, softplus};
use crate::model::HeadMap;

/// The hard loss of objectness and classes with the teacher's scores in the place of the truth, the background's part
/// weighted.
///
/// The paper mixes `mu L_hard + (1 - mu) L_soft`; beside a hard loss of weight 1 that is a weight of `(1 - mu) / mu`,
/// 0.25 for its re-implementations' mu of 0.8. What a softmax has as its class 'background' is here the negative outcome
/// of objectness, in the mean over all anchors of a head; classes count by the teacher's objectness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightedClass {
    /// Weight beside the hard loss.
    pub weight: f64,
    /// Weight of the background (the paper's w_0).
    pub background: f64,
}

impl Default for WeightedClass {
    fn default() -> Self {
        Self { weight: 0.25, background: 1.5 }
    }
}

impl HeadLoss for WeightedClass {
    fn add(&self, heads: &Heads, gradients: &mut [HeadMap]) -> f64 {
        let mut sum = 0.0;
        for row in heads.rows(gradients) {
            let q = logistic(logit(row.head, row.teacher[4]).value);
            // As in the hard loss, a mean over each head, and a mean over n classes weighted by n / 80.
            let objectness = self.weight * heads.hard.objectness_weight / row.totals.anchors.max(1.0);
            let class = self.weight * heads.hard.class_weight / 80.0 / row.totals.objects.max(1.0);
            for k in 4..row.student.len() {
                let student = logit(row.head, row.student[k]);
                let (share, target, negative) = match k {
                    4 => (objectness, q, self.background),
                    _ => (class * q, logistic(logit(row.head, row.teacher[k]).value), 1.0),
                };
                let (loss, slope) = cross_entropy(target, student.value, negative);
                sum += share * loss;
                row.gradient[k] += (share * slope * student.slope) as f32;
            }
        }
        sum
    }
}

/// Binary cross-entropy of a logit whose negative outcome is weighted, and its slope along the logit.
fn cross_entropy(target: f64, logit: f64, negative: f64) -> (f64, f64) {
    let p = logistic(logit);
    let loss = target * softplus(-logit) + negative * (1.0 - target) * softplus(logit);
    (loss, negative * (1.0 - target) * p - target * (1.0 - p))
}

#[cfg(test)]
mod tests {
    use super::super::heads::tests::Scene;
    use super::*;

    #[test]
    fn the_gradient_of_objectness_and_classes_agrees_with_finite_differences() {
        for new_coords in [false, true] {
            let loss = WeightedClass { weight: 0.7, background: 1.5 };
            assert_eq!(Scene::new(new_coords).check_gradient(&loss), [4, 5, 6, 7]);
        }
    }

    #[test]
    fn heads_add_up_as_in_the_hard_loss() {
        let (scene, loss) = (Scene::new(false), WeightedClass::default());
        assert!((scene.loss_of_two_heads(&loss) - 2.0 * scene.loss(&loss)).abs() < 1e-9);
    }

    #[test]
    fn the_negative_outcome_alone_is_weighted() {
        let (plain, weighted) = (cross_entropy(0.3, 0.8, 1.0).0, cross_entropy(0.3, 0.8, 1.5).0);
        let negative = -0.7 * (1.0 - logistic(0.8)).ln();
        assert!((weighted - plain - 0.5 * negative).abs() < 1e-12);
    }
}
