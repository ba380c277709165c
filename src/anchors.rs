//! Anchor boxes that fit a data set: k-means over box shapes with 1 - IoU as distance (Redmon and Farhadi 2016,
//! "YOLO9000", section 2, "Dimension Clusters").

mod refine;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use yoloslim_core::boxes::Letterbox;
use yoloslim_core::labels::Dataset;
use yoloslim_core::{Error, Result};

pub use refine::refine;

/// Starts from other boxes; the best result counts.
const RESTARTS: u64 = 8;
/// Rounds of one start, if it does not settle before.
const ROUNDS: usize = 300;
/// A label can be learnt from an anchor when neither side is more than this many times the other's.
const SHAPE_LIMIT: f64 = 4.0;

/// Anchors and how well they fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Anchors {
    /// Width and height in pixels of the net's input, from small to large area.
    pub sizes: Vec<[f32; 2]>,
    /// Mean over all labels of the IoU with the best anchor, both centred on one point.
    pub mean_iou: f64,
    /// Share of the labels whose sides are within 4 times those of some anchor, either way.
    pub best_possible_recall: f64,
}

/// Width and height of every label of a data set in pixels of a letterboxed input; crowds and difficult objects, which
/// are not trained on, don't count.
#[must_use]
pub fn label_sizes(dataset: &Dataset, width: usize, height: usize) -> Vec<[f64; 2]> {
    let sizes = dataset.samples.iter().flat_map(|s| {
        let fit = Letterbox::new(s.width, s.height, width, height);
        let counted = s.objects.iter().filter(|o| !o.crowd && !o.difficult);
        counted.map(move |o| fit.to_net(o.bbox)).map(|b| [b.width(), b.height()])
    });
    sizes.filter(|[w, h]| *w > 0.0 && *h > 0.0).collect()
}

/// Clusters label sizes into `count` anchors. The same sizes give the same anchors.
///
/// # Errors
/// Fewer different sizes than anchors.
pub fn cluster(sizes: &[[f64; 2]], count: usize) -> Result<Anchors> {
    cluster_with(sizes, count, &mut |_, _| {})
}

/// [`cluster`] that tells how many of how many starts have settled.
///
/// # Errors
/// As [`cluster`].
pub fn cluster_with(sizes: &[[f64; 2]], count: usize, progress: &mut dyn FnMut(usize, usize)) -> Result<Anchors> {
    let mut different = sizes.to_vec();
    different.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    different.dedup();
    if count == 0 || different.len() < count {
        return Err(Error::at(
            "anchors",
            format!("{} different box sizes are too few for {count} anchors", different.len()),
        )
        .fix("use a data set with more labels, or the published anchors"));
    }
    let starts = (0..RESTARTS).map(|seed| {
        let settled = settle(sizes, seeds(sizes, count, seed));
        progress(seed as usize + 1, RESTARTS as usize);
        settled
    });
    let best = starts.max_by(|a, b| mean_iou(sizes, a).total_cmp(&mean_iou(sizes, b))).unwrap_or_default();
    Ok(judge(sizes, best))
}

/// How well given anchors fit.
#[must_use]
pub fn judge(sizes: &[[f64; 2]], mut anchors: Vec<[f64; 2]>) -> Anchors {
    anchors.sort_by(|a, b| (a[0] * a[1]).total_cmp(&(b[0] * b[1])));
    let near = |s: &[f64; 2], a: &[f64; 2]| (0..2).all(|i| s[i] / a[i] < SHAPE_LIMIT && a[i] / s[i] < SHAPE_LIMIT);
    let reached = sizes.iter().filter(|s| anchors.iter().any(|a| near(s, a))).count();
    Anchors {
        mean_iou: mean_iou(sizes, &anchors),
        best_possible_recall: reached as f64 / sizes.len().max(1) as f64,
        sizes: anchors.iter().map(|a| a.map(|v| v as f32)).collect(),
    }
}

/// The share of labels that overlap some anchor by more than `iou`: those that training gives to an anchor because it fits,
/// and not only because no other does better.
#[must_use]
pub fn recall(sizes: &[[f64; 2]], anchors: &Anchors, iou: f64) -> f64 {
    let anchors: Vec<[f64; 2]> = anchors.sizes.iter().map(|a| a.map(f64::from)).collect();
    let fitting = sizes.iter().filter(|size| nearest(size, &anchors).1 > iou).count();
    fitting as f64 / sizes.len().max(1) as f64
}

