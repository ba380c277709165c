//! What pruning goes by beside the weights, as it is typed for `prune` and `slim`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use yoloslim::search::{BlockScore, ByData};
use yoloslim_core::{Error, Result};

use super::numbers::count;

/// What goes by a data set.
#[derive(Debug, Args)]
#[command(next_help_heading = "By measurement")]
pub struct MeasureKnobs {
    /// How many training images tell what filters give and are worth [default: 64 for prune, 128 for slim]
    #[arg(long, value_name = "N", requires = "data", value_parser = count)]
    images: Option<usize>,
    /// What `sensitivity` wrote: scores count by how much accuracy their group costs
    #[arg(long, value_name = "JSON")]
    sensitivity: Option<PathBuf>,
    /// What residual blocks are ranked by [default: gamma]
    #[arg(long, value_enum, value_name = "HOW")]
    block_score: Option<BlockScoreArg>,
    /// Plans to try for each pruning, on training images; the most accurate is carried out [default: 1]
    #[arg(long, value_name = "N", requires = "data", value_parser = count)]
    candidates: Option<usize>,
    /// Leave BN statistics as they are instead of measuring them anew on training images after pruning
    #[arg(long, requires = "data")]
    keep_statistics: bool,
}

/// [`BlockScore`] as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BlockScoreArg {
    /// Mean |gamma| of the convolution that ends the branch
    Gamma,
    /// The change of the raw heads without the block, on training images (needs --data)
    Heads,
    /// The accuracy lost without the block (needs --sensitivity)
    Accuracy,
}

impl MeasureKnobs {
    /// Fails where blocks are to be ranked and none goes; `layers` are to go.
    pub fn check_blocks(&self, layers: usize) -> Result<()> {
        let ranked = self.block_score.is_some_and(|how| how != BlockScoreArg::Gamma);
        if ranked && layers == 0 {
            return Err(Error::at("--block-score", "of no effect: no blocks are to go").fix("give --layers N too"));
        }
        Ok(())
    }

    /// What was typed, over what else holds. Paths hold from any folder: a run may go on in another.
    pub fn over(&self, options: ByData) -> ByData {
        let lasting = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        ByData {
            images: self.images.unwrap_or(options.images),
            sensitivity: self.sensitivity.as_ref().map(lasting).or(options.sensitivity),
            block_score: self.block_score.map_or(options.block_score, Into::into),
            candidates: self.candidates.unwrap_or(options.candidates),
            keep_statistics: self.keep_statistics || options.keep_statistics,
        }
    }
}

impl From<BlockScoreArg> for BlockScore {
    fn from(typed: BlockScoreArg) -> Self {
        match typed {
            BlockScoreArg::Gamma => Self::Gamma,
            BlockScoreArg::Heads => Self::Heads,
            BlockScoreArg::Accuracy => Self::Accuracy,
        }
    }
}
