//! Softmax over an anchor's outputs at a temperature, as pruning projects have it, in two forms. For comparison: independent logits are no distribution, and background cells outnumber the others.

use serde::{Deserialize, Serialize};

use super::bounded_box::{Form, sum_where_worse};
use super::heads::{HeadLoss, Heads};
use crate::model::HeadMap;

/// `T^2 / images` times the sum over all anchors of KL(softmax(teacher / T) || softmax(student / T)), over all raw
/// outputs of an anchor, box coordinates included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RowSoftmax {
    /// Weight beside the hard loss.
    pub weight: f64,
    /// T
    pub temperature: f64,
}

impl Default for RowSoftmax {
    fn default() -> Self {
        Self { weight: 1e-3, temperature: 3.0 }
    }
}

/// The same over objectness and classes alone, and the squared distances in cells of those positives' boxes that are
/// worse than the teacher's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreSoftmax {
    /// Weight of the scores beside the hard loss.
    pub weight: f64,
    /// T
    pub temperature: f64,
    /// Weight of the sum over boxes, as a multiple of `weight`.
    pub boxes: f64,
}

impl Default for ScoreSoftmax {
    fn default() -> Self {
        Self { weight: 1e-4, temperature: 3.0, boxes: 10.0 }
    }
}

impl HeadLoss for RowSoftmax {
    fn add(&self, heads: &Heads, gradients: &mut [HeadMap]) -> f64 {
        softmax_divergence(heads, 0, self.weight, self.temperature, gradients)
    }
}

impl HeadLoss for ScoreSoftmax {
    fn add(&self, heads: &Heads, gradients: &mut [HeadMap]) -> f64 {
        let scores = softmax_divergence(heads, 4, self.weight, self.temperature, gradients);
        let share = self.weight * self.boxes;
        scores + sum_where_worse(heads, &heads.positives(), Form::Cells, (&|_| share, 0.0), gradients)
    }
}

/// The weighted sum of divergences over an anchor's outputs from index `first` on.
fn softmax_divergence(heads: &Heads, first: usize, weight: f64, t: f64, gradients: &mut [HeadMap]) -> f64 {
    let share = weight * t * t / heads.totals.images.max(1.0);
    let mut sum = 0.0;
    for row in heads.rows(gradients) {
        let (student, teacher) = (&row.student[first..], &row.teacher[first..]);
        let [log_p, log_q] = [student, teacher].map(|outputs| log_normaliser(outputs, t));
        for ((s, q), gradient) in student.iter().zip(teacher).zip(&mut row.gradient[first..]) {
            let (log_p, log_q) = (f64::from(*s) / t - log_p, f64::from(*q) / t - log_q);
            let (p, q) = (log_p.exp(), log_q.exp());
            sum += q * (log_q - log_p);
            *gradient += (share * (p - q) / t) as f32;
        }
    }
    share * sum
}

/// The logarithm of the sum of e^(x / t).
fn log_normaliser(outputs: &[f32], t: f64) -> f64 {
    let largest = f64::from(outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    outputs.iter().map(|x| ((f64::from(*x) - largest) / t).exp()).sum::<f64>().ln() + largest / t
}

#[cfg(test)]
mod tests {
    use super::super::heads::tests::Scene;
    use super::*;

    #[test]
    fn the_gradients_agree_with_finite_differences() {
        let rows = RowSoftmax { weight: 1.0, temperature: 3.0 };
        assert_eq!(Scene::new(false).check_gradient(&rows), [0, 1, 2, 3, 4, 5, 6, 7]);
        let scores = ScoreSoftmax { weight: 1.0, temperature: 3.0, boxes: 0.0 };
        assert_eq!(Scene::new(false).check_gradient(&scores), [4, 5, 6, 7]);
        let scores = ScoreSoftmax { boxes: 0.1, ..scores };
        assert_eq!(Scene::new(false).check_gradient(&scores), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_student_that_equals_its_teacher_has_nothing_to_learn() {
        assert!(Scene::new(false).loss_of_equals(&RowSoftmax::default()).abs() < 1e-12);
        assert!(Scene::new(false).loss_of_equals(&ScoreSoftmax::default()).abs() < 1e-12);
    }
}
