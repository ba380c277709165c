//! What losses on head maps see.

use yoloslim_core::graph::Yolo;

use super::logits::{logistic, logit};
use crate::data::Target;
use crate::model::HeadMap;
use crate::train::LossOptions;
use crate::train::loss::{Positive, assign};
use crate::workers::Workers;

/// A student's raw head maps beside its teacher's.
pub(super) struct Heads<'a> {
    /// The student's heads.
    pub heads: &'a [&'a Yolo],
    /// Raw maps of the student, one a head.
    pub student: &'a [HeadMap],
    /// Raw maps of the teacher in the student's order of heads and anchors.
    pub teacher: &'a [HeadMap],
    /// Width and height of the input in pixels.
    pub input: (usize, usize),
    /// The objects of the batch.
    pub targets: &'a [Target],
    /// The hard loss that distillation is added to.
    pub hard: &'a LossOptions,
    /// What means are taken over.
    pub totals: Totals,
}

/// Sums over a batch, of which the maps at hand may be one worker's share: what losses divide by.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Totals {
    /// Of each head.
    pub heads: Vec<HeadTotals>,
    /// Images.
    pub images: f64,
}

/// Sums over a head's map.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct HeadTotals {
    /// The teacher's objectness over all anchors of all cells: how many objects it sees, as it were.
    pub objects: f64,
    /// Anchors of all cells.
    pub anchors: f64,
    /// Anchors that answer for an object.
    pub positives: f64,
}

impl Totals {
    /// The sums over all workers' shares.
    pub fn sum(self, workers: &Workers) -> Self {
        let heads = self.heads.iter().flat_map(|h| [h.objects, h.anchors, h.positives]);
        let mut list: Vec<f64> = heads.chain([self.images]).collect();
        workers.sum(&mut list);
        let head = |[objects, anchors, positives]: &[f64; 3]| HeadTotals {
            objects: *objects,
            anchors: *anchors,
            positives: *positives,
        };
        let (heads, images) = list.as_chunks::<3>();
        Self { heads: heads.iter().map(head).collect(), images: images.iter().sum() }
    }

    /// The teacher's objectness over all heads.
    pub fn objects(&self) -> f64 {
        self.heads.iter().map(|head| head.objects).sum()
    }
}

/// The numbers of one anchor in one cell: box, objectness, classes, each a slice of `5 + classes`.
pub(super) struct Row<'a> {
    pub head: &'a Yolo,
    /// The sums over the head's map.
    pub totals: HeadTotals,
    pub student: &'a [f32],
    pub teacher: &'a [f32],
    pub gradient: &'a mut [f32],
}

/// A loss on head maps.
pub(super) trait HeadLoss {
    /// The weighted loss; its gradient with respect to the student's maps is added to `gradients`.
    fn add(&self, heads: &Heads, gradients: &mut [HeadMap]) -> f64;
}

