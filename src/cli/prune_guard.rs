//! What keeps `prune` from writing a net that detects nothing any more.

use clap::Args;
use yoloslim_core::eval::NEXT_TO_NOTHING;
use yoloslim_core::{Error, Result};

use super::numbers::share;
use crate::term::Term;

/// What a pruning may cost.
#[derive(Debug, Args)]
#[command(next_help_heading = "By measurement")]
pub struct GuardArgs {
    /// Loss of mAP@0.5 on validation images beyond which nothing is written
    #[arg(long, default_value_t = 0.05, value_name = "F", value_parser = share::<f64>, requires = "data")]
    pub max_drop: f64,
    /// Write the slim net whatever is lost: fine-tuning is going to win it back
    #[arg(long, requires = "data")]
    pub anyway: bool,
}

impl GuardArgs {
    /// Refuses a net that lost too much or detects next to nothing, given mAP@0.5 on validation images before and after;
    /// says so where there is none to go by.
    pub fn check(&self, before: Option<f64>, after: Option<f64>, term: Term) -> Result<()> {
        let (Some(before), Some(after)) = (before, after) else {
            term.warn("accuracy could not be measured, for the validation images hold no objects: nothing is guarded");
            return Ok(());
        };
        let told = format!("mAP@0.5 on validation images falls from {before:.4} to {after:.4} without fine-tuning");
        let (cause, fix) = if before < NEXT_TO_NOTHING {
            let told = format!("the net detects next to nothing even before pruning (mAP@0.5 {before:.4})");
            (told, "nothing was written; check weights, classes and --data, or give --anyway")
        } else if after < NEXT_TO_NOTHING {
            (format!("{told}: it detects next to nothing"), LESS)
        } else if before - after > self.max_drop {
            (format!("{told}, more than --max-drop {}", self.max_drop), LESS)
        } else {
            return Ok(());
        };
        if self.anyway {
            term.warn(&cause);
            return Ok(());
        }
        Err(Error::at("prune", cause).fix(fix))
    }
}

const LESS: &str =
    "nothing was written; prune less, train with --sparsity auto first, or give --anyway and fine-tune afterwards";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_net_that_lost_too_much_or_detects_nothing_is_refused_unless_told_otherwise() {
        let term = Term { quiet: true, verbose: false, silent: true };
        let check = |anyway, before, after| GuardArgs { max_drop: 0.05, anyway }.check(before, after, term);
        assert!(check(false, Some(0.5), Some(0.46)).is_ok());
        assert!(check(false, None, None).is_ok());
        for (before, after, named) in [
            (0.5, 0.4, "0.5000 to 0.4000 without fine-tuning, more than --max-drop 0.05"),
            (0.04, 0.0, "detects next to nothing"),
            (0.0, 0.0, "even before pruning"),
        ] {
            let message = check(false, Some(before), Some(after)).unwrap_err().to_string();
            assert!(message.contains(named) && message.contains("--anyway"), "{message}");
            assert!(check(true, Some(before), Some(after)).is_ok());
        }
    }
}
