//! Darknet detectors as plain data: files, graphs, costs, pruning, exports, boxes, labels and mAP.
//!
//! Nothing here knows of a tensor framework or holds `unsafe` code: a [`Error`] says what
//! is wrong with an input, everything else is data and functions from data to data.
//!
//! ```
//! use yoloslim_core::darknet::Cfg;
//! use yoloslim_core::prune::{self, Evidence, PruneOptions, Target};
//! use yoloslim_core::{Network, cost};
//!
//! let convolution = "[convolutional]\nbatch_normalize=1\nfilters=32\nsize=3\npad=1\nactivation=leaky\n";
//! let head = "[convolutional]\nfilters=21\nactivation=linear\n[yolo]\nmask=0,1,2\nanchors=8,8,16,16,32,32\nclasses=2\n";
//! let cfg = format!("[net]\nwidth=64\nheight=64\n{convolution}{convolution}{head}");
//! let network = Network::initialise(Cfg::parse(cfg.as_bytes())?, 1)?;
//!
//! // Decide, then do: half of the operations go.
//! let options = PruneOptions { target: Target::Flops(0.5), ..PruneOptions::default() };
//! let plan = prune::plan(&network, &options, &Evidence::default())?;
//! let slim = prune::apply(&network, &plan)?.compact;
//! assert!(cost::flops(&slim.graph) <= 0.5 * cost::flops(&network.graph));
//! # Ok::<(), yoloslim_core::Error>(())
//! ```
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
pub mod path_text;
pub mod prune;
pub mod quant;
pub mod record;
pub mod reference;
#[cfg(test)]
mod shared_files;

pub use error::{Error, Result};
pub use network::Network;
