//! From verdicts in score order to precision, recall and average precision.

use super::OperatingPoint;
use super::matching::Verdict;

/// A detection's score and what became of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    pub score: f32,
    pub verdict: Verdict,
}

/// Precision and recall after each detection that counts, best score first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    scores: Vec<f32>,
    precision: Vec<f64>,
    recall: Vec<f64>,
}

impl Curve {
    /// The curve of detections that are sorted by falling score, against `positives` labels.
    pub fn new(judged: impl Iterator<Item = Judged>, positives: usize) -> Self {
        let mut curve = Self { scores: Vec::new(), precision: Vec::new(), recall: Vec::new() };
        let mut hits = 0.0;
        for (rank, detection) in judged.filter(|d| d.verdict != Verdict::Ignored).enumerate() {
            hits += f64::from(u8::from(detection.verdict == Verdict::Hit));
            curve.scores.push(detection.score);
            curve.precision.push(hits / (rank + 1) as f64);
            curve.recall.push(hits / positives as f64);
        }
        curve
    }

    /// The mean over recalls 0, 1/steps, .. 1 of the best precision at that recall or more: COCO with 100 steps,
    /// VOC2007 with 10.
    pub fn interpolated(&self, steps: usize) -> f64 {
        let envelope = self.envelope();
        let step = 1.0 / steps as f64;
        let at = |level: usize| {
            // numpy's linspace: the last level is 1 exactly, the others are multiples of the rounded step.
            let wanted = if level == steps { 1.0 } else { level as f64 * step };
            envelope.get(self.recall.partition_point(|&recall| recall < wanted)).copied().unwrap_or(0.0)
        };
        (0..=steps).map(at).sum::<f64>() / (steps + 1) as f64
    }

    /// The area under the monotone envelope of the curve (VOC2010).
    pub fn area(&self) -> f64 {
        let before = std::iter::once(0.0).chain(self.recall.iter().copied());
        let steps = self.recall.iter().zip(before).map(|(recall, before)| recall - before);
        steps.zip(self.envelope()).map(|(step, precision)| step * precision).sum()
    }

    /// The score threshold of the best F1; none without a hit. A threshold takes all detections of its score or none.
    pub fn best_f1(&self) -> Option<OperatingPoint> {
        let last_of_score = |&i: &usize| self.scores.get(i + 1) != Some(&self.scores[i]);
        let points = (0..self.scores.len()).filter(last_of_score).map(|i| {
            let (precision, recall) = (self.precision[i], self.recall[i]);
            let sum = precision + recall;
            let f1 = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
            OperatingPoint { score: self.scores[i], precision, recall, f1 }
        });
        // max_by takes the last of equals; reversed, that is the highest score.
        points.rev().filter(|point| point.f1 > 0.0).max_by(|a, b| a.f1.total_cmp(&b.f1))
    }

    /// The precision made monotone: the best at this recall or more.
    fn envelope(&self) -> Vec<f64> {
        let mut envelope = self.precision.clone();
        for i in (1..envelope.len()).rev() {
            envelope[i - 1] = envelope[i - 1].max(envelope[i]);
        }
        envelope
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `+` a hit, `-` a miss, `o` ignored; scores fall unless a letter is followed by `=`.
    fn curve(verdicts: &str, positives: usize) -> Curve {
        let mut score = 1.0;
        let mut judged = Vec::new();
        for letter in verdicts.chars() {
            let verdict = match letter {
                '+' => Verdict::Hit,
                '-' => Verdict::Miss,
                'o' => Verdict::Ignored,
                _ => {
                    score += 0.01;
                    continue;
                }
            };
            score -= 0.01;
            judged.push(Judged { score, verdict });
        }
        Curve::new(judged.into_iter(), positives)
    }

    #[test]
    fn average_precisions_match_hand_computed_values() {
        for (verdicts, positives, coco, voc2007, voc2010) in [
            ("++", 2, 1.0, 1.0, 1.0),
            ("", 2, 0.0, 0.0, 0.0),
            ("--", 2, 0.0, 0.0, 0.0),
            // Recall 0.5 at precision 1: levels 0 to 0.50 of 101, 0 to 0.5 of 11.
            ("+", 2, 51.0 / 101.0, 6.0 / 11.0, 0.5),
            ("+o", 2, 51.0 / 101.0, 6.0 / 11.0, 0.5),
            // A miss first: precision 1/2 up to recall 1.
            ("-+", 1, 0.5, 0.5, 0.5),
            // Precision 1 to recall 0.5, then 2/3.
            ("+-+", 2, (51.0 + 50.0 * 2.0 / 3.0) / 101.0, (6.0 + 5.0 * 2.0 / 3.0) / 11.0, 0.5 + 1.0 / 3.0),
            // The dip to 1/2 is filled by the later 2/3.
            ("-++", 2, 2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0),
        ] {
            let curve = curve(verdicts, positives);
            for (value, expected) in
                [(curve.interpolated(100), coco), (curve.interpolated(10), voc2007), (curve.area(), voc2010)]
            {
                assert!((value - expected).abs() < 1e-12, "{verdicts}: {value} is not {expected}");
            }
        }
    }

    #[test]
    fn the_best_f1_is_found_between_scores_only() {
        let point = curve("++--+", 3).best_f1().unwrap();
        assert_eq!((point.recall, point.precision), (2.0 / 3.0, 1.0));
        assert!((point.score - 0.98).abs() < 1e-6);
        // The hit shares its score with a miss, so that no threshold takes it alone.
        let tied = curve("+=-", 1).best_f1();
        assert_eq!(tied.map(|point| (point.precision, point.recall)), Some((0.5, 1.0)));
        assert_eq!(curve("--", 1).best_f1(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_miss_more_never_helps(hits in prop::collection::vec(any::<bool>(), 0..30), at in 0usize..30) {
            let text: String = hits.iter().map(|&hit| if hit { '+' } else { '-' }).collect();
            let at = at.min(text.len());
            let worse = format!("{}-{}", &text[..at], &text[at..]);
            let positives = hits.len() + 1;
            let (curve, worse) = (curve(&text, positives), curve(&worse, positives));
            prop_assert!(worse.interpolated(100) <= curve.interpolated(100) + 1e-12);
            prop_assert!(worse.area() <= curve.area() + 1e-12);
            prop_assert!(curve.area() <= hits.iter().filter(|&&hit| hit).count() as f64 / positives as f64 + 1e-12);
        }
    }
}
