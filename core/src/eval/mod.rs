//! COCO and VOC metrics of detections against labels.

mod average_precision;
mod coco;
mod grouping;
mod matching;
mod voc;

use serde::{Deserialize, Serialize};

use crate::boxes::Detection;
use crate::labels::Dataset;

/// mAP@0.5 under which a net detects next to nothing.
pub const NEXT_TO_NOTHING: f64 = 0.01;

/// How good detections are: COCO's and VOC's figures, 0 to 1. A figure that no label speaks to (pycocotools
/// prints -1) is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evaluation {
    /// Number of images.
    pub images: usize,
    /// Number of labels that count: neither crowds nor difficult ones.
    pub labels: usize,
    /// COCO's mAP: the mean over IoU thresholds 0.50 to 0.95 and classes.
    pub map: Option<f64>,
    /// mAP at IoU 0.50, 101-point interpolation.
    pub map50: Option<f64>,
    /// mAP at IoU 0.75.
    pub map75: Option<f64>,
    /// mAP of labels under 32 x 32 pixels.
    pub map_small: Option<f64>,
    /// mAP of labels from 32 x 32 to 96 x 96 pixels.
    pub map_medium: Option<f64>,
    /// mAP of labels over 96 x 96 pixels.
    pub map_large: Option<f64>,
    /// mAP at IoU 0.50 of labels under 32 x 32 pixels.
    pub map50_small: Option<f64>,
    /// Mean recall over IoU thresholds with one detection an image and class.
    pub recall_1: Option<f64>,
    /// The same with ten.
    pub recall_10: Option<f64>,
    /// The same with a hundred.
    pub recall_100: Option<f64>,
    /// Recall with a hundred detections, of labels under 32 x 32 pixels.
    pub recall_small: Option<f64>,
    /// The same of labels from 32 x 32 to 96 x 96 pixels.
    pub recall_medium: Option<f64>,
    /// The same of labels over 96 x 96 pixels.
    pub recall_large: Option<f64>,
    /// VOC2007's mAP at IoU 0.50: 11-point interpolation.
    pub voc2007_map50: Option<f64>,
    /// VOC2010's mAP at IoU 0.50: the area under the whole curve.
    pub voc2010_map50: Option<f64>,
    /// The classes one by one, in the data set's order.
    pub classes: Vec<ClassResult>,
}

/// The figures of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassResult {
    /// The class name.
    pub name: String,
    /// Number of labels that count.
    pub labels: usize,
    /// Number of detections, all scores.
    pub detections: usize,
    /// AP over IoU thresholds 0.50 to 0.95.
    pub ap: Option<f64>,
    /// AP at IoU 0.50.
    pub ap50: Option<f64>,
    /// AP at IoU 0.75.
    pub ap75: Option<f64>,
    /// AP of labels under 32 x 32 pixels.
    pub ap_small: Option<f64>,
    /// AP of labels from 32 x 32 to 96 x 96 pixels.
    pub ap_medium: Option<f64>,
    /// AP of labels over 96 x 96 pixels.
    pub ap_large: Option<f64>,
    /// AP at IoU 0.50 of labels under 32 x 32 pixels.
    pub ap50_small: Option<f64>,
    /// AP at IoU 0.50, VOC2007's 11 points.
    pub voc2007_ap50: Option<f64>,
    /// AP at IoU 0.50, VOC2010's whole curve.
    pub voc2010_ap50: Option<f64>,
    /// Where F1 at IoU 0.50 is best; none without labels or without any hit.
    pub best_f1: Option<OperatingPoint>,
}

/// What a score threshold does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// Detections with at least this score are taken.
    pub score: f32,
    /// Share of them that are hits.
    pub precision: f64,
    /// Share of the labels that are hit.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
}

