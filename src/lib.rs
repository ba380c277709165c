//! yoloslim: slims Darknet YOLO detectors.

pub mod anchors;
pub mod architectures;
pub mod calibrate;
pub mod calibration_images;
pub mod cpu_profile;
pub mod data;
pub mod demo;
pub mod detect;
pub mod device;
pub mod draw;
pub mod events;
pub mod evidence;
pub mod journal;
pub mod model;
pub mod new_folder;
pub mod prove;
pub mod quant;
pub mod reestimate;
pub mod report;
pub mod run_folder;
pub mod samples;
pub mod search;
pub mod slim;
pub mod taylor;
pub mod train;
pub mod workers;
