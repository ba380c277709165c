//! Features where objects are (Wang et al., CVPR 2019, 'Distilling object detectors with fine-grained feature
//! imitation').

use serde::{Deserialize, Serialize};

use super::features::{FeatureLoss, Features};

/// [`Hint`](super::Hint) over the cells near objects: those with an anchor whose IoU with some truth is more than
/// `near` of the largest that any anchor of the grid has with it (section 3.1; the paper's psi).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Masked {
    /// Weight beside the hard loss.
    pub weight: f64,
    /// Share of the largest IoU that makes a cell count, 0 to 1.
    pub near: f64,
}

impl Default for Masked {
    fn default() -> Self {
        Self { weight: 0.5, near: 0.5 }
    }
}

impl FeatureLoss for Masked {
    fn add(&self, features: &Features, share: f64, gradient: &mut [f32]) -> f64 {
        let mask = self.mask(features);
        features.relative_distance(|cell| mask[cell], self.weight * share, gradient)
    }
}

impl Masked {
    /// Whether each cell is near an object, `[image][row][column]`.
    fn mask(&self, features: &Features) -> Vec<bool> {
        let (rows, cols) = features.grid;
        let mut mask = vec![false; features.images * rows * cols];
        for target in features.targets {
            let truth = [target.cx, target.cy, target.w, target.h];
            let overlap = |cell: usize| {
                let centre = [(cell % cols) as f32 + 0.5, (cell / cols) as f32 + 0.5];
                let (x, y) = (centre[0] / cols as f32, centre[1] / rows as f32);
                let anchors = features.anchors.iter();
                let sizes = anchors.map(|a| [a[0] / features.input.0 as f32, a[1] / features.input.1 as f32]);
                sizes.map(|[w, h]| iou([x, y, w, h], truth)).fold(0.0, f32::max)
            };
            let overlaps: Vec<f32> = (0..rows * cols).map(overlap).collect();
            let bound = self.near as f32 * overlaps.iter().copied().fold(0.0, f32::max);
            let image = &mut mask[target.image * rows * cols..(target.image + 1) * rows * cols];
            image.iter_mut().zip(overlaps).for_each(|(near, overlap)| *near |= overlap > bound);
        }
        mask
    }
}

/// IoU of two boxes by centre and size.
fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let inner = |i: usize| {
        let (low, high) =
            ((a[i] - a[i + 2] / 2.0).max(b[i] - b[i + 2] / 2.0), (a[i] + a[i + 2] / 2.0).min(b[i] + b[i + 2] / 2.0));
        (high - low).max(0.0)
    };
    let intersection = inner(0) * inner(1);
    intersection / (a[2] * a[3] + b[2] * b[3] - intersection).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::super::features::tests::Scene;
    use super::*;

    #[test]
    fn the_gradient_agrees_with_finite_differences_and_touches_cells_near_the_object_alone() {
        // The object's centre lies in row 1, column 1 of 3 x 4; its left neighbour overlaps by more than half as much.
        assert_eq!(Scene::new().check_gradient(&Masked::default()), [4, 5]);
        assert_eq!(Scene::new().check_gradient(&Masked { near: 0.95, ..Masked::default() }), [5]);
        assert_eq!(Scene::new().loss_of_equals(&Masked::default()), 0.0);
    }
}
