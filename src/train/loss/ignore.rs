//! Which anchors are let be: they overlap something, and so are not trained to be background.

use super::HeadTerm;
use super::box_loss::decode_plain;
use crate::data::{Labels, Target};

/// A prediction that lies in an ignored region by more than this share of its own area is let be.
const INSIDE: f64 = 0.5;

/// A box by its edges, in cells of a map.
#[derive(Clone, Copy)]
struct Edges {
    x: [f64; 2],
    y: [f64; 2],
}

impl Edges {
    fn area(&self) -> f64 {
        (self.x[1] - self.x[0]) * (self.y[1] - self.y[0])
    }

    fn shared(&self, other: &Self) -> f64 {
        let along = |a: [f64; 2], b: [f64; 2]| (a[1].min(b[1]) - a[0].max(b[0])).max(0.0);
        along(self.x, other.x) * along(self.y, other.y)
    }
}

/// What is on one image.
#[derive(Clone, Default)]
struct Regions {
    truths: Vec<Edges>,
    ignored: Vec<Edges>,
}

impl HeadTerm<'_> {
    /// Whether each anchor of each cell is let be, `[image][row][column][anchor]`; none where all are trained.
    ///
    /// Its box overlaps a truth by more than `ignore_thresh`, as Darknet has it, or lies in a region whose objects are
    /// not labelled one by one: whatever is found there is neither right nor wrong.
    pub(super) fn let_be(&self, labels: Labels) -> Option<Vec<bool>> {
        let by_truths = self.options.ignore_thresh < 1.0;
        if labels.ignored.is_empty() && !by_truths {
            return None;
        }
        let (map, rows) = (self.map, self.map.values.chunks_exact(self.stride()));
        let anchors = self.head.anchors.len();
        let of_image = map.rows * map.cols * anchors;
        let mut regions = vec![Regions::default(); rows.len().div_ceil(of_image.max(1))];
        labels.ignored.iter().for_each(|region| regions[region.image].ignored.push(self.edges_of(region)));
        if by_truths {
            labels.targets.iter().for_each(|target| regions[target.image].truths.push(self.edges_of(target)));
        }
        let let_be = |(i, raw): (usize, &[f32])| {
            let regions = &regions[i / of_image];
            if regions.truths.is_empty() && regions.ignored.is_empty() {
                return false;
            }
            let cell = i % of_image / anchors;
            let at = [(cell % map.cols) as f64, (cell / map.cols) as f64];
            self.meets(&self.edges(raw, i % anchors, at), regions)
        };
        Some(rows.enumerate().map(let_be).collect())
    }

    fn meets(&self, found: &Edges, regions: &Regions) -> bool {
        let (area, thresh) = (found.area(), f64::from(self.options.ignore_thresh));
        let in_region = |region: &Edges| found.shared(region) > INSIDE * area;
        let on_truth = |truth: &Edges| {
            let shared = found.shared(truth);
            shared > thresh * (area + truth.area() - shared)
        };
        area.is_finite() && (regions.ignored.iter().any(in_region) || regions.truths.iter().any(on_truth))
    }

    /// The box that an anchor's raw outputs describe, in the cell whose corner is `at`.
    fn edges(&self, raw: &[f32], anchor: usize, at: [f64; 2]) -> Edges {
        let raw = std::array::from_fn(|i| f64::from(raw[i]));
        let scale = f64::from(self.head.scale_x_y);
        let b = decode_plain(raw, self.anchor(anchor), scale, self.head.new_coords);
        let along = |corner: f64, centre: f64, size: f64| [corner + centre - size / 2.0, corner + centre + size / 2.0];
        Edges { x: along(at[0], b.x, b.w), y: along(at[1], b.y, b.h) }
    }

    fn edges_of(&self, target: &Target) -> Edges {
        let along = |centre: f32, size: f32, cells: usize| {
            [centre - size / 2.0, centre + size / 2.0].map(|edge| f64::from(edge) * cells as f64)
        };
        Edges { x: along(target.cx, target.w, self.map.cols), y: along(target.cy, target.h, self.map.rows) }
    }
}
