//! Box regression: 1 - GIoU, DIoU or CIoU of the decoded box and its truth.

use serde::{Deserialize, Serialize};

use super::dual::Dual;

/// Which measure of overlap a box is trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxLoss {
    /// Generalised IoU (Rezatofighi et al. 2019, algorithm 1).
    #[default]
    Giou,
    /// Distance IoU (Zheng et al. 2020, equation 7).
    Diou,
    /// Complete IoU (Zheng et al. 2020, equations 8 to 11).
    Ciou,
}

/// A box by centre and size, in cells.
#[derive(Debug, Clone, Copy)]
pub(in crate::train) struct Centred<T> {
    pub x: T,
    pub y: T,
    pub w: T,
    pub h: T,
}

/// The box that raw outputs describe, relative to its cell's corner (Darknet's `get_yolo_box`).
pub(in crate::train) fn decode(raw: [f64; 4], anchor: [f64; 2], scale: f64, new_coords: bool) -> Centred<Dual> {
    let [tx, ty, tw, th] = std::array::from_fn(|i| Dual::variable(raw[i], i));
    let offset = |t: Dual| (if new_coords { t } else { t.logistic() }) * scale - (scale - 1.0) / 2.0;
    // e^t of an untrained output may overflow: sizes end at e^7 anchors, about 1000.
    let size = |t: Dual, a: f64| if new_coords { t * t * (4.0 * a) } else { t.min(Dual::constant(7.0)).exp() * a };
    Centred { x: offset(tx), y: offset(ty), w: size(tw, anchor[0]), h: size(th, anchor[1]) }
}

/// [`decode`] without derivatives, for the many boxes that are only compared.
pub(super) fn decode_plain(raw: [f64; 4], anchor: [f64; 2], scale: f64, new_coords: bool) -> Centred<f64> {
    let offset = |t: f64| (if new_coords { t } else { 1.0 / (1.0 + (-t).exp()) }) * scale - (scale - 1.0) / 2.0;
    let size = |t: f64, a: f64| if new_coords { t * t * (4.0 * a) } else { t.min(7.0).exp() * a };
    let [tx, ty, tw, th] = raw;
    Centred { x: offset(tx), y: offset(ty), w: size(tw, anchor[0]), h: size(th, anchor[1]) }
}

impl BoxLoss {
    /// The overlap of `pred` and `truth` as this measure has it, and as plain IoU.
    pub(super) fn overlap(self, pred: &Centred<Dual>, truth: &Centred<f64>) -> (Dual, f64) {
        const EPSILON: f64 = 1e-9;
        let truth = Centred { x: truth.x.into(), y: truth.y.into(), w: truth.w.into(), h: truth.h.into() };
        let edges = |b: &Centred<Dual>| [b.x - b.w * 0.5, b.y - b.h * 0.5, b.x + b.w * 0.5, b.y + b.h * 0.5];
        let (p, t) = (edges(pred), edges(&truth));
        let zero = Dual::constant(0.0);
        let inner = |a: usize, b: usize| (p[b].min(t[b]) - p[a].max(t[a])).max(zero);
        let outer = |a: usize, b: usize| p[b].max(t[b]) - p[a].min(t[a]);
        let intersection = inner(0, 2) * inner(1, 3);
        let union = pred.w * pred.h + truth.w * truth.h - intersection + EPSILON;
        let iou = intersection / union;
        let (width, height) = (outer(0, 2), outer(1, 3));
        let overlap = match self {
            Self::Giou => {
                let hull = width * height + EPSILON;
                iou - (hull - union) / hull
            }
            Self::Diou => iou - centre_distance(pred, &truth) / (width * width + height * height + EPSILON),
            Self::Ciou => {
                let distance = centre_distance(pred, &truth) / (width * width + height * height + EPSILON);
                let angle = (truth.w / (truth.h + EPSILON)).atan() - (pred.w / (pred.h + EPSILON)).atan();
                let v = angle * angle * (4.0 / std::f64::consts::PI.powi(2));
                // The paper keeps the trade-off weight out of the gradient.
                let alpha = v.value / (1.0 - iou.value + v.value + EPSILON);
                iou - distance - v * alpha
            }
        };
        (overlap, iou.value)
    }
}

