//! Labels and detections put together by class and image.

use crate::boxes::{Detection, crowd_iou, iou};
use crate::labels::{Dataset, Object};

/// What one image has of one class.
pub(super) struct ImageOfClass<'a> {
    /// The detections from best to worst score, equal scores in their given order.
    pub detections: Vec<&'a Detection>,
    /// The labels in their given order.
    pub truths: Vec<&'a Object>,
    /// `[detection][truth]`: IoU, or the share of the detection inside of a crowd.
    overlaps: Vec<f64>,
}

impl<'a> ImageOfClass<'a> {
    /// The detections must be sorted by falling score.
    pub fn new(detections: Vec<&'a Detection>, truths: Vec<&'a Object>) -> Self {
        let overlap = |d: &Detection, t: &Object| {
            if t.crowd { crowd_iou(&d.bbox, &t.bbox) } else { iou(&d.bbox, &t.bbox) }
        };
        let overlaps = detections.iter().flat_map(|d| truths.iter().map(|t| overlap(d, t))).collect();
        Self { detections, truths, overlaps }
    }

    /// How much a detection and a label overlap.
    pub fn overlap(&self, detection: usize, truth: usize) -> f64 {
        self.overlaps[detection * self.truths.len() + truth]
    }
}

/// For each class, the images that have a label or a detection of it, in the data set's order.
pub(super) fn by_class<'a>(dataset: &'a Dataset, detections: &'a [Vec<Detection>]) -> Vec<Vec<ImageOfClass<'a>>> {
    let classes = dataset.names.len();
    let mut groups: Vec<Vec<ImageOfClass>> = (0..classes).map(|_| Vec::new()).collect();
    for (sample, found) in dataset.samples.iter().zip(detections) {
        let mut found: Vec<&Detection> = found.iter().filter(|d| !d.score.is_nan() && d.class < classes).collect();
        found.sort_by(|a, b| a.class.cmp(&b.class).then(b.score.total_cmp(&a.score)));
        let mut truths: Vec<&Object> = sample.objects.iter().filter(|truth| truth.class < classes).collect();
        truths.sort_by_key(|truth| truth.class);
        let (mut found, mut truths) = (found.as_slice(), truths.as_slice());
        // Both are sorted by class, so that each class is a run at the front of what is left.
        while let Some(class) = found.first().map(|d| d.class).into_iter().chain(truths.first().map(|t| t.class)).min()
        {
            let (ours, others) = found.split_at(found.partition_point(|d| d.class == class));
            let (labelled, unlabelled) = truths.split_at(truths.partition_point(|t| t.class == class));
            groups[class].push(ImageOfClass::new(ours.to_vec(), labelled.to_vec()));
            (found, truths) = (others, unlabelled);
        }
    }
    groups
}
