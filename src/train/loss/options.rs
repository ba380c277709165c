//! Weights, thresholds and variants of the loss.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use yoloslim_core::labels::Dataset;
use yoloslim_core::{Error, Result};

use super::box_loss::BoxLoss;
use crate::train::auto_word::Auto;

/// Weights, thresholds and variants of the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossOptions {
    /// Measure of overlap that boxes are trained for.
    pub box_loss: BoxLoss,
    /// What the sums over anchors are divided by.
    pub normalise: Normalise,
    /// Weight of the box term.
    pub box_weight: f64,
    /// Weight of the objectness term.
    pub objectness_weight: f64,
    /// Weight of the class term for 80 classes; it falls with the number of classes.
    pub class_weight: f64,
    /// Anchors whose size overlaps a truth's by more than this are positive.
    pub anchor_iou: f32,
    /// What objectness aims at where there is an object: `1 - iou_ratio + iou_ratio * IoU`. When none, at the overlap as
    /// the box loss measures it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iou_ratio: Option<f64>,
    /// Anchors whose box overlaps some truth by more than this are not trained to be background; 1 trains all.
    pub ignore_thresh: f32,
    /// How far the targets of the class term are drawn from 0 and 1: to `s / 2` and `1 - s / 2`.
    pub label_smoothing: f64,
    /// Weights easy anchors down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub focal: Option<Focal>,
    /// What each class counts in the class term.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

impl Default for LossOptions {
    fn default() -> Self {
        Self {
            box_loss: BoxLoss::Giou,
            normalise: Normalise::Mean,
            box_weight: 3.54,
            objectness_weight: 64.3,
            class_weight: 37.4,
            anchor_iou: 0.2635,
            iou_ratio: None,
            ignore_thresh: 1.0,
            label_smoothing: 0.0,
            focal: None,
            class_weights: None,
        }
    }
}

/// What the sums over anchors are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// Their number: boxes and classes by the positives of each head, objectness by its anchors, classes by 80 for all.
    #[default]
    Mean,
    /// The images alone, as Darknet does: a learning rate of its cfgs then means here what it means there.
    Darknet,
}

/// Focal weights of cross-entropies (Lin et al. 2017, equation 5), with targets between 0 and 1: `a * m^gamma` with `m`
/// how far the probability is off, `a` = alpha for the positive part and 1 - alpha for the negative.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Focal {
    /// How much easy anchors count less; 0 for not.
    pub gamma: f64,
    /// What positive outcomes count against negative ones, 0 to 1.
    #[serde(default = "quarter")]
    pub alpha: f64,
}

fn quarter() -> f64 {
    0.25
}

impl FromStr for Focal {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |text: &str, most: f64| {
            let given = text.parse().ok().filter(|v| (0.0..=most).contains(v));
            given.ok_or_else(|| format!("{text} is no number from 0 to {most:.0}; give 1.5, or 1.5,0.25 say"))
        };
        let (gamma, alpha) = text.split_once(',').map_or((text, None), |(gamma, alpha)| (gamma, Some(alpha)));
        Ok(Self { gamma: number(gamma, HEAVIEST)?, alpha: alpha.map_or(Ok(quarter()), |alpha| number(alpha, 1.0))? })
    }
}

/// What each class counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClassWeights {
    /// As given, one a class.
    Given(Vec<f64>),
    /// By how rare it is among the training objects.
    Auto(Auto),
}

/// What a weight may be at most.
const HEAVIEST: f64 = 1e6;

/// No class counts more than this many times the mean object, however rare it is.
const MOST: f64 = 10.0;

impl FromStr for ClassWeights {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto(Auto::Auto));
        }
        let weight = |text: &str| text.trim().parse().ok().filter(|weight| (0.0..=HEAVIEST).contains(weight));
        let weights: Option<Vec<f64>> = text.split(',').map(weight).collect();
        weights.map(Self::Given).ok_or_else(|| format!("{text} is neither auto nor numbers from 0 on such as 1,2.5,1"))
    }
}

impl ClassWeights {
    /// The weights for `classes` classes, with what is automatic taken from the objects of `dataset`: the inverse of
    /// their number, 1 in the mean over objects.
    fn given(&self, dataset: &Dataset, classes: usize) -> Vec<f64> {
        let Self::Auto(_) = self else { return self.list().to_vec() };
        let mut counts = vec![0_usize; classes];
        let objects = dataset.samples.iter().flat_map(|sample| &sample.objects).filter(|o| !o.crowd && !o.difficult);
        objects.for_each(|object| counts[object.class] += 1);
        let (all, there) = (counts.iter().sum::<usize>(), counts.iter().filter(|n| **n > 0).count());
        let weight = |n: &usize| if *n == 0 { 1.0 } else { (all as f64 / (there * n) as f64).min(MOST) };
        counts.iter().map(weight).collect()
    }