impl Heads<'_> {
    /// All anchors of all cells of all images, head by head.
    pub fn rows<'a>(&'a self, gradients: &'a mut [HeadMap]) -> impl Iterator<Item = Row<'a>> {
        let maps = self.heads.iter().zip(&self.totals.heads).zip(self.student).zip(self.teacher).zip(gradients);
        maps.flat_map(|((((head, totals), student), teacher), gradient)| {
            let n = 5 + head.classes;
            let pairs = student.values.chunks_exact(n).zip(teacher.values.chunks_exact(n));
            pairs.zip(gradient.values.chunks_exact_mut(n)).map(|((student, teacher), gradient)| Row {
                head,
                totals: *totals,
                student,
                teacher,
                gradient,
            })
        })
    }

    /// The anchors that answer for the batch's objects, a list a head.
    pub fn positives(&self) -> Vec<Vec<Positive>> {
        let grids: Vec<_> = self.student.iter().map(|map| (map.rows, map.cols)).collect();
        assign(self.heads, &grids, self.input, self.targets, self.hard.anchor_iou)
    }

    /// The sums over the images at hand.
    pub fn sums(&self) -> Totals {
        let of_head = |((head, map), positives): ((&&Yolo, &HeadMap), Vec<Positive>)| {
            let rows = map.values.chunks_exact(5 + head.classes);
            HeadTotals {
                anchors: rows.len() as f64,
                objects: rows.map(|row| logistic(logit(head, row[4]).value)).sum(),
                positives: positives.len() as f64,
            }
        };
        let heads = self.heads.iter().zip(self.teacher).zip(self.positives()).map(of_head).collect();
        Totals { heads, images: self.images() as f64 }
    }

    fn images(&self) -> usize {
        self.student.first().map_or(0, |m| m.values.len() / (m.rows * m.cols * m.channels).max(1))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// A head with two anchors and three classes on a grid of 4 x 5, a batch of two, random maps.
    pub(in crate::train::distil) struct Scene {
        head: Yolo,
        student: Vec<HeadMap>,
        teacher: Vec<HeadMap>,
        targets: Vec<Target>,
    }

    impl Scene {
        pub fn new(new_coords: bool) -> Self {
            let map = |seed: u64| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let values = (0..2 * 4 * 5 * 16).map(|_| rng.random_range(-2.0f32..2.0));
                let values = values.map(|v| if new_coords { 1.0 / (1.0 + (-v).exp()) } else { v }).collect();
                vec![HeadMap { rows: 4, cols: 5, channels: 16, values }]
            };
            let anchors = vec![[20.0, 30.0], [50.0, 40.0]];
            let head = Yolo { anchors, classes: 3, scale_x_y: 1.05, new_coords };
            let targets = vec![
                Target { image: 0, class: 1, cx: 0.3, cy: 0.55, w: 0.2, h: 0.25 },
                Target { image: 1, class: 2, cx: 0.91, cy: 0.08, w: 0.4, h: 0.3 },
            ];
            Self { head, student: map(1), teacher: map(2), targets }
        }

        /// The loss of `student` beside the scene's teacher, and its gradient.
        fn run(&self, loss: &dyn HeadLoss, student: &[HeadMap]) -> (f64, Vec<HeadMap>) {
            self.run_beside(loss, student, &self.teacher)
        }

        /// The same of any number of heads, all like the scene's.
        fn run_beside(&self, loss: &dyn HeadLoss, student: &[HeadMap], teacher: &[HeadMap]) -> (f64, Vec<HeadMap>) {
            let hard = LossOptions::default();
            let mut heads = Heads {
                heads: &vec![&self.head; student.len()],
                student,
                teacher,
                input: (100, 100),
                targets: &self.targets,
                hard: &hard,
                totals: Totals::default(),
            };
            heads.totals = heads.sums();
            let zeros = |map: &HeadMap| HeadMap { values: vec![0.0; map.values.len()], ..*map };
            let mut gradients: Vec<HeadMap> = student.iter().map(zeros).collect();
            let value = loss.add(&heads, &mut gradients);
            (value, gradients)
        }

        /// The loss of the scene's student.
        pub fn loss(&self, loss: &dyn HeadLoss) -> f64 {
            self.run(loss, &self.student).0
        }

        /// The loss of a student that has the scene's head twice, as its teacher has.
        pub fn loss_of_two_heads(&self, loss: &dyn HeadLoss) -> f64 {
            let twice = |maps: &[HeadMap]| [maps, maps].concat();
            self.run_beside(loss, &twice(&self.student), &twice(&self.teacher)).0
        }

        /// The loss of a student that gives what its teacher gives.
        pub fn loss_of_equals(&self, loss: &dyn HeadLoss) -> f64 {
            self.run(loss, &self.teacher).0
        }

        /// Asserts that the gradient agrees with finite differences, and gives the indices in a row of `5 + classes`
        /// that it touches.
        pub fn check_gradient(&self, loss: &dyn HeadLoss) -> Vec<usize> {
            let (_, gradients) = self.run(loss, &self.student);
            let mut touched = std::collections::BTreeSet::new();
            for i in 0..self.student[0].values.len() {
                let at = |step: f32| {
                    let mut student = self.student.clone();
                    student[0].values[i] += step;
                    self.run(loss, &student).0
                };
                let difference = (at(1e-3) - at(-1e-3)) / 2e-3;
                let slope = f64::from(gradients[0].values[i]);
                assert!((slope - difference).abs() < 1e-5 + 2e-3 * slope.abs(), "{i}: {slope} against {difference}");
                if slope != 0.0 {
                    touched.insert(i % 8);
                }
            }
            touched.into_iter().collect()
        }
    }
}
