//! The YOLOv3 loss and its gradient with respect to the raw head maps (reference: training.md, 'Loss').

mod assign;
mod box_loss;
mod dual;

use serde::{Deserialize, Serialize};
use yoloslim_core::graph::Yolo;

pub(super) use assign::{Positive, assign};
pub use box_loss::BoxLoss;
pub(super) use box_loss::{Centred, decode};
pub(super) use dual::Dual;

use crate::data::Target;
use crate::model::HeadMap;

/// Weights and thresholds of the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossOptions {
    /// Measure of overlap that boxes are trained for.
    pub box_loss: BoxLoss,
    /// Weight of the box term.
    pub box_weight: f64,
    /// Weight of the objectness term.
    pub objectness_weight: f64,
    /// Weight of the class term for 80 classes; it falls with the number of classes.
    pub class_weight: f64,
    /// Anchors whose size overlaps a truth's by more than this are positive.
    pub anchor_iou: f32,
}

impl Default for LossOptions {
    fn default() -> Self {
        Self {
            box_loss: BoxLoss::Giou,
            box_weight: 3.54,
            objectness_weight: 64.3,
            class_weight: 37.4,
            anchor_iou: 0.2635,
        }
    }
}

/// The loss of a batch, by its parts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LossParts {
    /// Weighted mean of 1 - overlap over the positives.
    #[serde(rename = "box")]
    pub boxes: f64,
    /// Weighted binary cross-entropy over all anchors of all cells.
    pub objectness: f64,
    /// Weighted binary cross-entropy over the positives' classes.
    pub class: f64,
    /// Weighted losses of distillation.
    #[serde(default)]
    pub distil: f64,
}

impl LossParts {
    /// The sum of the parts.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.boxes + self.objectness + self.class + self.distil
    }

    /// Adds `share` of another loss, for means over batches.
    pub fn add(&mut self, other: &Self, share: f64) {
        self.boxes += share * other.boxes;
        self.objectness += share * other.objectness;
        self.class += share * other.class;
        self.distil += share * other.distil;
    }
}

/// What the loss's means are taken over: a batch, of which the maps may be one worker's share.
#[derive(Debug, Clone, PartialEq)]
pub struct Population {
    /// Positives of each head in the whole batch; whole numbers, exact up to 2^24.
    pub positives: Vec<f32>,
    /// The share that the images at hand are of the whole batch's, 0 to 1.
    pub share: f64,
}

impl Population {
    /// The images with `targets` and no others; `input` is the width and height of the net's input in pixels.
    #[must_use]
    pub fn of(options: &LossOptions, heads: &[&Yolo], input: (usize, usize), targets: &[Target]) -> Self {
        let counts = assign::count(heads, input, targets, options.anchor_iou);
        Self { positives: counts.into_iter().map(|n| n as f32).collect(), share: 1.0 }
    }
}

/// The loss of raw head maps against targets, and its gradient with respect to the maps.
///
/// `input` is the width and height of the net's input in pixels.
#[must_use]
pub fn yolo_loss(
    options: &LossOptions,
    heads: &[&Yolo],
    maps: &[HeadMap],
    input: (usize, usize),
    targets: &[Target],
) -> (LossParts, Vec<HeadMap>) {
    yolo_loss_share(options, heads, maps, input, targets, &Population::of(options, heads, input, targets))
}

/// [`yolo_loss`] as a share of the loss over `population`: the shares' sum is the whole batch's loss.
#[must_use]
pub fn yolo_loss_share(
    options: &LossOptions,
    heads: &[&Yolo],
    maps: &[HeadMap],
    input: (usize, usize),
    targets: &[Target],
    population: &Population,
) -> (LossParts, Vec<HeadMap>) {
    let grids: Vec<_> = maps.iter().map(|m| (m.rows, m.cols)).collect();
    let positives = assign(heads, &grids, input, targets, options.anchor_iou);
    let mut parts = LossParts::default();
    let mut gradients = Vec::with_capacity(maps.len());
    let of_whole = positives.iter().zip(&population.positives);
    for ((head, map), (positives, of_whole)) in heads.iter().zip(maps).zip(of_whole) {
        let mut gradient = HeadMap { values: vec![0.0; map.values.len()], ..*map };
        let term =
            HeadTerm { options, head, map, input, positives: f64::from(of_whole.max(1.0)), share: population.share };
        let truth = term.positives(positives, targets, &mut parts, &mut gradient.values);
        term.objectness(&truth, &mut parts, &mut gradient.values);
        gradients.push(gradient);
    }
    (parts, gradients)
}

