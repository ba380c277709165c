//! Which cells and anchors answer for which truth (by the shape of anchors, as the field's PyTorch code has it).

use yoloslim_core::graph::Yolo;

use crate::data::Target;

/// One anchor of one cell that has to find one truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::train) struct Positive {
    /// Image in the batch.
    pub image: usize,
    /// Row of the cell.
    pub row: usize,
    /// Column of the cell.
    pub col: usize,
    /// Anchor of the head.
    pub anchor: usize,
    /// Index into the batch's targets.
    pub target: usize,
}

/// IoU of two boxes with the same centre.
fn size_iou(a: [f32; 2], b: [f32; 2]) -> f32 {
    let intersection = a[0].min(b[0]) * a[1].min(b[1]);
    intersection / (a[0] * a[1] + b[0] * b[1] - intersection)
}

/// The positives of each head: every anchor whose size overlaps the truth's by more than `anchor_iou`, in the cell
/// that holds the truth's centre. A truth that no anchor fits goes to the best one, so that none is lost.
///
/// `grids` are the heads' rows and columns, `input` the width and height of the net's input in pixels.
pub(in crate::train) fn assign(
    heads: &[&Yolo],
    grids: &[(usize, usize)],
    input: (usize, usize),
    targets: &[Target],
    anchor_iou: f32,
) -> Vec<Vec<Positive>> {
    let mut positives = vec![Vec::new(); heads.len()];
    for (index, target) in targets.iter().enumerate() {
        for (h, anchor) in answering(heads, input, target, anchor_iou) {
            let (rows, cols) = grids[h];
            let cell = |v: f32, n: usize| ((v * n as f32) as usize).min(n - 1);
            let (row, col) = (cell(target.cy, rows), cell(target.cx, cols));
            positives[h].push(Positive { image: target.image, row, col, anchor, target: index });
        }
    }
    positives
}

/// The head and the anchor in it of each positive that a truth makes.
fn answering(heads: &[&Yolo], input: (usize, usize), target: &Target, anchor_iou: f32) -> Vec<(usize, usize)> {
    let size = [target.w * input.0 as f32, target.h * input.1 as f32];
    let fits = heads
        .iter()
        .enumerate()
        .flat_map(|(h, head)| head.anchors.iter().enumerate().map(move |(a, anchor)| (h, a, size_iou(*anchor, size))));
    let mut chosen: Vec<_> = fits.clone().filter(|f| f.2 > anchor_iou).collect();
    if chosen.is_empty() {
        chosen.extend(fits.max_by(|a, b| a.2.total_cmp(&b.2)));
    }
    chosen.into_iter().map(|(h, anchor, _)| (h, anchor)).collect()
}

/// How many positives each head has, which takes no maps to tell.
pub(super) fn count(heads: &[&Yolo], input: (usize, usize), targets: &[Target], anchor_iou: f32) -> Vec<usize> {
    let mut counts = vec![0; heads.len()];
    let positives = targets.iter().flat_map(|target| answering(heads, input, target, anchor_iou));
    positives.for_each(|(h, _)| counts[h] += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(anchors: &[[f32; 2]]) -> Yolo {
        Yolo { anchors: anchors.to_vec(), classes: 1, scale_x_y: 1.0, new_coords: false }
    }

    #[test]
    fn every_anchor_that_fits_is_positive_in_the_centres_cell() {
        let (large, small) = (head(&[[50.0, 50.0], [90.0, 90.0]]), head(&[[10.0, 10.0], [20.0, 20.0]]));
        let target = |w: f32, h: f32| Target { image: 0, class: 0, cx: 0.99, cy: 0.26, w, h };
        let run = |t: Target| assign(&[&large, &small], &[(4, 4), (8, 8)], (100, 100), &[t], 0.2635);
        let found = run(target(0.45, 0.45));
        assert_eq!(found[0].iter().map(|p| (p.row, p.col, p.anchor)).collect::<Vec<_>>(), [(1, 3, 0)]);
        assert!(found[1].is_empty());
        let (heads, truths) = ([&large, &small], [target(0.45, 0.45), target(0.15, 0.15)]);
        assert_eq!(count(&heads, (100, 100), &truths, 0.2635), [1, 2]);
        let found = run(target(0.15, 0.15));
        assert_eq!(found[1].iter().map(|p| (p.row, p.col, p.anchor)).collect::<Vec<_>>(), [(2, 7, 0), (2, 7, 1)]);
    }

    #[test]
    fn a_truth_that_no_anchor_fits_goes_to_the_best_one() {
        let only = head(&[[10.0, 10.0], [80.0, 80.0]]);
        let sliver = Target { image: 0, class: 0, cx: 0.5, cy: 0.5, w: 1.0, h: 0.01 };
        let found = assign(&[&only], &[(4, 4)], (100, 100), &[sliver], 0.2635);
        assert_eq!(found[0].len(), 1);
    }
}
