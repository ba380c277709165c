//! yoloslim: slims Darknet YOLO detectors.

pub mod data;
pub mod draw;
