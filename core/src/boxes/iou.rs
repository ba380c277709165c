//! Overlap measures of two boxes.

use super::BBox;

/// Intersection over union, 0 to 1; 0 when either box is degenerate.
pub fn iou(a: &BBox, b: &BBox) -> f64 {
    let shared = intersection(a, b);
    if shared > 0.0 { shared / (a.area() + b.area() - shared) } else { 0.0 }
}

/// Intersection over the detection's own area: COCO's overlap with a crowd, which any number of
/// detections may lie inside of (pycocotools, `bbIou` with `iscrowd`).
pub fn crowd_iou(detection: &BBox, crowd: &BBox) -> f64 {
    let shared = intersection(detection, crowd);
    if shared > 0.0 { shared / detection.area() } else { 0.0 }
}

fn intersection(a: &BBox, b: &BBox) -> f64 {
    // f64::max passes over an edge that is not a number, so that such boxes must be told apart first.
    if a.is_degenerate() || b.is_degenerate() {
        return 0.0;
    }
    BBox { x0: a.x0.max(b.x0), y0: a.y0.max(b.y0), x1: a.x1.min(b.x1), y1: a.y1.min(b.y1) }.area()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bbox(x0: f64, y0: f64, x1: f64, y1: f64) -> BBox {
        BBox { x0, y0, x1, y1 }
    }

    #[test]
    fn overlaps_match_hand_computed_values() {
        let unit = bbox(0.0, 0.0, 2.0, 2.0);
        for (name, other, expected_iou, expected_crowd) in [
            ("the same box", unit, 1.0, 1.0),
            ("half of it", bbox(0.0, 0.0, 1.0, 2.0), 0.5, 0.5),
            ("a shifted one", bbox(1.0, 0.0, 3.0, 2.0), 1.0 / 3.0, 0.5),
            ("one that touches", bbox(2.0, 0.0, 4.0, 2.0), 0.0, 0.0),
            ("one apart", bbox(4.0, 0.0, 6.0, 2.0), 0.0, 0.0),
            ("a larger one around", bbox(-1.0, -1.0, 3.0, 3.0), 0.25, 1.0),
            ("one with swapped corners", bbox(2.0, 2.0, 0.0, 0.0), 0.0, 0.0),
        ] {
            assert_eq!(iou(&unit, &other), expected_iou, "{name}");
            assert_eq!(crowd_iou(&unit, &other), expected_crowd, "{name}");
        }
    }

    #[test]
    fn a_box_that_is_not_a_number_overlaps_nothing() {
        let broken = bbox(f64::NAN, 0.0, 1.0, 1.0);
        let sound = bbox(0.0, 0.0, 1.0, 1.0);
        assert_eq!((iou(&broken, &sound), crowd_iou(&broken, &sound)), (0.0, 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn iou_is_symmetric_and_a_share(a in any_box(), b in any_box()) {
            prop_assert_eq!(iou(&a, &b), iou(&b, &a));
            prop_assert!((0.0..=1.0).contains(&iou(&a, &b)));
        }
    }

    fn any_box() -> impl Strategy<Value = BBox> {
        (0.0..50.0, 0.0..50.0, 0.1..50.0, 0.1..50.0).prop_map(|(x, y, w, h)| BBox::from_corner(x, y, w, h))
    }
}
