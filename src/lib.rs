//! yoloslim: slims Darknet YOLO detectors so that they run in real time on small chips, and proves that the slim net is
//! the same detector.
//!
//! One value, [`Network`](core::Network), goes from stage to stage: [`train`] trains it, [`core::prune`] plans and cuts,
//! [`prove`] holds both sides to each other, [`detect`] runs and measures it, [`slim`] does all of it in a row. What is
//! plain data and needs no engine is in the package `yoloslim-core`, which is [`core`] here.
//!
//! ```
//! use yoloslim::architectures::{Architecture, CfgOptions};
//! use yoloslim::core::prune::{self, Evidence, PruneOptions, Target};
//! use yoloslim::core::{Network, cost};
//! use yoloslim::data::Rgb;
//! use yoloslim::detect::{DetectOptions, Detector};
//! use yoloslim::prove::prove;
//!
//! // A net as published, a quarter as wide, for two classes.
//! let options = CfgOptions { classes: 2, width: 0.25, size: (96, 96), anchors: None };
//! let network = Network::initialise(Architecture::YoloV3Tiny.cfg(&options)?, 1)?;
//!
//! // Half of its operations go, and the slim net is proved to compute what is left of the first one.
//! let goal = PruneOptions { target: Target::Flops(0.5), ..PruneOptions::default() };
//! let pruned = prune::apply(&network, &prune::plan(&network, &goal, &Evidence::default())?)?;
//! assert!(prove(&pruned)? <= 1e-4);
//! let slim = pruned.compact;
//! assert!(cost::flops(&slim.graph) <= 0.5 * cost::flops(&network.graph));
//!
//! // What it finds on a grey picture: nothing that it is sure of, for it was never trained.
//! let found = Detector::new(&slim, DetectOptions::default())?.detect(&Rgb::filled(64, 48, [128; 3]))?;
//! assert!(found.iter().all(|object| object.score < 0.9));
//! # Ok::<(), yoloslim::core::Error>(())
//! ```
//!
//! The example `slim_a_net` trains and slims a net in twenty lines: `cargo run --release --example slim_a_net`.

#![forbid(unsafe_code)]

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
pub mod input_size;
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
pub mod shell;
pub mod slim;
pub mod taylor;
pub mod train;
pub mod workers;

pub use yoloslim_core as core;
