//! The YOLOv3 loss and its gradient with respect to the raw head maps (Redmon and Farhadi 2018, section 2, with the box losses of since).

mod assign;
mod box_loss;
mod dual;
mod ignore;
mod options;

use serde::{Deserialize, Serialize};
use yoloslim_core::graph::Yolo;

pub(super) use assign::{Positive, assign};
pub use box_loss::BoxLoss;
pub(super) use box_loss::{Centred, decode};
pub(super) use dual::Dual;
pub use options::{ClassWeights, Focal, LossOptions, Normalise};

use crate::data::{Labels, Target};
use crate::model::HeadMap;

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
    /// Images of the whole batch.
    pub images: usize,
}

impl Population {
    /// A batch of `images` with `targets` and no others; `input` is the width and height of the net's input in pixels.
    #[must_use]
    pub fn of(
        options: &LossOptions,
        heads: &[&Yolo],
        input: (usize, usize),
        targets: &[Target],
        images: usize,
    ) -> Self {
        let counts = assign::count(heads, input, targets, options.anchor_iou);
        Self { positives: counts.into_iter().map(|n| n as f32).collect(), share: 1.0, images }
    }
}

/// The loss of raw head maps against labels, and its gradient with respect to the maps.
///
/// `input` is the width and height of the net's input in pixels.
#[must_use]
pub fn yolo_loss(
    options: &LossOptions,
    heads: &[&Yolo],
    maps: &[HeadMap],
    input: (usize, usize),
    labels: Labels,
) -> (LossParts, Vec<HeadMap>) {
    let images = maps.first().map_or(0, |map| map.values.len() / (map.rows * map.cols * map.channels).max(1));
    let population = Population::of(options, heads, input, labels.targets, images);
    yolo_loss_share(options, heads, maps, input, labels, &population)
}

/// [`yolo_loss`] as a share of the loss over `population`: the shares' sum is the whole batch's loss.
#[must_use]
pub fn yolo_loss_share(
    options: &LossOptions,
    heads: &[&Yolo],
    maps: &[HeadMap],
    input: (usize, usize),
    labels: Labels,
    population: &Population,
) -> (LossParts, Vec<HeadMap>) {
    let grids: Vec<_> = maps.iter().map(|m| (m.rows, m.cols)).collect();
    let positives = assign(heads, &grids, input, labels.targets, options.anchor_iou);
    let mut parts = LossParts::default();
    let mut gradients = Vec::with_capacity(maps.len());
    let of_whole = positives.iter().zip(&population.positives);
    for ((head, map), (positives, of_whole)) in heads.iter().zip(maps).zip(of_whole) {
        let mut gradient = HeadMap { values: vec![0.0; map.values.len()], ..*map };
        let (positives_of_whole, images) = (f64::from(of_whole.max(1.0)), population.images.max(1) as f64);
        let share = population.share;
        let term = HeadTerm { options, head, map, input, positives: positives_of_whole, share, images };
        let truth = term.positives(positives, labels.targets, &mut parts, &mut gradient.values);
        term.objectness(&truth, term.let_be(labels).as_deref(), &mut parts, &mut gradient.values);
        gradients.push(gradient);
    }
    (parts, gradients)
}

/// Probabilities keep so far from 0 and 1 that their logarithms are finite.
const PROBABLE: f64 = 1e-6;

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
    /// Images of the whole batch.
    pub images: f64,
}

