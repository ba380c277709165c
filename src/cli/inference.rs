//! How images go through a net and detections come out of it, as typed.

use clap::{Args, ValueEnum};
use yoloslim::detect::DetectOptions;
use yoloslim::input_size::InputSize;
use yoloslim_core::boxes;

use super::numbers::share;

/// Options of inference.
#[derive(Debug, Args)]
pub struct InferenceArgs {
    /// Of two boxes of a class that overlap more, the better one stays
    #[arg(long, default_value_t = 0.45, value_name = "F", value_parser = share::<f64>)]
    iou: f64,
    /// Input size, 416 or 608x352 [default: the cfg's]
    #[arg(long, value_name = "N")]
    size: Option<InputSize>,
    /// How images are brought to that size: as training does here, or as AlexeyAB's Darknet trains
    #[arg(long, value_enum, default_value_t = Fit::Letterbox)]
    fit: Fit,
}

/// [`boxes::Fit`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Fit {
    /// With their aspect, on grey
    Letterbox,
    /// To the whole input
    Stretch,
}

impl InferenceArgs {
    /// With detections that score at least `conf`, `batch` images in a forward pass.
    pub fn options(&self, conf: f32, batch: usize) -> DetectOptions {
        let fit = match self.fit {
            Fit::Letterbox => boxes::Fit::Letterbox,
            Fit::Stretch => boxes::Fit::Stretch,
        };
        DetectOptions { conf, iou: self.iou, size: self.size.map(Into::into), fit, batch }
    }
}