fn centre_distance(a: &Centred<Dual>, b: &Centred<Dual>) -> Dual {
    let (dx, dy) = (a.x - b.x, a.y - b.y);
    dx * dx + dy * dy
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: Centred<f64> = Centred { x: 0.4, y: 0.7, w: 2.0, h: 1.5 };

    fn loss(kind: BoxLoss, raw: [f64; 4]) -> (Dual, f64) {
        kind.overlap(&decode(raw, [1.6, 1.9], 1.1, false), &TRUTH)
    }

    #[test]
    fn a_perfect_box_has_overlap_one() {
        let raw = [0.0, 0.0, (2.0f64 / 1.6).ln(), (1.5f64 / 1.9).ln()];
        let truth = Centred { x: 0.5, y: 0.5, ..TRUTH };
        for kind in [BoxLoss::Giou, BoxLoss::Diou, BoxLoss::Ciou] {
            let (overlap, iou) = kind.overlap(&decode(raw, [1.6, 1.9], 1.1, false), &truth);
            assert!((overlap.value - 1.0).abs() < 1e-6 && (iou - 1.0).abs() < 1e-6, "{kind:?}");
        }
    }

    #[test]
    fn a_box_is_the_same_with_and_without_derivatives() {
        for (raw, new_coords) in [([0.3, -0.9, 0.2, 9.0], false), ([0.3, 0.9, 0.2, 0.4], true)] {
            let dual = decode(raw, [1.6, 1.9], 1.1, new_coords);
            let plain = decode_plain(raw, [1.6, 1.9], 1.1, new_coords);
            assert_eq!([dual.x, dual.y, dual.w, dual.h].map(|d| d.value), [plain.x, plain.y, plain.w, plain.h]);
        }
    }

    #[test]
    fn cious_slope_is_that_of_its_formula_with_the_trade_off_weight_held_still() {
        let raw = [0.3, -0.9, 0.2, -0.4];
        let diou = |raw| loss(BoxLoss::Diou, raw).0.value;
        let v = |raw| {
            let p = decode(raw, [1.6, 1.9], 1.1, false);
            let angle = (TRUTH.w / TRUTH.h).atan() - (p.w.value / p.h.value).atan();
            4.0 / std::f64::consts::PI.powi(2) * angle * angle
        };
        let alpha = v(raw) / (1.0 - loss(BoxLoss::Ciou, raw).1 + v(raw));
        let overlap = loss(BoxLoss::Ciou, raw).0;
        assert!((overlap.value - (diou(raw) - alpha * v(raw))).abs() < 1e-6);
        for i in 0..4 {
            let shifted = |d: f64| {
                let mut raw = raw;
                raw[i] += d;
                diou(raw) - alpha * v(raw)
            };
            let difference = (shifted(1e-6) - shifted(-1e-6)) / 2e-6;
            assert!((overlap.slope[i] - difference).abs() < 1e-6, "{i}: {} {difference}", overlap.slope[i]);
        }
    }

    #[test]
    fn slopes_agree_with_finite_differences() {
        let raw = [0.3, -0.9, 0.2, -0.4];
        for kind in [BoxLoss::Giou, BoxLoss::Diou] {
            let (overlap, _) = loss(kind, raw);
            for i in 0..4 {
                let shifted = |d: f64| {
                    let mut raw = raw;
                    raw[i] += d;
                    loss(kind, raw).0.value
                };
                let difference = (shifted(1e-6) - shifted(-1e-6)) / 2e-6;
                assert!(
                    (overlap.slope[i] - difference).abs() < 1e-6,
                    "{kind:?} {i}: {} {difference}",
                    overlap.slope[i]
                );
            }
        }
    }
}
