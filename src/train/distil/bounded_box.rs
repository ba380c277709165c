//! Box regression that a teacher bounds (Chen et al., NIPS 2017, 'Learning efficient object detection models with
//! knowledge distillation', equations 4 and 5).

use serde::{Deserialize, Serialize};

use super::heads::{HeadLoss, HeadTotals, Heads};
use crate::model::HeadMap;
use crate::train::loss::{Centred, Dual, HeadTerm, Positive};

/// The squared distance of a positive's box to its truth, where the student's is larger than the teacher's by more than
/// a margin; nothing where the student is as good. The mean over a head's positives, summed over heads, on the scale of the hard loss's box term.
///
/// A box is the offsets of its centre in cells and the logarithms of its size in anchors, as the hard loss decodes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoundedBox {
    /// Weight beside the hard box term (nu).
    pub weight: f64,
    /// How much the student's squared distance may exceed the teacher's (-m).
    pub margin: f64,
}

impl Default for BoundedBox {
    fn default() -> Self {
        Self { weight: 0.5, margin: 0.0 }
    }
}

impl HeadLoss for BoundedBox {
    fn add(&self, heads: &Heads, gradients: &mut [HeadMap]) -> f64 {
        let positives = heads.positives();
        let share = |head: &HeadTotals| self.weight * heads.hard.box_weight / head.positives.max(1.0);
        sum_where_worse(heads, &positives, Form::Encoded, (&share, self.margin), gradients)
    }
}

/// In which coordinates boxes are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Offsets in cells and logarithms of sizes in anchors.
    Encoded,
    /// Offsets and sizes in cells.
    Cells,
}

impl Form {
    fn coordinates(self, b: Centred<Dual>, anchor: [f64; 2]) -> [Dual; 4] {
        match self {
            Self::Encoded => [b.x, b.y, (b.w / anchor[0] + TINY).ln(), (b.h / anchor[1] + TINY).ln()],
            Self::Cells => [b.x, b.y, b.w, b.h],
        }
    }
}

/// Keeps logarithms of empty boxes finite.
const TINY: f64 = 1e-9;

/// The squared distances of all positives where the student's exceeds the teacher's by more than `margin`, each times
/// its head's `share`; their gradient is added.
pub(super) fn sum_where_worse(
    heads: &Heads,
    positives: &[Vec<Positive>],
    form: Form,
    (share, margin): (&dyn Fn(&HeadTotals) -> f64, f64),
    gradients: &mut [HeadMap],
) -> f64 {
    let mut sum = 0.0;
    for (h, positives) in positives.iter().enumerate() {
        let (totals, mut of_head) = (heads.totals.heads[h], 0.0);
        let share = share(&totals);
        let term = |map| {
            let (options, head, input) = (heads.hard, heads.heads[h], heads.input);
            HeadTerm { options, head, map, input, positives: totals.positives, share: 1.0, images: 1.0 }
        };
        let (student, teacher) = (term(&heads.student[h]), term(&heads.teacher[h]));
        for p in positives {
            let truth = student.truth(p, &heads.targets[p.target]);
            let truth = Centred { x: truth.x.into(), y: truth.y.into(), w: truth.w.into(), h: truth.h.into() };
            let distance = |b: Centred<Dual>| distance(form, student.anchor(p.anchor), b, truth);
            let (here, there) = (distance(student.decoded(p)), distance(teacher.decoded(p)));
            if here.value > there.value + margin {
                of_head += here.value;
                let at = student.offset(p);
                let gradient = &mut gradients[h].values[at..at + 4];
                gradient.iter_mut().zip(here.slope).for_each(|(g, s)| *g += (share * s) as f32);
            }
        }
        sum += share * of_head;
    }
    sum
}

fn distance(form: Form, anchor: [f64; 2], a: Centred<Dual>, b: Centred<Dual>) -> Dual {
    let (a, b) = (form.coordinates(a, anchor), form.coordinates(b, anchor));
    a.into_iter().zip(b).fold(Dual::constant(0.0), |sum, (a, b)| sum + (a - b) * (a - b))
}

#[cfg(test)]
mod tests {
    use super::super::heads::tests::Scene;
    use super::*;

    #[test]
    fn the_gradient_of_boxes_agrees_with_finite_differences() {
        // So low a margin that every positive counts.
        let loss = BoundedBox { weight: 0.5, margin: -1e9 };
        assert_eq!(Scene::new(false).check_gradient(&loss), [0, 1, 2, 3]);
        assert_eq!(Scene::new(true).check_gradient(&loss), [0, 1, 2, 3]);
    }

    #[test]
    fn heads_add_up_as_in_the_hard_loss() {
        let (scene, loss) = (Scene::new(false), BoundedBox { weight: 0.5, margin: -1e9 });
        assert!((scene.loss_of_two_heads(&loss) - 2.0 * scene.loss(&loss)).abs() < 1e-9);
    }

    #[test]
    fn a_student_is_pushed_only_where_it_is_worse_than_its_teacher() {
        assert_eq!(Scene::new(false).loss_of_equals(&BoundedBox::default()), 0.0);
        assert_eq!(Scene::new(false).loss(&BoundedBox { weight: 0.5, margin: 1e9 }), 0.0);
        assert!(Scene::new(false).loss(&BoundedBox { weight: 0.5, margin: -1e9 }) > 0.0);
    }
}
