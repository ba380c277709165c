//! Pruning: which channels and residual blocks go, and the slim net that results.
//!
//! Decide, then do: [`plan()`] decides and gives a [`PrunePlan`]; [`apply()`] does what the plan says and gives the
//! masked net (the same cfg, removed channels turned into constants) and the compact net (the slim cfg). Both
//! compute the same heads; [`max_relative_difference`] over a run of both is the proof.
//!
//! How it is decided: [`blocks`] finds residual blocks, [`channels`] gives every channel a class that is kept or
//! removed everywhere, [`scores`] says what a class is worth, `select` how many go, `limits` what holds some of
//! them, `carriers` which ones stay to carry [`constants`] up to the border. How it is done: [`mod@apply`] and
//! `compensate`.
//!
//! A plan holds the means that it was made with, so that it can be saved, read and applied by itself.

pub mod apply;
pub mod blocks;
mod carriers;
pub mod channels;
mod compensate;
pub mod constants;
mod decide;
mod evidence;
mod limits;
mod options;
mod per_cost;
pub mod plan;
mod proof;
mod reasons;
mod refit;
mod rehearsal;
pub mod scores;
mod select;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod widths;

pub use apply::apply;
pub use decide::{plan, plan_within};
pub use evidence::{Evidence, Means, PerFilter};
pub use options::{Groups, LeftBehind, PruneOptions, Target};
pub use plan::{BlockPlan, Cost, LayerPlan, PrunePlan, Spent};
pub use proof::{PROOF_TOLERANCE, max_relative_difference};
pub use reasons::{Reason, WhyNot};
pub use rehearsal::rehearse;
pub use scores::{Criterion, Join, Normalise};
pub use select::Budget;

use crate::Network;

/// What [`apply()`] gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Pruned {
    /// The net before surgery: same cfg, what goes replaced by constants.
    pub masked: Network,
    /// The slim net.
    pub compact: Network,
}
