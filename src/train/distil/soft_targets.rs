//! Hinton's soft targets (Hinton, Vinyals and Dean, arXiv:1503.02531, section 2) for heads of independent sigmoids.

use serde::{Deserialize, Serialize};

use super::heads::{HeadLoss, Heads};
use super::logits::{binary_divergence, logistic, logit};
use crate::model::HeadMap;

/// Objectness and classes of the teacher, softened by a temperature, as targets of the student's.
///
/// Every logit is a distribution over two outcomes of its own, so its loss is `T^2 KL(q || p)` with
/// `q = logistic(teacher / T)` and `p = logistic(student / T)`; a softmax over independent logits would be none. Most
/// cells hold nothing and would drown the others: each anchor counts by the teacher's objectness, and the sum is divided
/// by the sum of objectnesses (Mehta and Ozturk, arXiv:1805.06361, scale by it likewise).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoftTargets {
    /// Weight beside the hard loss.
    pub weight: f64,
    /// T: larger ones tell more of what the teacher thinks of unlikely outcomes.
    pub temperature: f64,
}

impl Default for SoftTargets {
    fn default() -> Self {
        Self { weight: 1.0, temperature: 2.0 }
    }
}

impl HeadLoss for SoftTargets {
    fn add(&self, heads: &Heads, gradients: &mut [HeadMap]) -> f64 {
        let t = self.temperature;
        let share = self.weight * t * t / heads.totals.objects().max(1.0);
        let mut sum = 0.0;
        for row in heads.rows(gradients) {
            let objectness = logistic(logit(row.head, row.teacher[4]).value);
            for k in 4..row.student.len() {
                let student = logit(row.head, row.student[k]);
                let loss = binary_divergence(logit(row.head, row.teacher[k]).value / t, student.value / t);
                sum += objectness * loss.value;
                row.gradient[k] += (share * objectness * loss.slope * student.slope / t) as f32;
            }
        }
        share * sum
    }
}

#[cfg(test)]
mod tests {
    use super::super::heads::tests::Scene;
    use super::*;

    #[test]
    fn the_gradient_of_objectness_and_classes_agrees_with_finite_differences() {
        for new_coords in [false, true] {
            for temperature in [1.0, 3.0] {
                let loss = SoftTargets { weight: 1.5, temperature };
                assert_eq!(Scene::new(new_coords).check_gradient(&loss), [4, 5, 6, 7]);
            }
        }
    }

    #[test]
    fn a_student_that_equals_its_teacher_has_nothing_to_learn() {
        assert!(Scene::new(false).loss_of_equals(&SoftTargets::default()) < 1e-12);
    }
}
