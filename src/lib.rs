//! yoloslim: slims Darknet YOLO detectors.

pub mod data;
pub mod detect;
pub mod draw;
pub mod model;
pub mod prove;
pub mod run_folder;
pub mod slim;
pub mod train;
