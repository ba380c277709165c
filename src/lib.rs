//! yoloslim: slims Darknet YOLO detectors.

pub mod data;