/// Measures `detections`, those of each sample of `dataset` with boxes in pixels of the image.
///
/// COCO figures are pycocotools' to rounding: greedy matching in score order with equal scores in stable
/// order, a hundred detections an image and class, crowds ignored, 101-point interpolation. Labels marked
/// difficult are ignored as well. VOC figures follow the VOC development kit: each detection is held against
/// the label that it overlaps most, and all detections count. Detections of a class that the data set does not have,
/// or whose score is not a number, are passed over.
///
/// ```
/// use yoloslim_core::boxes::{BBox, Detection};
/// use yoloslim_core::eval::evaluate;
/// use yoloslim_core::labels::{Dataset, Object, Sample};
///
/// let bbox = BBox::from_corner(10.0, 10.0, 40.0, 30.0);
/// let object = Object { class: 0, bbox, area: bbox.area(), difficult: false, crowd: false };
/// let sample = Sample { image: "street.jpg".into(), width: 640, height: 480, objects: vec![object] };
/// let dataset = Dataset { names: vec!["helmet".to_owned()], samples: vec![sample], warnings: vec![] };
///
/// let found = vec![vec![Detection { class: 0, score: 0.9, bbox }]];
/// assert_eq!(evaluate(&dataset, &found).map50, Some(1.0));
/// assert_eq!(evaluate(&dataset, &[vec![]]).map50, Some(0.0));
/// ```
///
/// # Panics
/// When `detections` is not as long as the data set.
pub fn evaluate(dataset: &Dataset, detections: &[Vec<Detection>]) -> Evaluation {
    assert_eq!(dataset.samples.len(), detections.len(), "one list of detections a sample");
    let groups = grouping::by_class(dataset, detections);
    let curves: Vec<coco::ClassCurves> = groups.iter().map(|images| coco::measure(images)).collect();
    let classes: Vec<ClassResult> = dataset
        .names
        .iter()
        .zip(&groups)
        .zip(&curves)
        .map(|((name, images), c)| class_result(name, images, c))
        .collect();
    let over = |figure: fn(&ClassResult) -> Option<f64>| mean(classes.iter().filter_map(figure));
    let recall = |figure: fn(&coco::ClassCurves) -> Option<f64>| mean(curves.iter().filter_map(figure));
    Evaluation {
        images: dataset.samples.len(),
        labels: classes.iter().map(|class| class.labels).sum(),
        map: over(|class| class.ap),
        map50: over(|class| class.ap50),
        map75: over(|class| class.ap75),
        map_small: over(|class| class.ap_small),
        map_medium: over(|class| class.ap_medium),
        map_large: over(|class| class.ap_large),
        map50_small: over(|class| class.ap50_small),
        recall_1: recall(|class| class.all.recall[0]),
        recall_10: recall(|class| class.all.recall[1]),
        recall_100: recall(|class| class.all.recall[2]),
        recall_small: recall(|class| class.small.recall[2]),
        recall_medium: recall(|class| class.medium.recall[2]),
        recall_large: recall(|class| class.large.recall[2]),
        voc2007_map50: over(|class| class.voc2007_ap50),
        voc2010_map50: over(|class| class.voc2010_ap50),
        classes,
    }
}

fn class_result(name: &str, images: &[grouping::ImageOfClass], curves: &coco::ClassCurves) -> ClassResult {
    let (voc2007_ap50, voc2010_ap50) = voc::average_precisions(images);
    ClassResult {
        name: name.to_owned(),
        labels: images.iter().flat_map(|image| &image.truths).filter(|t| !t.crowd && !t.difficult).count(),
        detections: images.iter().map(|image| image.detections.len()).sum(),
        ap: curves.all.ap,
        ap50: curves.all.ap50,
        ap75: curves.all.ap75,
        ap_small: curves.small.ap,
        ap_medium: curves.medium.ap,
        ap_large: curves.large.ap,
        ap50_small: curves.small.ap50,
        voc2007_ap50,
        voc2010_ap50,
        best_f1: curves.all.best_f1,
    }
}

