//! From a raw head map to detections.

use super::{BBox, Detection};
use crate::graph::Yolo;

/// Where in the net an anchor's prediction stands.
struct Site {
    row: usize,
    col: usize,
    rows: usize,
    cols: usize,
    net_width: f64,
    net_height: f64,
}

/// Decodes the head map of one image.
///
/// `raw` is the NHWC slice `[rows][cols][anchors * (5 + classes)]`, each anchor as (tx, ty, tw, th,
/// objectness, classes..) before any activation. `net_width` and `net_height` are the net input's pixels.
/// Returns boxes as shares (0 to 1) of the net input, not clipped; one detection for each class
/// whose objectness * class probability is at least `threshold`. Values that are not numbers, and
/// sizes that overflow, give no detection. The formulas are those of Darknet's `get_yolo_box`.
pub fn decode(
    head: &Yolo,
    raw: &[f32],
    rows: usize,
    cols: usize,
    net_width: usize,
    net_height: usize,
    threshold: f32,
) -> Vec<Detection> {
    let width = 5 + head.classes;
    let sites = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
    let slots = sites.flat_map(|site| head.anchors.iter().map(move |&anchor| (site, anchor)));
    let mut detections = Vec::new();
    for (((row, col), anchor), values) in slots.zip(raw.chunks_exact(width)) {
        let objectness = probability(head, values[4]);
        if objectness.is_nan() || objectness < threshold {
            continue;
        }
        let site = Site { row, col, rows, cols, net_width: net_width as f64, net_height: net_height as f64 };
        let bbox = bbox(head, anchor, &site, [values[0], values[1], values[2], values[3]]);
        if !bbox.is_finite() {
            continue;
        }
        let scores = values[5..].iter().map(|&class| objectness * probability(head, class));
        let likely = scores.enumerate().filter(|(_, score)| score.is_finite() && *score >= threshold);
        detections.extend(likely.map(|(class, score)| Detection { class, score, bbox }));
    }
    detections
}

fn probability(head: &Yolo, raw: f32) -> f32 {
    if head.new_coords { raw } else { 1.0 / (1.0 + (-raw).exp()) }
}

