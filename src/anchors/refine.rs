//! Anchors bred further: small random changes are kept where they fit the labels better.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::{Anchors, judge, mean_iou};

/// Labels that a generation is judged by; of more, so many are taken evenly.
const JUDGED: usize = 5000;
/// The largest change of a side in one generation.
const STRONGEST: f64 = 0.3;
/// The share of sides that a generation changes.
const CHANGED: f64 = 0.5;

/// Breeds anchors over so many generations for the mean IoU of labels with their best anchor, which k-means only
/// approaches: its centres are means of sides, and the best side for an IoU is none. Never worse than before.
#[must_use]
pub fn refine(sizes: &[[f64; 2]], anchors: &Anchors, generations: usize) -> Anchors {
    let few: Vec<[f64; 2]> = sizes.iter().step_by(sizes.len().div_ceil(JUDGED).max(1)).copied().collect();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut best: Vec<[f64; 2]> = anchors.sizes.iter().map(|a| a.map(f64::from)).collect();
    let start = mean_iou(&few, &best);
    let mut fitness = start;
    for _ in 0..generations {
        let strength = STRONGEST * rng.random::<f64>();
        let mut side = |v: f64| {
            let (changed, by) = (rng.random::<f64>() < CHANGED, rng.random_range(-1.0..=1.0));
            if changed { (v * (1.0 + strength * by)).max(1.0) } else { v }
        };
        let child: Vec<[f64; 2]> = best.iter().map(|a| a.map(&mut side)).collect();
        let fit = mean_iou(&few, &child);
        if fit > fitness {
            (best, fitness) = (child, fit);
        }
    }
    if fitness == start {
        return anchors.clone();
    }
    let bred = judge(sizes, best);
    if bred.mean_iou > anchors.mean_iou { bred } else { anchors.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::cluster;
    use super::*;

    #[test]
    fn bred_anchors_fit_better_than_clustered_ones_and_are_the_same_each_time() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let sizes: Vec<[f64; 2]> =
            (0..400).map(|_| [4.0_f64, 6.0].map(|s| s * rng.random_range(0.5_f64..4.0).exp())).collect();
        let start = cluster(&sizes, 4).unwrap();
        let bred = refine(&sizes, &start, 300);
        assert!(bred.mean_iou > start.mean_iou, "{} {}", bred.mean_iou, start.mean_iou);
        assert_eq!(bred, refine(&sizes, &start, 300));
        assert_eq!(refine(&sizes, &start, 0), start);
    }
}
