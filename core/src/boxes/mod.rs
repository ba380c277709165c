//! Boxes and detections.

mod decode;
mod iou;
mod letterbox;
mod nms;

pub use decode::decode;
pub use iou::{crowd_iou, iou};
pub use letterbox::{Fit, Letterbox};
pub use nms::{MAX_CANDIDATES, nms};

use serde::{Deserialize, Serialize};

/// An axis-aligned box by its corners, in pixels of the original image unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct BBox {
    /// Left edge.
    pub x0: f64,
    /// Top edge.
    pub y0: f64,
    /// Right edge, exclusive.
    pub x1: f64,
    /// Bottom edge, exclusive.
    pub y1: f64,
}

impl BBox {
    /// The box of a centre, a width and a height.
    pub fn from_center(cx: f64, cy: f64, width: f64, height: f64) -> Self {
        Self { x0: cx - width / 2.0, y0: cy - height / 2.0, x1: cx + width / 2.0, y1: cy + height / 2.0 }
    }

    /// The box of a top left corner, a width and a height, as COCO writes it.
    pub fn from_corner(x: f64, y: f64, width: f64, height: f64) -> Self {
        Self { x0: x, y0: y, x1: x + width, y1: y + height }
    }

    /// Width; negative when the corners are swapped.
    pub fn width(&self) -> f64 {
        self.x1 - self.x0
    }

    /// Height; negative when the corners are swapped.
    pub fn height(&self) -> f64 {
        self.y1 - self.y0
    }

    /// Centre as (x, y).
    pub fn center(&self) -> (f64, f64) {
        ((self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0)
    }

    /// Width times height, 0 for a degenerate box.
    pub fn area(&self) -> f64 {
        if self.is_degenerate() { 0.0 } else { self.width() * self.height() }
    }

    /// Whether the box has no inside: an edge is not a number, or an edge is not before its opposite.
    pub fn is_degenerate(&self) -> bool {
        !(self.x1 > self.x0 && self.y1 > self.y0)
    }

    /// Whether all four edges are finite numbers.
    pub fn is_finite(&self) -> bool {
        [self.x0, self.y0, self.x1, self.y1].iter().all(|edge| edge.is_finite())
    }

    /// The part of the box that lies on an image of `width` x `height`.
    #[must_use]
    pub fn clipped(&self, width: f64, height: f64) -> Self {
        let (x, y) = (|v: f64| v.max(0.0).min(width), |v: f64| v.max(0.0).min(height));
        Self { x0: x(self.x0), y0: y(self.y0), x1: x(self.x1), y1: y(self.y1) }
    }

    /// The box with each edge moved to `edge * scale + shift`, scale and shift as (x, y).
    #[must_use]
    pub fn mapped(&self, scale: (f64, f64), shift: (f64, f64)) -> Self {
        let (x, y) = (|v: f64| v * scale.0 + shift.0, |v: f64| v * scale.1 + shift.1);
        Self { x0: x(self.x0), y0: y(self.y0), x1: x(self.x1), y1: y(self.y1) }
    }
}

/// One detected object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Index of the class, from 0.
    pub class: usize,
    /// Objectness times class probability, 0 to 1.
    pub score: f32,
    /// Where it is.
    pub bbox: BBox,
}