    fn list(&self) -> &[f64] {
        match self {
            Self::Given(weights) => weights,
            Self::Auto(_) => &[],
        }
    }
}

impl LossOptions {
    /// Checks that every number makes sense.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn check(&self) -> Result<()> {
        let shares = [
            ("anchor_iou", f64::from(self.anchor_iou)),
            ("iou_ratio", self.iou_ratio.unwrap_or(0.0)),
            ("ignore_thresh", f64::from(self.ignore_thresh)),
            ("label_smoothing", self.label_smoothing),
            ("focal.alpha", self.focal.map_or(0.0, |focal| focal.alpha)),
        ];
        let not_negative = [
            ("box_weight", self.box_weight),
            ("objectness_weight", self.objectness_weight),
            ("class_weight", self.class_weight),
            ("focal.gamma", self.focal.map_or(0.0, |focal| focal.gamma)),
        ];
        let of_classes = self.class_weights.iter().flat_map(|weights| weights.list());
        let not_negative = not_negative.into_iter().chain(of_classes.map(|weight| ("class_weights", *weight)));
        let bad = |name: &str, value: f64, range: &str| {
            Err(Error::at(format!("loss.{name}"), format!("{value} is out of range"))
                .fix(format!("give a number {range}")))
        };
        for (name, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return bad(name, value, "from 0 to 1");
            }
        }
        for (name, value) in not_negative {
            if !(0.0..=HEAVIEST).contains(&value) {
                return bad(name, value, "from 0 to a million");
            }
        }
        Ok(())
    }

    /// The options with nothing left to be found out, for a net of `classes` classes that is trained on `dataset`.
    ///
    /// # Errors
    /// Weights for another number of classes.
    pub fn settled(&self, dataset: &Dataset, classes: usize) -> Result<Self> {
        let Some(weights) = &self.class_weights else { return Ok(self.clone()) };
        let weights = weights.given(dataset, classes);
        if weights.len() != classes {
            let cause = format!("{} weights, and the net knows {classes} classes", weights.len());
            return Err(Error::at("--class-weights", cause).fix("give one a class, or auto"));
        }
        Ok(Self { class_weights: Some(ClassWeights::Given(weights)), ..self.clone() })
    }

    /// What a class counts.
    pub(super) fn weight_of(&self, class: usize) -> f64 {
        self.class_weights.as_ref().and_then(|weights| weights.list().get(class)).copied().unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::boxes::BBox;
    use yoloslim_core::labels::{Object, Sample};

    #[test]
    fn rare_classes_count_more_and_a_mean_object_counts_one() {
        let bbox = BBox { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 };
        let object = |class, difficult| Object { class, bbox, area: 1.0, difficult, crowd: false };
        let mut objects = vec![object(0, false); 6];
        objects.extend([object(1, false), object(1, false), object(1, true)]);
        let sample = Sample { image: "a.png".into(), width: 9, height: 9, objects };
        let dataset = Dataset { samples: vec![sample], ..Dataset::default() };
        let auto = LossOptions { class_weights: Some("auto".parse().unwrap()), ..LossOptions::default() };
        let settled = auto.settled(&dataset, 3).unwrap();
        let weights = [0, 1, 2].map(|class| settled.weight_of(class));
        assert_eq!(weights, [8.0 / 12.0, 2.0, 1.0]);
        assert!((6.0 * weights[0] + 2.0 * weights[1] - 8.0).abs() < 1e-9);
        let two = LossOptions { class_weights: Some("1,2".parse().unwrap()), ..LossOptions::default() };
        assert!(two.settled(&dataset, 3).unwrap_err().to_string().contains("2 weights"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let options = LossOptions::default;
        let cases = [
            (LossOptions { anchor_iou: f32::NAN, ..options() }, "anchor_iou"),
            (LossOptions { box_weight: -1.0, ..options() }, "box_weight"),
            (LossOptions { label_smoothing: 1.5, ..options() }, "label_smoothing"),
            (LossOptions { focal: Some(Focal { gamma: -1.0, alpha: 0.5 }), ..options() }, "focal.gamma"),
            (LossOptions { class_weights: Some(ClassWeights::Given(vec![1.0, -2.0])), ..options() }, "class_weights"),
        ];
        for (options, name) in cases {
            let message = options.check().unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
        assert!(options().check().is_ok());
        assert!(["x", "-1", "1,2", "1,NaN"].iter().all(|text| text.parse::<Focal>().is_err()));
        assert!(["1,x", "1,-2", "inf"].iter().all(|text| text.parse::<ClassWeights>().is_err()));
        let read = |text: &str| toml::from_str::<LossOptions>(text);
        assert_eq!(read("class_weights = \"auto\"").unwrap().class_weights, Some("auto".parse().unwrap()));
        assert_eq!(read("focal = { gamma = 2.0 }").unwrap().focal, Some(Focal { gamma: 2.0, alpha: 0.25 }));
    }
}
