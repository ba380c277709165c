//! Who teaches and how, as it is typed for `train` and `slim`.

use std::path::PathBuf;

use clap::Args;
use yoloslim::train::distil::{DistilLoss, DistilOptions, HintLayer, TeacherFiles};
use yoloslim_core::Result;

use super::train::absolute;

/// Who teaches and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Distillation")]
pub struct DistilKnobs {
    /// Net that teaches the one in training, of the same classes
    #[arg(long, num_args = 2, value_names = ["CFG", "WEIGHTS"])]
    teacher: Option<Vec<PathBuf>>,
    /// Losses that the teacher adds, each by its name and perhaps its weight: soft-targets, weighted-class, bounded-box,
    /// row-softmax, score-softmax on the heads; hint, masked, channel-wise on maps inside [default: soft-targets]
    #[arg(long, value_delimiter = ',', value_name = "NAME[=WEIGHT],..")]
    distil: Vec<DistilLoss>,
    /// Where losses on maps inside look: head0 for the input of the last convolution before head 0, 60 for layer 60,
    /// 52:60 for the student's 52 and the teacher's 60 [default: all heads]
    #[arg(long, value_delimiter = ',', value_name = "LAYER,..")]
    hint_layers: Vec<HintLayer>,
    /// Keep what the teacher makes of each image in this folder: where an image comes again, in this run or another, it need
    /// not look again. Augmented images come again with --augment-epochs
    #[arg(long, value_name = "FOLDER")]
    teacher_cache: Option<PathBuf>,
}

impl DistilKnobs {
    /// Writes what was typed over the options.
    ///
    /// # Errors
    /// A path that can't be made absolute.
    pub fn apply(&self, options: &mut Option<DistilOptions>) -> Result<()> {
        if let Some([cfg, weights]) = self.teacher.as_deref() {
            let files = TeacherFiles { cfg: absolute(cfg)?, weights: absolute(weights)? };
            options.get_or_insert_default().teacher = Some(files);
        }
        if !self.distil.is_empty() {
            options.get_or_insert_default().losses.clone_from(&self.distil);
        }
        if !self.hint_layers.is_empty() {
            options.get_or_insert_default().hint_layers.clone_from(&self.hint_layers);
        }
        if let Some(folder) = &self.teacher_cache {
            options.get_or_insert_default().cache = Some(absolute(folder)?);
        }
        Ok(())
    }
}