/// The mean; none of nothing.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::boxes::BBox;
    use crate::labels::{Object, Sample};

    fn label(class: usize, x: f64, size: f64) -> Object {
        let bbox = BBox::from_corner(x, 0.0, size, size);
        Object { class, bbox, area: bbox.area(), difficult: false, crowd: false }
    }

    fn hit(object: &Object, score: f32) -> Detection {
        Detection { class: object.class, score, bbox: object.bbox }
    }

    fn set(samples: Vec<Vec<Object>>) -> Dataset {
        let sample = |objects| Sample { image: PathBuf::from("a.png"), width: 640, height: 480, objects };
        Dataset {
            names: ["cat", "dog"].map(str::to_owned).to_vec(),
            samples: samples.into_iter().map(sample).collect(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn perfect_detections_score_one_and_absent_sizes_and_classes_nothing() {
        let objects = vec![label(0, 0.0, 20.0), label(0, 50.0, 20.0)];
        let found = objects.iter().map(|object| hit(object, 0.9)).collect();
        let evaluation = evaluate(&set(vec![objects, Vec::new()]), &[found, Vec::new()]);
        let near_one = |v: Option<f64>| v.is_some_and(|v| (v - 1.0).abs() < 1e-9);
        assert!(near_one(evaluation.map) && near_one(evaluation.map_small) && near_one(evaluation.map50_small));
        assert!(near_one(evaluation.voc2007_map50) && near_one(evaluation.voc2010_map50));
        assert_eq!((evaluation.map_medium, evaluation.map_large, evaluation.recall_large), (None, None, None));
        assert_eq!((evaluation.recall_1, evaluation.recall_10), (Some(0.5), Some(1.0)));
        assert_eq!((evaluation.classes[1].ap, evaluation.classes[1].labels), (None, 0));
        assert_eq!((evaluation.images, evaluation.labels), (2, 2));
    }

    #[test]
    fn a_false_alarm_on_a_negative_image_lowers_precision() {
        let object = label(0, 0.0, 20.0);
        let alarm = Detection { score: 0.95, ..hit(&object, 0.0) };
        let evaluation =
            evaluate(&set(vec![vec![object.clone()], Vec::new()]), &[vec![hit(&object, 0.9)], vec![alarm]]);
        assert!((evaluation.map50.unwrap() - 0.5).abs() < 1e-9);
        let best = evaluation.classes[0].best_f1.unwrap();
        assert_eq!((best.precision, best.recall, best.score), (0.5, 1.0, 0.9));
        assert!((best.f1 - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn difficult_labels_and_crowds_count_neither_way() {
        let (sound, difficult) = (label(0, 0.0, 40.0), Object { difficult: true, ..label(0, 100.0, 40.0) });
        let crowd = Object { crowd: true, ..label(0, 200.0, 100.0) };
        let inside = |x| Detection { class: 0, score: 0.99, bbox: BBox::from_corner(x, 5.0, 20.0, 20.0) };
        let found = vec![inside(210.0), inside(240.0), hit(&difficult, 0.95), hit(&sound, 0.5)];
        let evaluation = evaluate(&set(vec![vec![sound, difficult, crowd]]), &[found]);
        for figure in [evaluation.map, evaluation.voc2007_map50, evaluation.voc2010_map50] {
            assert!((figure.unwrap() - 1.0).abs() < 1e-9, "{evaluation:?}");
        }
        assert_eq!((evaluation.labels, evaluation.classes[0].detections), (1, 4));
    }

    #[test]
    fn detections_of_unknown_classes_or_without_a_score_are_passed_over() {
        let object = label(0, 0.0, 20.0);
        let strays = [hit(&label(7, 0.0, 20.0), 0.9), hit(&object, f32::NAN), hit(&object, 0.3)];
        let evaluation = evaluate(&set(vec![vec![object, label(9, 0.0, 20.0)]]), &[strays.to_vec()]);
        assert!((evaluation.map.unwrap() - 1.0).abs() < 1e-9);
        assert_eq!((evaluation.labels, evaluation.classes[0].detections), (1, 1));
    }

    #[test]
    fn an_evaluation_survives_json() {
        let object = label(0, 0.0, 20.0);
        let evaluation = evaluate(&set(vec![vec![object.clone()]]), &[vec![hit(&object, 0.5)]]);
        let json = serde_json::to_string(&evaluation).unwrap();
        assert!(json.contains("\"map_large\":null"), "{json}");
        assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), evaluation);
    }
}
