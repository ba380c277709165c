//! Non-maximum suppression.

use std::collections::HashMap;

use super::{Detection, iou};

/// Most detections of one image that [`nms`] looks at: the best-scored ones. It bounds the time that an
/// untrained net with a threshold near 0 can take.
pub const MAX_CANDIDATES: usize = 30_000;

/// Greedy non-maximum suppression within each class: a detection goes when a better one of its class that
/// stays has an IoU above `iou_threshold` with it. Returns the rest from best to worst score; equal
/// scores keep their order. Detections whose score is not a number are left out.
pub fn nms(mut detections: Vec<Detection>, iou_threshold: f64) -> Vec<Detection> {
    detections.retain(|detection| !detection.score.is_nan());
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    detections.truncate(MAX_CANDIDATES);
    let mut kept: HashMap<usize, Vec<Detection>> = HashMap::new();
    detections.retain(|detection| {
        let better = kept.entry(detection.class).or_default();
        let stays = better.iter().all(|other| iou(&other.bbox, &detection.bbox) <= iou_threshold);
        if stays {
            better.push(*detection);
        }
        stays
    });
    detections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::BBox;

    fn at(x: f64, score: f32, class: usize) -> Detection {
        Detection { class, score, bbox: BBox::from_corner(x, 0.0, 10.0, 10.0) }
    }

    #[test]
    fn it_keeps_the_best_of_each_cluster_and_class() {
        let apart = at(50.0, 0.3, 0);
        let other_class = at(1.0, 0.2, 1);
        let kept = nms(vec![at(0.0, 0.5, 0), at(1.0, 0.9, 0), apart, other_class], 0.45);
        assert_eq!(kept, [at(1.0, 0.9, 0), apart, other_class]);
    }

    #[test]
    fn a_suppressed_box_suppresses_nothing() {
        // 0 and 5 overlap by a third, as do 5 and 10; 0 and 10 only touch.
        let kept = nms(vec![at(0.0, 0.9, 0), at(5.0, 0.8, 0), at(10.0, 0.7, 0)], 0.3);
        assert_eq!(kept, [at(0.0, 0.9, 0), at(10.0, 0.7, 0)]);
    }

    #[test]
    fn an_overlap_equal_to_the_threshold_stays() {
        let half = Detection { bbox: BBox::from_corner(0.0, 0.0, 5.0, 10.0), ..at(0.0, 0.1, 0) };
        assert_eq!(nms(vec![at(0.0, 0.9, 0), half], 0.5).len(), 2);
        assert_eq!(nms(vec![at(0.0, 0.9, 0), half], 0.49).len(), 1);
    }

    #[test]
    fn equal_scores_keep_their_order() {
        let scattered: Vec<_> = (0..40).map(|i| at(f64::from(i * 20), 0.5, 0)).collect();
        assert_eq!(nms(scattered.clone(), 0.5), scattered);
    }

    #[test]
    fn a_score_that_is_not_a_number_goes() {
        assert_eq!(nms(vec![at(0.0, f32::NAN, 0), at(0.0, 0.1, 0)], 0.5), [at(0.0, 0.1, 0)]);
    }

    #[test]
    fn only_the_best_candidates_are_looked_at() {
        let many: Vec<_> = (0..MAX_CANDIDATES + 5).map(|i| at(0.0, i as f32, i)).collect();
        let kept = nms(many, 0.5);
        assert_eq!((kept.len(), kept[0].score), (MAX_CANDIDATES, (MAX_CANDIDATES + 4) as f32));
    }
}