/// The IoU of two boxes with one centre.
fn shape_iou(a: &[f64; 2], b: &[f64; 2]) -> f64 {
    let shared = a[0].min(b[0]) * a[1].min(b[1]);
    shared / (a[0] * a[1] + b[0] * b[1] - shared)
}

fn nearest(size: &[f64; 2], anchors: &[[f64; 2]]) -> (usize, f64) {
    let ious = anchors.iter().map(|a| shape_iou(size, a)).enumerate();
    ious.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

fn mean_iou(sizes: &[[f64; 2]], anchors: &[[f64; 2]]) -> f64 {
    sizes.iter().map(|s| nearest(s, anchors).1).sum::<f64>() / sizes.len().max(1) as f64
}

/// k-means++: each next start is drawn with its squared distance to the starts so far as weight, so that rare shapes
/// get an anchor too.
fn seeds(sizes: &[[f64; 2]], count: usize, seed: u64) -> Vec<[f64; 2]> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut chosen = vec![sizes[rng.random_range(0..sizes.len())]];
    while chosen.len() < count {
        let weights: Vec<f64> = sizes.iter().map(|s| (1.0 - nearest(s, &chosen).1).powi(2)).collect();
        let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
        let drawn = weights.iter().position(|w| {
            left -= w;
            left < 0.0
        });
        chosen.push(sizes[drawn.unwrap_or(sizes.len() - 1)]);
    }
    chosen
}

/// Lloyd's algorithm until no label changes its cluster.
fn settle(sizes: &[[f64; 2]], mut anchors: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    let mut before = Vec::new();
    for _ in 0..ROUNDS {
        let owners: Vec<usize> = sizes.iter().map(|s| nearest(s, &anchors).0).collect();
        if owners == before {
            break;
        }
        for (i, anchor) in anchors.iter_mut().enumerate() {
            let own = || sizes.iter().zip(&owners).filter(|(_, o)| **o == i).map(|(s, _)| s);
            let n = own().count() as f64;
            // A cluster that lost all its labels keeps its anchor.
            if n > 0.0 {
                *anchor = [own().map(|s| s[0]).sum::<f64>() / n, own().map(|s| s[1]).sum::<f64>() / n];
            }
        }
        before = owners;
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_that_are_far_apart_are_found() {
        let centres = [[10.0, 20.0], [60.0, 30.0], [200.0, 220.0]];
        let sizes: Vec<[f64; 2]> =
            centres.iter().flat_map(|c| (-2..=2).map(|d| [c[0] + f64::from(d), c[1] - f64::from(d)])).collect();
        let anchors = cluster(&sizes, 3).unwrap();
        for (found, wanted) in anchors.sizes.iter().zip(centres) {
            assert!((f64::from(found[0]) - wanted[0]).abs() < 1e-3, "{:?}", anchors.sizes);
            assert!((f64::from(found[1]) - wanted[1]).abs() < 1e-3, "{:?}", anchors.sizes);
        }
        assert_eq!(anchors.best_possible_recall, 1.0);
        assert!(anchors.mean_iou > 0.8);
    }

    #[test]
    fn recall_counts_labels_that_some_anchor_resembles() {
        let fit = judge(&[[10.0, 10.0], [39.0, 10.0], [41.0, 10.0], [10.0, 2.0]], vec![[10.0, 10.0]]);
        assert_eq!(fit.best_possible_recall, 0.5);
    }

    #[test]
    fn recall_at_an_iou_counts_labels_that_overlap_enough() {
        let sizes = [[10.0, 10.0], [20.0, 10.0], [10.0, 2.0]];
        let fit = judge(&sizes, vec![[10.0, 10.0]]);
        assert!((recall(&sizes, &fit, 0.2635) - 2.0 / 3.0).abs() < 1e-12);
        assert!((recall(&sizes, &fit, 0.6) - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn too_few_sizes_are_refused() {
        let message = cluster(&[[1.0, 1.0], [1.0, 1.0]], 2).unwrap_err().to_string();
        assert!(message.contains("1 different box sizes are too few for 2 anchors"), "{message}");
    }
}
