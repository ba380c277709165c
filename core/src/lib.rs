//! Darknet detectors as plain data: files, graphs, costs, pruning, exports, boxes, labels and mAP.
//!
//! Nothing here knows of a tensor framework or holds `unsafe` code: a [`Error`] says what
//! is wrong with an input, everything else is data and functions from data to data.
#![forbid(unsafe_code)]

pub mod boxes;
pub mod cost;
pub mod darknet;
pub mod error;
pub mod eval;
pub mod export;
pub mod files;
pub mod graph;
pub mod labels;
pub mod network;
pub mod prune;
pub mod quant;
pub mod record;
pub mod reference;

pub use error::{Error, Result};
pub use network::Network;
