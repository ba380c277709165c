//! Choosing what to prune by measured accuracy: how sensitive each part of a net is, and which of many plans under one
//! budget is best.
//!
//! Accuracy is measured on images of the *training* split: what a net is chosen by must not be what it is reported on.

mod blocks;
mod by_data;
mod candidates;
mod judge;
mod sensitivity;

pub use blocks::block_effects;
pub use by_data::{BlockScore, ByData, Choice, Work, require_objects};
pub use candidates::{Candidate, search};
pub use judge::Judge;
pub use sensitivity::{BlockSensitivity, GroupSensitivity, Sensitivity, measure_sensitivity};
