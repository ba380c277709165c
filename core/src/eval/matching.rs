//! COCO's greedy matching of one image's detections to its labels.

use super::grouping::ImageOfClass;
use crate::boxes::Detection;
use crate::labels::Object;

/// What became of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It found a label.
    Hit,
    /// It found none.
    Miss,
    /// It found a label that does not count, or lies outside of the sizes asked for.
    Ignored,
}

/// Areas in square pixels, both ends included, as pycocotools has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AreaRange(pub f64, pub f64);

impl AreaRange {
    fn contains(self, area: f64) -> bool {
        area >= self.0 && area <= self.1
    }

    /// Whether a label counts: a crowd or a difficult one does not.
    pub fn counts(self, truth: &Object) -> bool {
        !truth.crowd && !truth.difficult && self.contains(truth.area)
    }
}

/// The verdicts on the first `limit` detections at each IoU threshold (pycocotools, `evaluateImg`).
///
/// Detections choose in score order among the labels that are left: the largest overlap of at least the
/// threshold, of equal ones the last, and a label that does not count only when no other will do. A crowd is
/// never used up.
pub(super) fn verdicts<const N: usize>(
    image: &ImageOfClass,
    limit: usize,
    area: AreaRange,
    thresholds: &[f64; N],
) -> Vec<[Verdict; N]> {
    let detections = image.detections.iter().take(limit);
    let unmatched = |d: &&Detection| if area.contains(d.bbox.area()) { Verdict::Miss } else { Verdict::Ignored };
    let mut verdicts: Vec<[Verdict; N]> = detections.map(|d| [unmatched(d); N]).collect();
    let mut order: Vec<(usize, bool)> = image.truths.iter().map(|truth| area.counts(truth)).enumerate().collect();
    order.sort_by_key(|(_, counts)| !counts);
    for (level, threshold) in thresholds.iter().enumerate() {
        let mut taken = vec![false; order.len()];
        for (index, verdict) in verdicts.iter_mut().enumerate() {
            let mut best: Option<(usize, bool)> = None;
            let mut bar = threshold.min(1.0 - 1e-10);
            for &(truth, counts) in order.iter().filter(|(t, _)| !taken[*t] || image.truths[*t].crowd) {
                if !counts && best.is_some_and(|(_, best_counts)| best_counts) {
                    break;
                }
                if image.overlap(index, truth) >= bar {
                    bar = image.overlap(index, truth);
                    best = Some((truth, counts));
                }
            }
            if let Some((truth, counts)) = best {
                taken[truth] = true;
                verdict[level] = if counts { Verdict::Hit } else { Verdict::Ignored };
            }
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Hit, Ignored, Miss};
    use super::*;
    use crate::boxes::BBox;

    const ALL: AreaRange = AreaRange(0.0, 1e10);

    fn label(x: f64, width: f64) -> Object {
        let bbox = BBox::from_corner(x, 0.0, width, 10.0);
        Object { class: 0, bbox, area: bbox.area(), difficult: false, crowd: false }
    }

    fn detect(x: f64, width: f64) -> Detection {
        Detection { class: 0, score: 0.5, bbox: BBox::from_corner(x, 0.0, width, 10.0) }
    }

    #[test]
    fn each_case_is_judged_as_by_hand() {
        let crowd = Object { crowd: true, ..label(0.0, 100.0) };
        let difficult = Object { difficult: true, ..label(0.0, 10.0) };
        let cases = [
            (
                "a label is hit once",
                vec![label(0.0, 10.0)],
                vec![detect(0.0, 10.0), detect(0.0, 10.0)],
                ALL,
                vec![Hit, Miss],
            ),
            (
                "an overlap of just the threshold is enough",
                vec![label(0.0, 10.0)],
                vec![detect(0.0, 5.0)],
                ALL,
                vec![Hit],
            ),
            ("too little overlap", vec![label(0.0, 10.0)], vec![detect(0.0, 4.9)], ALL, vec![Miss]),
            (
                "a duplicate takes the second best label",
                vec![label(0.0, 10.0), label(2.0, 10.0)],
                vec![detect(0.0, 10.0), detect(0.0, 10.0)],
                ALL,
                vec![Hit, Hit],
            ),
            (
                "a worse detection of higher score goes first",
                vec![label(0.0, 10.0)],
                vec![detect(2.0, 10.0), detect(0.0, 10.0)],
                ALL,
                vec![Hit, Miss],
            ),
            (
                "a crowd swallows many",
                vec![crowd.clone()],
                vec![detect(0.0, 9.0), detect(50.0, 9.0)],
                ALL,
                vec![Ignored, Ignored],
            ),
            (
                "a counting label is preferred to a crowd",
                vec![crowd, label(0.0, 10.0)],
                vec![detect(0.0, 8.0)],
                ALL,
                vec![Hit],
            ),
            (
                "a difficult label is used up",
                vec![difficult],
                vec![detect(0.0, 10.0), detect(0.0, 10.0)],
                ALL,
                vec![Ignored, Miss],
            ),
            (
                "a label of another size is ignored with its detection",
                vec![label(0.0, 10.0)],
                vec![detect(0.0, 9.0)],
                AreaRange(100.5, 1e10),
                vec![Ignored],
            ),
            (
                "unmatched detections count by their own size",
                vec![],
                vec![detect(0.0, 9.0), detect(0.0, 11.0)],
                AreaRange(100.5, 1e10),
                vec![Ignored, Miss],
            ),
        ];
        for (name, truths, detections, area, expected) in cases {
            let image = ImageOfClass::new(detections.iter().collect(), truths.iter().collect());
            assert_eq!(verdicts(&image, 100, area, &[0.5]).concat(), expected, "{name}");
        }
    }

    #[test]
    fn each_threshold_is_judged_on_its_own() {
        let (truth, near, exact) = (label(0.0, 10.0), detect(0.0, 8.0), detect(0.0, 10.0));
        let image = ImageOfClass::new(vec![&near, &exact], vec![&truth]);
        assert_eq!(verdicts(&image, 100, ALL, &[0.5, 0.9]), [[Hit, Miss], [Miss, Hit]]);
    }

    #[test]
    fn detections_past_the_limit_are_not_judged() {
        let detections = [detect(0.0, 10.0), detect(20.0, 10.0)];
        let image = ImageOfClass::new(detections.iter().collect(), Vec::new());
        assert_eq!(verdicts(&image, 1, ALL, &[0.5]), [[Miss]]);
    }
}
