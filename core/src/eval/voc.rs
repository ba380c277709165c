//! VOC's average precision at IoU 0.5, as its development kit computes it.

use super::average_precision::{Curve, Judged};
use super::grouping::ImageOfClass;
use super::matching::Verdict;

const THRESHOLD: f64 = 0.5;

/// AP of one class by VOC2007's 11 points and by VOC2010's whole curve; none without labels that count.
///
/// Widths are edge to edge here; the kit, whose boxes are inclusive pixels, adds one to each.
pub(super) fn average_precisions(images: &[ImageOfClass]) -> (Option<f64>, Option<f64>) {
    let truths = images.iter().flat_map(|image| &image.truths);
    let positives = truths.filter(|truth| !truth.difficult && !truth.crowd).count();
    if positives == 0 {
        return (None, None);
    }
    let mut judged: Vec<Judged> = images.iter().flat_map(judge).collect();
    judged.sort_by(|a, b| b.score.total_cmp(&a.score));
    let curve = Curve::new(judged.into_iter(), positives);
    (Some(curve.interpolated(10)), Some(curve.area()))
}

/// Each detection is held against the label that it overlaps most, taken or not: a second one on the same label
/// is a miss. VOC has no crowds; here they excuse what hits nothing else.
fn judge(image: &ImageOfClass) -> Vec<Judged> {
    let mut taken = vec![false; image.truths.len()];
    let detections = image.detections.iter().enumerate();
    let judged = detections.map(|(index, detection)| {
        let best_of = |crowd: bool| {
            let truths = (0..taken.len()).filter(|&truth| image.truths[truth].crowd == crowd);
            let near = truths.filter(|&truth| image.overlap(index, truth) >= THRESHOLD);
            // Reversed, so that of equal overlaps the first label is taken.
            near.rev().max_by(|&a, &b| image.overlap(index, a).total_cmp(&image.overlap(index, b)))
        };
        let verdict = match (best_of(false), best_of(true)) {
            (Some(truth), _) if image.truths[truth].difficult => Verdict::Ignored,
            (Some(truth), _) if !std::mem::replace(&mut taken[truth], true) => Verdict::Hit,
            (None, Some(_)) => Verdict::Ignored,
            _ => Verdict::Miss,
        };
        Judged { score: detection.score, verdict }
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::{BBox, Detection};
    use crate::labels::Object;

    fn label(x: f64) -> Object {
        let bbox = BBox::from_corner(x, 0.0, 10.0, 10.0);
        Object { class: 0, bbox, area: bbox.area(), difficult: false, crowd: false }
    }

    fn detect(x: f64) -> Detection {
        Detection { class: 0, score: 0.5, bbox: BBox::from_corner(x, 0.0, 10.0, 10.0) }
    }

    #[test]
    fn each_case_is_judged_as_by_hand() {
        use Verdict::{Hit, Ignored, Miss};
        let difficult = Object { difficult: true, ..label(0.0) };
        let crowd = Object { crowd: true, bbox: BBox::from_corner(0.0, 0.0, 100.0, 100.0), ..label(0.0) };
        for (name, truths, detections, expected) in [
            ("a duplicate is a miss", vec![label(0.0), label(2.0)], vec![detect(0.0); 2], [Hit, Miss]),
            ("a difficult label excuses many", vec![difficult], vec![detect(0.0); 2], [Ignored, Ignored]),
            ("a crowd excuses misses", vec![crowd, label(0.0)], vec![detect(0.0), detect(50.0)], [Hit, Ignored]),
            ("two labels, two hits", vec![label(0.0), label(20.0)], vec![detect(20.0), detect(0.0)], [Hit, Hit]),
        ] {
            let image = ImageOfClass::new(detections.iter().collect(), truths.iter().collect());
            let verdicts: Vec<Verdict> = judge(&image).iter().map(|judged| judged.verdict).collect();
            assert_eq!(verdicts, expected, "{name}");
        }
    }

    #[test]
    fn all_detections_of_an_image_count() {
        let (truth, hit, miss) = (label(0.0), detect(0.0), Detection { score: 0.9, ..detect(50.0) });
        let detections = vec![&miss; 199].into_iter().chain([&hit]).collect();
        let (voc2007, voc2010) = average_precisions(&[ImageOfClass::new(detections, vec![&truth])]);
        assert!((voc2007.unwrap() - 1.0 / 200.0).abs() < 1e-12 && (voc2010.unwrap() - 1.0 / 200.0).abs() < 1e-12);
    }
}