fn bbox(head: &Yolo, anchor: [f32; 2], site: &Site, [tx, ty, tw, th]: [f32; 4]) -> BBox {
    let scale = f64::from(head.scale_x_y);
    let center = |t: f32, cell: usize, cells: usize| {
        let t = f64::from(t);
        let logistic = if head.new_coords { t } else { 1.0 / (1.0 + (-t).exp()) };
        (logistic * scale - (scale - 1.0) / 2.0 + cell as f64) / cells as f64
    };
    let size = |t: f32, anchor: f32, net: f64| {
        let t = f64::from(t);
        let factor = if head.new_coords { (2.0 * t).powi(2) } else { t.exp() };
        factor * f64::from(anchor) / net
    };
    BBox::from_center(
        center(tx, site.col, site.cols),
        center(ty, site.row, site.rows),
        size(tw, anchor[0], site.net_width),
        size(th, anchor[1], site.net_height),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(classes: usize) -> Yolo {
        Yolo { anchors: vec![[10.0, 20.0], [30.0, 40.0]], classes, scale_x_y: 1.0, new_coords: false }
    }

    fn silent(head: &Yolo, rows: usize, cols: usize) -> Vec<f32> {
        vec![-20.0; rows * cols * head.anchors.len() * (5 + head.classes)]
    }

    fn close(a: BBox, b: BBox) -> bool {
        [a.x0 - b.x0, a.y0 - b.y0, a.x1 - b.x1, a.y1 - b.y1].iter().all(|d| d.abs() < 1e-5)
    }

    #[test]
    fn zeros_stand_in_the_middle_of_their_cell_with_the_anchors_size() {
        let head = head(2);
        let mut raw = silent(&head, 2, 4);
        // Row 1, column 2, second anchor: class 1 only.
        let start = ((4 + 2) * 2 + 1) * 7;
        raw[start..start + 7].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, 20.0, -20.0, 0.0]);
        let found = decode(&head, &raw, 2, 4, 128, 64, 0.1);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].class, found[0].score), (1, 0.5));
        assert!(close(found[0].bbox, BBox::from_center(2.5 / 4.0, 1.5 / 2.0, 30.0 / 128.0, 40.0 / 64.0)));
    }

    #[test]
    fn every_class_over_the_threshold_is_a_detection() {
        let head = head(3);
        let mut raw = silent(&head, 1, 1);
        raw[..8].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, 30.0, 2.0, -2.0, 3.0]);
        let classes: Vec<_> = decode(&head, &raw, 1, 1, 32, 32, 0.5).iter().map(|d| d.class).collect();
        assert_eq!(classes, [0, 2]);
    }

    #[test]
    fn new_coords_take_the_values_as_they_are() {
        let head = Yolo { anchors: vec![[16.0, 8.0]], classes: 1, scale_x_y: 2.0, new_coords: true };
        let found = decode(&head, &[0.5, 1.0, 0.5, 1.0, 0.9, 0.5], 1, 1, 32, 32, 0.4);
        // Centre 0.5*2 - 0.5 = 0.5 and 1*2 - 0.5 = 1.5 cells; sizes (2*0.5)^2 and (2*1)^2 anchors.
        assert!(close(found[0].bbox, BBox::from_center(0.5, 1.5, 16.0 / 32.0, 32.0 / 32.0)));
        assert_eq!(found[0].score, 0.9 * 0.5);
    }

    #[test]
    fn values_that_are_not_numbers_give_no_detection_even_at_threshold_zero() {
        let head = Yolo { anchors: vec![[10.0, 20.0]], ..head(1) };
        for broken in 0..6 {
            for value in [f32::NAN, f32::INFINITY] {
                let mut raw = [0.0; 6];
                raw[broken] = value;
                let found = decode(&head, &raw, 1, 1, 32, 32, 0.0);
                let harmless = value.is_infinite() && ![2, 3].contains(&broken);
                assert_eq!(found.len(), usize::from(harmless), "value {broken} = {value}");
            }
        }
    }

    #[test]
    fn a_map_that_is_too_short_ends_early() {
        assert!(decode(&head(1), &[9.0; 5], 4, 4, 32, 32, 0.1).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn encoding_is_undone(
            (fx, fy) in (0.01..0.99, 0.01..0.99),
            (w, h) in (0.01..1.0, 0.01..1.0),
            (row, col) in (0usize..3, 0usize..5),
            scale in 1.0f32..2.0,
            new_coords in any::<bool>(),
        ) {
            let head = Yolo { anchors: vec![[33.0, 61.0]], classes: 1, scale_x_y: scale, new_coords };
            let truth = BBox::from_center((col as f64 + fx) / 5.0, (row as f64 + fy) / 3.0, w, h);
            let mut raw = silent(&head, 3, 5);
            let start = (row * 5 + col) * 6;
            if new_coords {
                raw.fill(0.0);
            }
            raw[start..start + 4].copy_from_slice(&encode(&head, fx, fy, w * 160.0, h * 96.0));
            raw[start + 4..start + 6].fill(if new_coords { 1.0 } else { 10.0 });
            let found = decode(&head, &raw, 3, 5, 160, 96, 0.5);
            prop_assert_eq!(found.len(), 1);
            prop_assert!(close(found[0].bbox, truth), "{:?} is not {truth:?}", found[0].bbox);
        }
    }

    /// The inverse of the decoding: position within the cell and size in pixels to raw values.
    fn encode(head: &Yolo, fx: f64, fy: f64, width: f64, height: f64) -> [f32; 4] {
        let scale = f64::from(head.scale_x_y);
        let center = |f: f64| {
            let p = (f + (scale - 1.0) / 2.0) / scale;
            (if head.new_coords { p } else { (p / (1.0 - p)).ln() }) as f32
        };
        let size = |pixels: f64, anchor: f32| {
            let factor = pixels / f64::from(anchor);
            (if head.new_coords { factor.sqrt() / 2.0 } else { factor.ln() }) as f32
        };
        [center(fx), center(fy), size(width, head.anchors[0][0]), size(height, head.anchors[0][1])]
    }
}
