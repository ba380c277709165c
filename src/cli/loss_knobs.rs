//! The loss, as it is typed for `train` and `slim`.

use clap::{Args, ValueEnum};
use yoloslim::train::{BoxLoss, ClassWeights, Focal, LossOptions};

use super::numbers::part;

/// What is trained for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Loss")]
pub struct LossKnobs {
    /// Measure of overlap that boxes are trained for [default: giou]
    #[arg(long, value_enum, value_name = "MEASURE")]
    box_loss: Option<BoxLossName>,
    /// How far the targets of classes are drawn from 0 and 1, 0.1 say [default: 0]
    #[arg(long, value_name = "F", value_parser = part)]
    label_smoothing: Option<f64>,
    /// Weight easy anchors down (focal loss): gamma, 1.5 say, and perhaps alpha [default of alpha: 0.25]
    #[arg(long, value_name = "GAMMA[,ALPHA]")]
    focal: Option<Focal>,
    /// What each class counts: a number a class, or auto for the inverse of how often it is there
    #[arg(long, value_name = "auto|W,W,..")]
    class_weights: Option<ClassWeights>,
}

/// [`BoxLoss`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum BoxLossName {
    Giou,
    Diou,
    Ciou,
}

impl LossKnobs {
    /// Writes what was typed over the options.
    pub fn apply(&self, options: &mut LossOptions) {
        options.box_loss = match self.box_loss {
            Some(BoxLossName::Giou) => BoxLoss::Giou,
            Some(BoxLossName::Diou) => BoxLoss::Diou,
            Some(BoxLossName::Ciou) => BoxLoss::Ciou,
            None => options.box_loss,
        };
        options.label_smoothing = self.label_smoothing.unwrap_or(options.label_smoothing);
        options.focal = self.focal.or(options.focal);
        options.class_weights = self.class_weights.clone().or_else(|| options.class_weights.take());
    }
}
