//! Boxes and detections.

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

/// One detected object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Index of the class, from 0.
    pub class: usize,
    /// Objectness times class probability, 0 to 1.
    pub score: f32,
    /// Where it is.
    pub bbox: BBox,
}
