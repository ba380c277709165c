//! COCO's figures of one class: ten IoU thresholds, four ranges of size.

use super::average_precision::{Curve, Judged};
use super::grouping::ImageOfClass;
use super::matching::{AreaRange, Verdict, verdicts};
use super::{OperatingPoint, mean};

/// Numbers of detections an image and class that recall is given for; the last is the limit of all figures.
const LIMITS: [usize; 3] = [1, 10, 100];

/// Number of IoU thresholds.
const THRESHOLDS: usize = 10;

/// The figures of one class in each range of size.
pub(super) struct ClassCurves {
    pub all: Figures,
    pub small: Figures,
    pub medium: Figures,
    pub large: Figures,
}

/// The figures in one range of size; none when it has no labels.
#[derive(Default)]
pub(super) struct Figures {
    pub ap: Option<f64>,
    pub ap50: Option<f64>,
    pub ap75: Option<f64>,
    /// Mean recall over the IoU thresholds at each of [`LIMITS`].
    pub recall: [Option<f64>; LIMITS.len()],
    pub best_f1: Option<OperatingPoint>,
}

/// Measures one class.
pub(super) fn measure(images: &[ImageOfClass]) -> ClassCurves {
    let (small, medium, huge) = (32.0 * 32.0, 96.0 * 96.0, 1e10);
    ClassCurves {
        all: figures(images, AreaRange(0.0, huge)),
        small: figures(images, AreaRange(0.0, small)),
        medium: figures(images, AreaRange(small, medium)),
        large: figures(images, AreaRange(medium, huge)),
    }
}

fn figures(images: &[ImageOfClass], area: AreaRange) -> Figures {
    let positives = images.iter().flat_map(|image| &image.truths).filter(|truth| area.counts(truth)).count();
    if positives == 0 {
        return Figures::default();
    }
    let ranked = ranked(images, area);
    let curve = |level: usize| {
        let judged = ranked.iter().map(|d| Judged { score: d.score, verdict: d.verdicts[level] });
        Curve::new(judged, positives)
    };
    let curves: Vec<Curve> = (0..THRESHOLDS).map(curve).collect();
    let aps: Vec<f64> = curves.iter().map(|curve| curve.interpolated(100)).collect();
    let recall = |limit: usize| {
        let within = ranked.iter().filter(|d| d.rank < limit).flat_map(|d| &d.verdicts);
        within.filter(|&&verdict| verdict == Verdict::Hit).count() as f64 / (THRESHOLDS * positives) as f64
    };
    Figures {
        ap: mean(aps.iter().copied()),
        ap50: Some(aps[0]),
        ap75: Some(aps[5]),
        recall: LIMITS.map(|limit| Some(recall(limit))),
        best_f1: curves[0].best_f1(),
    }
}

/// The IoU thresholds 0.50, 0.55 .. 0.95 with the rounding of numpy's linspace.
fn thresholds() -> [f64; THRESHOLDS] {
    let step = (0.95 - 0.5) / 9.0;
    std::array::from_fn(|i| if i == THRESHOLDS - 1 { 0.95 } else { i as f64 * step + 0.5 })
}

/// A detection, where it stood in its image, and what became of it at each threshold.
struct Ranked {
    score: f32,
    rank: usize,
    verdicts: [Verdict; THRESHOLDS],
}

/// The detections of all images by falling score, equal scores in the images' order.
fn ranked(images: &[ImageOfClass], area: AreaRange) -> Vec<Ranked> {
    let thresholds = thresholds();
    let mut ranked: Vec<Ranked> = Vec::new();
    for image in images {
        let verdicts = verdicts(image, LIMITS[LIMITS.len() - 1], area, &thresholds);
        let scored = image.detections.iter().zip(verdicts).enumerate();
        ranked.extend(scored.map(|(rank, (d, verdicts))| Ranked { score: d.score, rank, verdicts }));
    }
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boxes::{BBox, Detection};
    use crate::labels::Object;

    #[test]
    fn sizes_share_the_border_and_thresholds_grade_the_overlap() {
        let bbox = BBox::from_corner(0.0, 0.0, 32.0, 32.0);
        let truth = Object { class: 0, bbox, area: 1024.0, difficult: false, crowd: false };
        // IoU 0.78: a hit at the six thresholds 0.50 to 0.75.
        let near = Detection { class: 0, score: 0.5, bbox: BBox::from_corner(0.0, 0.0, 32.0, 0.78 * 32.0) };
        let curves = measure(&[ImageOfClass::new(vec![&near], vec![&truth])]);
        for figures in [&curves.all, &curves.small, &curves.medium] {
            assert!((figures.ap.unwrap() - 0.6).abs() < 1e-12);
            assert!((figures.ap75.unwrap() - 1.0).abs() < 1e-12);
            assert_eq!(figures.recall[0], Some(0.6));
        }
        assert_eq!(curves.large.ap, None);
    }

    #[test]
    fn detections_past_the_hundredth_of_an_image_are_not_looked_at() {
        let bbox = BBox::from_corner(0.0, 0.0, 40.0, 40.0);
        let truth = Object { class: 0, bbox, area: 1600.0, difficult: false, crowd: false };
        let miss = Detection { class: 0, score: 0.9, bbox: BBox::from_corner(200.0, 0.0, 40.0, 40.0) };
        let hit = Detection { class: 0, score: 0.1, bbox };
        for (misses, recall) in [(99, 1.0), (100, 0.0)] {
            let detections = vec![&miss; misses].into_iter().chain([&hit]).collect();
            let curves = measure(&[ImageOfClass::new(detections, vec![&truth])]);
            assert_eq!(curves.all.recall[2], Some(recall), "{misses} misses");
        }
    }
}
