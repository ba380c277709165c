//! What losses on feature maps see.

use rayon::prelude::*;

use crate::data::Target;
use crate::workers::Workers;

/// A map inside the student, brought to the teacher's channels, beside the teacher's.
pub(super) struct Features<'a> {
    /// The student's after adaptation, `[image][row][column][channel]`.
    pub student: &'a [f32],
    /// The teacher's, of the same shape.
    pub teacher: &'a [f32],
    /// Images of this worker's share of the batch.
    pub images: usize,
    /// Images of the whole batch.
    pub whole: usize,
    /// Who shares the batch.
    pub workers: &'a Workers,
    /// Rows and columns.
    pub grid: (usize, usize),
    /// Channels of the teacher.
    pub channels: usize,
    /// Width and height in pixels of the anchors of the student's heads on such a grid, or of all heads.
    pub anchors: &'a [[f32; 2]],
    /// Width and height of the input in pixels.
    pub input: (usize, usize),
    /// The objects of the batch.
    pub targets: &'a [Target],
}

/// A loss on feature maps.
pub(super) trait FeatureLoss: Sync {
    /// This worker's part of the loss, weighted and multiplied by `share`; its gradient with respect to the student's map is
    /// added to `gradient`.
    fn add(&self, features: &Features, share: f64, gradient: &mut [f32]) -> f64;
}

impl Features<'_> {
    /// Numbers of one image.
    pub fn image_len(&self) -> usize {
        self.grid.0 * self.grid.1 * self.channels
    }

    /// This worker's squared distance of both maps, divided by the teacher's squared norm on all workers, counted over the cells that `mask`
    /// (`[image][row][column]`) has, times `weight`; its gradient is added to `gradient`. Of no cells it is 0.
    ///
    /// The teacher's norm makes one weight fit nets whose activations are of any size.
    pub fn relative_distance(&self, mask: impl Fn(usize) -> bool + Sync, weight: f64, gradient: &mut [f32]) -> f64 {
        let (channels, len) = (self.channels, self.image_len());
        let cells = len / channels;
        let sums = |image: usize| {
            let pairs = self.student[image * len..(image + 1) * len].chunks_exact(channels);
            let pairs = pairs.zip(self.teacher[image * len..(image + 1) * len].chunks_exact(channels));
            let masked = pairs
                .enumerate()
                .filter(|(cell, _)| mask(image * cells + cell))
                .flat_map(|(_, (s, t))| s.iter().zip(t));
            masked.fold((0.0, 0.0), |(distance, norm), (s, t)| {
                let (s, t) = (f64::from(*s), f64::from(*t));
                (distance + (s - t) * (s - t), norm + t * t)
            })
        };
        // Collected in order, so that the sum is the same for any number of threads.
        let parts: Vec<(f64, f64)> = (0..self.images).into_par_iter().map(sums).collect();
        let (distance, own_norm) = parts.iter().fold((0.0, 0.0), |(d, n), part| (d + part.0, n + part.1));
        let mut norm = [own_norm];
        self.workers.sum(&mut norm);
        let [norm] = norm;
        if norm == 0.0 {
            return 0.0;
        }
        let slope = (2.0 * weight / norm) as f32;
        let pairs = self.student.par_chunks_exact(channels).zip(self.teacher.par_chunks_exact(channels));
        gradient.par_chunks_exact_mut(channels).zip(pairs).enumerate().for_each(|(cell, (gradient, (s, t)))| {
            if mask(cell) {
                gradient.iter_mut().zip(s.iter().zip(t)).for_each(|(g, (s, t))| *g += slope * (s - t));
            }
        });
        weight * distance / norm
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Random maps of two images, 3 x 4 cells and 2 channels, with an object on the first image.
    pub(in crate::train::distil) struct Scene {
        student: Vec<f32>,
        teacher: Vec<f32>,
        targets: Vec<Target>,
    }

    impl Scene {
        pub fn new() -> Self {
            let map = |seed: u64| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                (0..2 * 3 * 4 * 2).map(|_| rng.random_range(-2.0f32..2.0)).collect()
            };
            let targets = vec![Target { image: 0, class: 0, cx: 0.3, cy: 0.5, w: 0.3, h: 0.3 }];
            Self { student: map(1), teacher: map(2), targets }
        }

        fn run(&self, loss: &dyn FeatureLoss, student: &[f32], share: f64) -> (f64, Vec<f32>) {
            let features = Features {
                student,
                teacher: &self.teacher,
                images: 2,
                whole: 2,
                workers: &Workers::alone(),
                grid: (3, 4),
                channels: 2,
                anchors: &[[30.0, 30.0], [60.0, 20.0]],
                input: (100, 100),
                targets: &self.targets,
            };
            let mut gradient = vec![0.0; student.len()];
            (loss.add(&features, share, &mut gradient), gradient)
        }

        /// The loss of a student whose map is its teacher's.
        pub fn loss_of_equals(&self, loss: &dyn FeatureLoss) -> f64 {
            self.run(loss, &self.teacher, 1.0).0
        }

        /// Asserts that the gradient agrees with finite differences; gives the cells that it touches.
        pub fn check_gradient(&self, loss: &dyn FeatureLoss) -> Vec<usize> {
            let (_, gradient) = self.run(loss, &self.student, 0.5);
            for (i, slope) in gradient.iter().copied().map(f64::from).enumerate() {
                let at = |step: f32| {
                    let mut student = self.student.clone();
                    student[i] += step;
                    self.run(loss, &student, 0.5).0
                };
                let difference = (at(1e-3) - at(-1e-3)) / 2e-3;
                assert!((slope - difference).abs() < 1e-5 + 2e-3 * slope.abs(), "{i}: {slope} against {difference}");
            }
            (0..gradient.len() / 2).filter(|cell| gradient[cell * 2] != 0.0).collect()
        }
    }
}
