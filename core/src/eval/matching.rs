//! COCO's greedy matching of one image's detections to its labels.

use super::grouping::ImageOfClass;
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

/// The verdicts on the first `limit` detections at one IoU threshold (pycocotools, `evaluateImg`).
///
/// Detections choose in score order among the labels that are left: the largest overlap of at least
/// `threshold`, of equal ones the last, and a label that does not count only when no other will do. A crowd is
/// never used up.
pub(super) fn verdicts(image: &ImageOfClass, limit: usize, area: AreaRange, threshold: f64) -> Vec<Verdict> {
    let mut order: Vec<usize> = (0..image.truths.len()).collect();
    order.sort_by_key(|&truth| !area.counts(image.truths[truth]));
    let mut taken = vec![false; order.len()];
    let judge = |index: usize, taken: &mut [bool]| {
        let mut best: Option<usize> = None;
        let mut bar = threshold.min(1.0 - 1e-10);
        for &truth in order.iter().filter(|&&truth| !taken[truth] || image.truths[truth].crowd) {
            let counts = area.counts(image.truths[truth]);
            if !counts && best.is_some_and(|best| area.counts(image.truths[best])) {
                break;
            }
            if image.overlap(index, truth) >= bar {
                bar = image.overlap(index, truth);
                best = Some(truth);
            }
        }
        best.inspect(|&truth| taken[truth] = true)
    };
    let detections = image.detections.iter().take(limit).enumerate();
    let verdicts = detections.map(|(index, detection)| match judge(index, &mut taken) {
        Some(truth) if area.counts(image.truths[truth]) => Verdict::Hit,
        None if area.contains(detection.bbox.area()) => Verdict::Miss,
        _ => Verdict::Ignored,
    });
    verdicts.collect()
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Hit, Ignored, Miss};
    use super::*;
    use crate::boxes::{BBox, Detection};

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
            assert_eq!(verdicts(&image, 100, area, 0.5), expected, "{name}");
        }
    }

    #[test]
    fn detections_past_the_limit_are_not_judged() {
        let detections = [detect(0.0, 10.0), detect(20.0, 10.0)];
        let image = ImageOfClass::new(detections.iter().collect(), Vec::new());
        assert_eq!(verdicts(&image, 1, ALL, 0.5), [Miss]);
    }
}