/// One head's share of the loss.
pub(super) struct HeadTerm<'a> {
    pub options: &'a LossOptions,
    pub head: &'a Yolo,
    pub map: &'a HeadMap,
    pub input: (usize, usize),
    /// Positives in the whole batch.
    pub positives: f64,
    /// The share that the map's images are of the whole batch's.
    pub share: f64,
}

impl HeadTerm<'_> {
    /// Numbers an anchor has: box, objectness, classes.
    fn stride(&self) -> usize {
        5 + self.head.classes
    }

    /// Where a positive's numbers begin.
    pub fn offset(&self, p: &Positive) -> usize {
        ((p.image * self.map.rows + p.row) * self.map.cols + p.col) * self.map.channels + p.anchor * self.stride()
    }

    /// The anchor's size in cells.
    pub fn anchor(&self, anchor: usize) -> [f64; 2] {
        let [w, h] = self.head.anchors[anchor].map(f64::from);
        [w * self.map.cols as f64 / self.input.0 as f64, h * self.map.rows as f64 / self.input.1 as f64]
    }

    /// The box that the raw outputs of a positive describe, in cells from its cell's corner.
    pub fn decoded(&self, p: &Positive) -> Centred<Dual> {
        let at = self.offset(p);
        let raw = std::array::from_fn(|i| f64::from(self.map.values[at + i]));
        decode(raw, self.anchor(p.anchor), f64::from(self.head.scale_x_y), self.head.new_coords)
    }

    /// The box that a positive should describe, in cells from its cell's corner.
    pub fn truth(&self, p: &Positive, target: &Target) -> Centred<f64> {
        let (cols, rows) = (self.map.cols as f64, self.map.rows as f64);
        Centred {
            x: f64::from(target.cx) * cols - p.col as f64,
            y: f64::from(target.cy) * rows - p.row as f64,
            w: f64::from(target.w) * cols,
            h: f64::from(target.h) * rows,
        }
    }

    /// Box and class terms; gives the objectness that every anchor should have.
    fn positives(
        &self,
        positives: &[Positive],
        targets: &[Target],
        parts: &mut LossParts,
        gradient: &mut [f32],
    ) -> Vec<f32> {
        let mut truth = vec![0.0; self.map.values.len() / self.stride()];
        let share = 1.0 / self.positives;
        for p in positives {
            let at = self.offset(p);
            let target = &targets[p.target];
            let iou = self.box_term(p, target, share, parts, &mut gradient[at..at + 4]);
            // Of several truths that one anchor answers for, the one it overlaps most is what it has found.
            let found = &mut truth[at / self.stride()];
            *found = f32::max(*found, iou as f32);
            self.class_term(at, target.class, share, parts, gradient);
        }
        truth
    }

    fn box_term(&self, p: &Positive, target: &Target, share: f64, parts: &mut LossParts, gradient: &mut [f32]) -> f64 {
        let (overlap, _) = self.options.box_loss.overlap(&self.decoded(p), &self.truth(p, target));
        let weight = self.options.box_weight * share;
        parts.boxes += weight * (1.0 - overlap.value);
        gradient.iter_mut().zip(overlap.slope).for_each(|(g, s)| *g -= (weight * s) as f32);
        overlap.value.clamp(0.0, 1.0)
    }

    /// A single class is trained as well: Darknet multiplies its probability with the objectness like any other's.
    fn class_term(&self, at: usize, class: usize, share: f64, parts: &mut LossParts, gradient: &mut [f32]) {
        let classes = self.head.classes;
        // A mean over n classes weighted by n / 80 is the sum weighted by 1 / 80.
        let weight = self.options.class_weight * share / 80.0;
        for c in 0..classes {
            let i = at + 5 + c;
            let (loss, slope) = self.cross_entropy(self.map.values[i], if c == class { 1.0 } else { 0.0 });
            parts.class += weight * loss;
            gradient[i] += (weight * slope) as f32;
        }
    }

    fn objectness(&self, truth: &[f32], parts: &mut LossParts, gradient: &mut [f32]) {
        let weight = self.options.objectness_weight * self.share / truth.len().max(1) as f64;
        let anchors = self.map.values.chunks_exact(self.stride()).zip(gradient.chunks_exact_mut(self.stride()));
        let mut sum = 0.0;
        for ((raw, gradient), truth) in anchors.zip(truth) {
            let (loss, slope) = self.cross_entropy(raw[4], *truth);
            sum += loss;
            gradient[4] += (weight * slope) as f32;
        }
        parts.objectness += weight * sum;
    }

    /// Binary cross-entropy of a raw output, and its derivative.
    fn cross_entropy(&self, raw: f32, truth: f32) -> (f64, f64) {
        let (raw, truth) = (f64::from(raw), f64::from(truth));
        if !self.head.new_coords {
            return (raw.max(0.0) - raw * truth + (-raw.abs()).exp().ln_1p(), 1.0 / (1.0 + (-raw).exp()) - truth);
        }
        // The layer before has applied the logistic function: the raw output is the probability.
        let p = raw.clamp(1e-6, 1.0 - 1e-6);
        (-(truth * p.ln() + (1.0 - truth) * (1.0 - p).ln()), (p - truth) / (p * (1.0 - p)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(new_coords: bool) -> Yolo {
        Yolo { anchors: vec![[20.0, 30.0], [50.0, 40.0]], classes: 3, scale_x_y: 1.05, new_coords, ignore_thresh: 0.7 }
    }

    fn maps(new_coords: bool) -> Vec<HeadMap> {
        let values = (0..2 * 4 * 5 * 16).map(|i| ((i * 37 % 101) as f32 / 101.0 - 0.5) * 3.0);
        let values = values.map(|v| if new_coords { 1.0 / (1.0 + (-v).exp()) } else { v }).collect();
        vec![HeadMap { rows: 4, cols: 5, channels: 16, values }]
    }

    fn targets() -> Vec<Target> {
        vec![
            Target { image: 0, class: 1, cx: 0.3, cy: 0.55, w: 0.2, h: 0.25 },
            Target { image: 1, class: 2, cx: 0.91, cy: 0.08, w: 0.4, h: 0.3 },
            Target { image: 1, class: 0, cx: 0.5, cy: 0.5, w: 0.1, h: 0.1 },
        ]
    }

    /// Objectness aims at the overlap, which the gradient takes as given: its part is checked apart.
    #[test]
    fn gradients_agree_with_finite_differences() {
        for new_coords in [false, true] {
            let head = head(new_coords);
            let options = LossOptions::default();
            let maps = maps(new_coords);
            let run = |maps: &[HeadMap]| yolo_loss(&options, &[&head], maps, (100, 100), &targets());
            let (_, gradient) = run(&maps);
            let mut checked = 0;
            for i in (0..maps[0].values.len()).filter(|i| gradient[0].values[*i] != 0.0) {
                let part = |delta: f32| {
                    let mut maps = maps.clone();
                    maps[0].values[i] += delta;
                    let p = run(&maps).0;
                    if i % 8 < 4 { p.boxes } else { p.objectness + p.class }
                };
                let difference = (part(1e-3) - part(-1e-3)) / 2e-3;
                let slope = f64::from(gradient[0].values[i]);
                assert!((slope - difference).abs() < 2e-3 * (1.0 + slope.abs()), "{i}: {slope} against {difference}");
                checked += 1;
            }
            assert!(checked > 80, "{checked} gradients are not zero");
        }
    }

    #[test]
    fn shares_of_a_batch_add_up_to_its_loss_and_gradient() {
        let (head, maps, targets) = (head(false), maps(false), targets());
        let (options, heads) = (LossOptions::default(), [&head]);
        let (whole, slopes) = yolo_loss(&options, &heads, &maps, (100, 100), &targets);
        let population = Population { share: 0.5, ..Population::of(&options, &heads, (100, 100), &targets) };
        let (mut sum, mut values) = (LossParts::default(), Vec::new());
        for image in 0..2 {
            let half = maps[0].values[image * 320..][..320].to_vec();
            let map = HeadMap { values: half, ..maps[0] };
            let mine = targets.iter().filter(|t| t.image == image).map(|t| Target { image: 0, ..*t });
            let (parts, slopes) =
                yolo_loss_share(&options, &heads, &[map], (100, 100), &mine.collect::<Vec<_>>(), &population);
            sum.add(&parts, 1.0);
            values.extend(slopes[0].values.iter().copied());
        }
        let empty = HeadMap { values: Vec::new(), ..maps[0] };
        let nobody = Population { share: 0.0, ..population };
        let (parts, _) = yolo_loss_share(&options, &heads, &[empty], (100, 100), &[], &nobody);
        assert_eq!(parts, LossParts::default(), "an empty share adds nothing");
        for (a, b) in [(sum.boxes, whole.boxes), (sum.objectness, whole.objectness), (sum.class, whole.class)] {
            assert!((a - b).abs() < 1e-9, "{sum:?} against {whole:?}");
        }
        assert!(values.iter().zip(&slopes[0].values).all(|(a, b)| (a - b).abs() < 1e-7));
    }

    #[test]
    fn the_probability_of_a_single_class_is_trained() {
        let head = Yolo { classes: 1, ..head(false) };
        let maps = vec![HeadMap { rows: 4, cols: 5, channels: 12, values: vec![0.0; 2 * 4 * 5 * 12] }];
        let one = [Target { class: 0, ..targets()[0] }];
        let (parts, gradient) = yolo_loss(&LossOptions::default(), &[&head], &maps, (100, 100), &one);
        let pushed_up = gradient[0].values.chunks_exact(6).filter(|row| row[5] < 0.0).count();
        assert!(parts.class > 0.0 && pushed_up > 0, "{parts:?}");
        assert!(gradient[0].values.chunks_exact(6).all(|row| (row[5] != 0.0) == (row[0] != 0.0)), "positives alone");
    }

    #[test]
    fn an_anchor_that_two_truths_share_aims_at_the_overlap_with_the_nearer_one() {
        let (head, maps) = (head(false), vec![HeadMap { rows: 4, cols: 5, channels: 16, values: vec![0.0; 320] }]);
        let near = Target { image: 0, class: 0, cx: 0.5, cy: 0.625, w: 0.2, h: 0.3 };
        let far = Target { cx: 0.42, cy: 0.55, w: 0.4, h: 0.2, ..near };
        let objectness = |targets: &[Target]| {
            let gradient = yolo_loss(&LossOptions::default(), &[&head], &maps, (100, 100), targets).1;
            gradient[0].values.chunks_exact(8).map(|row| row[4]).collect::<Vec<_>>()
        };
        let both = objectness(&[near, far]);
        assert_eq!(both, objectness(&[far, near]), "whatever their order");
        let alone = objectness(&[near]);
        let shared = both.iter().zip(&alone).filter(|(both, alone)| both == alone && **both < 0.0).count();
        assert!(shared > 0, "the nearer truth decides: {both:?} {alone:?}");
    }

    #[test]
    fn without_targets_only_objectness_is_trained() {
        let (head, maps) = (head(false), maps(false));
        let (parts, gradient) = yolo_loss(&LossOptions::default(), &[&head], &maps, (100, 100), &[]);
        assert!(parts.boxes == 0.0 && parts.class == 0.0 && parts.objectness > 0.0);
        let touched = gradient[0].values.iter().enumerate().all(|(i, g)| (*g != 0.0) == (i % 8 == 4));
        assert!(touched, "the gradient touches objectness and nothing else");
    }
}