/// The objectness of an anchor that answers for no truth.
const BACKGROUND: f32 = -1.0;

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

    /// Box and class terms; gives the objectness that every anchor should have, or [`BACKGROUND`].
    fn positives(
        &self,
        positives: &[Positive],
        targets: &[Target],
        parts: &mut LossParts,
        gradient: &mut [f32],
    ) -> Vec<f32> {
        let mut truth = vec![BACKGROUND; self.map.values.len() / self.stride()];
        let share = 1.0 / if self.as_darknet() { self.images } else { self.positives };
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
        let (overlap, iou) = self.options.box_loss.overlap(&self.decoded(p), &self.truth(p, target));
        let weight = self.options.box_weight * share;
        parts.boxes += weight * (1.0 - overlap.value);
        gradient.iter_mut().zip(overlap.slope).for_each(|(g, s)| *g -= (weight * s) as f32);
        match self.options.iou_ratio {
            Some(ratio) => 1.0 - ratio + ratio * iou.clamp(0.0, 1.0),
            None => overlap.value.clamp(0.0, 1.0),
        }
    }

    /// A single class is trained as well: Darknet multiplies its probability with the objectness like any other's.
    fn class_term(&self, at: usize, class: usize, share: f64, parts: &mut LossParts, gradient: &mut [f32]) {
        let classes = self.head.classes;
        // A mean over n classes weighted by n / 80 is the sum weighted by 1 / 80.
        let scale = if self.as_darknet() { 1.0 } else { 1.0 / 80.0 };
        let weight = self.options.class_weight * self.options.weight_of(class) * share * scale;
        let low = self.options.label_smoothing as f32 / 2.0;
        for c in 0..classes {
            let i = at + 5 + c;
            let (loss, slope) = self.cross_entropy(self.map.values[i], if c == class { 1.0 - low } else { low });
            parts.class += weight * loss;
            gradient[i] += (weight * slope) as f32;
        }
    }

    /// Objectness of every anchor but those that are to be `let_be` and answer for nothing.
    fn objectness(&self, truth: &[f32], let_be: Option<&[bool]>, parts: &mut LossParts, gradient: &mut [f32]) {
        let mean = if self.as_darknet() { 1.0 / self.images } else { self.share / truth.len().max(1) as f64 };
        let weight = self.options.objectness_weight * mean;
        let anchors = self.map.values.chunks_exact(self.stride()).zip(gradient.chunks_exact_mut(self.stride()));
        let mut sum = 0.0;
        for (i, ((raw, gradient), truth)) in anchors.zip(truth).enumerate() {
            if *truth == BACKGROUND && let_be.is_some_and(|let_be| let_be[i]) {
                continue;
            }
            let (loss, slope) = self.cross_entropy(raw[4], truth.max(0.0));
            sum += loss;
            gradient[4] += (weight * slope) as f32;
        }
        parts.objectness += weight * sum;
    }

    fn as_darknet(&self) -> bool {
        self.options.normalise == Normalise::Darknet
    }

    /// Binary cross-entropy of a raw output, weighted by how hard it is where that is asked for, and its derivative.
    fn cross_entropy(&self, raw: f32, truth: f32) -> (f64, f64) {
        let (raw, truth) = (f64::from(raw), f64::from(truth));
        let (loss, slope) = self.plain_cross_entropy(raw, truth);
        let Some(Focal { gamma, alpha }) = self.options.focal else { return (loss, slope) };
        let (p, p_slope) = match self.head.new_coords {
            true => (raw.clamp(PROBABLE, 1.0 - PROBABLE), 1.0),
            false => {
                let p = 1.0 / (1.0 + (-raw).exp());
                (p, p * (1.0 - p))
            }
        };
        let share = truth * alpha + (1.0 - truth) * (1.0 - alpha);
        // How far the probability is off; where it is not at all, there is nothing to weight.
        let off = (truth + p - 2.0 * truth * p).max(PROBABLE);
        let factor = share * off.powf(gamma);
        let factor_slope = share * gamma * off.powf(gamma - 1.0) * (1.0 - 2.0 * truth) * p_slope;
        (factor * loss, factor_slope * loss + factor * slope)
    }

    fn plain_cross_entropy(&self, raw: f64, truth: f64) -> (f64, f64) {
        if !self.head.new_coords {
            return (raw.max(0.0) - raw * truth + (-raw.abs()).exp().ln_1p(), 1.0 / (1.0 + (-raw).exp()) - truth);
        }
        // The layer before has applied the logistic function: the raw output is the probability.
        let p = raw.clamp(PROBABLE, 1.0 - PROBABLE);
        (-(truth * p.ln() + (1.0 - truth) * (1.0 - p).ln()), (p - truth) / (p * (1.0 - p)))
    }
}

#[cfg(test)]
mod tests;
