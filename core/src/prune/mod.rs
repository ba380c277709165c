//! Pruning: which channels and residual blocks go, and the slim net that results.
//!
//! Decide, then do: [`plan()`] decides and gives a [`PrunePlan`]; [`apply()`] does what the plan says and gives the
//! masked net (the same cfg, removed channels turned into constants) and the compact net (the slim cfg). Both
//! compute the same heads; [`max_relative_difference`] over a run of both is the proof.

mod options;
pub mod plan;
mod proof;
mod reasons;

use std::collections::BTreeMap;

pub use options::{Criterion, Groups, PruneOptions, Target};
pub use plan::{BlockPlan, Cost, LayerPlan, PrunePlan};
pub use proof::{PROOF_TOLERANCE, max_relative_difference};
pub use reasons::{Reason, WhyNot};

use crate::{Error, Network, Result};

/// The mean activation of every filter over calibration images, `[filters]`, by convolution layer.
pub type Means = BTreeMap<usize, Vec<f32>>;

/// What [`apply()`] gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Pruned {
    /// The net before surgery: same cfg, what goes replaced by constants.
    pub masked: Network,
    /// The slim net.
    pub compact: Network,
}

/// Decides what goes. With `means`, a removed filter is replaced by its mean activation, else by act(beta), what
/// remains of it when gamma is zero.
///
/// # Errors
/// Options out of range; a target that can't be met, naming the nearest that can; means that do not fit the net.
pub fn plan(_network: &Network, options: &PruneOptions, _means: Option<&Means>) -> Result<PrunePlan> {
    options.check()?;
    Err(Error::at("prune", "not built in"))
}

/// Does what `plan` says.
///
/// # Errors
/// A plan that was made for another net.
pub fn apply(_network: &Network, _plan: &PrunePlan) -> Result<Pruned> {
    Err(Error::at("prune", "not built in"))
}
