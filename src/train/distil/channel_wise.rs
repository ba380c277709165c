//! Channel-wise distillation (Shu et al., ICCV 2021, equations 2 to 5).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::features::{FeatureLoss, Features};

/// Each channel of a map as a distribution over its cells: where it looks, whatever its scale. The loss is
/// `T^2 / channels * sum KL(teacher || student)`, averaged over images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelWise {
    /// Weight beside the hard loss.
    pub weight: f64,
    /// T: larger ones look at more cells.
    pub temperature: f64,
}

impl Default for ChannelWise {
    fn default() -> Self {
        Self { weight: 1.0, temperature: 1.0 }
    }
}

impl FeatureLoss for ChannelWise {
    fn add(&self, features: &Features, share: f64, gradient: &mut [f32]) -> f64 {
        let (len, t) = (features.image_len(), self.temperature);
        let weight = self.weight * share * t * t / (features.channels * features.whole) as f64;
        let images = features.student.par_chunks_exact(len).zip(features.teacher.par_chunks_exact(len));
        let parts: Vec<f64> = gradient
            .par_chunks_exact_mut(len)
            .zip(images)
            .map(|(gradient, (student, teacher))| {
                divergence(features.channels, t, weight / t, student, teacher, gradient)
            })
            .collect();
        weight * parts.iter().sum::<f64>()
    }
}

/// The divergences of all channels of one image, `[cell][channel]`; their gradient times `slope` is added.
fn divergence(channels: usize, t: f64, slope: f64, student: &[f32], teacher: &[f32], gradient: &mut [f32]) -> f64 {
    let [log_p, log_q] = [student, teacher].map(|map| log_normaliser(channels, t, map));
    let cells = student.chunks_exact(channels).zip(teacher.chunks_exact(channels));
    let mut sum = 0.0;
    for (gradient, (student, teacher)) in gradient.chunks_exact_mut(channels).zip(cells) {
        for c in 0..channels {
            let log_q = f64::from(teacher[c]) / t - log_q[c];
            let log_p = f64::from(student[c]) / t - log_p[c];
            let (q, p) = (log_q.exp(), log_p.exp());
            sum += q * (log_q - log_p);
            gradient[c] += (slope * (p - q)) as f32;
        }
    }
    sum
}

/// The logarithm of each channel's sum of e^(x / t) over all cells.
fn log_normaliser(channels: usize, t: f64, map: &[f32]) -> Vec<f64> {
    let mut largest = vec![f32::NEG_INFINITY; channels];
    for cell in map.chunks_exact(channels) {
        largest.iter_mut().zip(cell).for_each(|(l, v)| *l = l.max(*v));
    }
    let mut sums = vec![0.0; channels];
    for cell in map.chunks_exact(channels) {
        let shifted = cell.iter().zip(&largest).map(|(v, l)| (f64::from(v - l) / t).exp());
        sums.iter_mut().zip(shifted).for_each(|(sum, e)| *sum += e);
    }
    sums.iter().zip(largest).map(|(sum, l): (&f64, f32)| sum.ln() + f64::from(l) / t).collect()
}

#[cfg(test)]
mod tests {
    use super::super::features::tests::Scene;
    use super::*;

    #[test]
    fn the_gradient_of_every_cell_agrees_with_finite_differences() {
        for temperature in [1.0, 4.0] {
            let loss = ChannelWise { weight: 2.0, temperature };
            assert_eq!(Scene::new().check_gradient(&loss).len(), 24);
            assert!(Scene::new().loss_of_equals(&loss).abs() < 1e-12);
        }
    }

    #[test]
    fn the_divergence_is_that_of_the_definition_and_does_not_see_a_channels_offset() {
        let (student, teacher) = ([0.0, 5.0, 1.0, 5.0], [1.0f32, -3.0, 0.0, -3.0]);
        let e = std::f64::consts::E;
        // Channel 0: cells 0 and 1 against 1 and 0; channel 1: equal but for an offset.
        let (q, p) = (e / (1.0 + e), 1.0 / (1.0 + e));
        let expected = q * (q / p).ln() + p * (p / q).ln();
        let found = divergence(2, 1.0, 1.0, &student, &teacher, &mut [0.0; 4]);
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }
}
