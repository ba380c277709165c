//! What the stages of a run write down and reports read.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::eval::Evaluation;
use crate::{Error, Result, files};

/// All that a run has done so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunRecord {
    /// The command line that started the run.
    pub command: Vec<String>,
    /// The program's version.
    pub version: String,
    /// The stages that are complete, in order.
    pub stages: Vec<StageRecord>,
}

/// One stage, complete.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StageRecord {
    /// `baseline`, `sparse`, `pruned`, `fine-tuned`, ..
    pub name: String,
    /// Trained numbers of its network.
    pub params: usize,
    /// 1e9 floating-point operations for one image.
    pub bflops: f64,
    /// Size of the weights file.
    pub bytes: usize,
    /// Time of one image on this machine's CPU, where it was measured.
    pub milliseconds: Option<f64>,
    /// Accuracy on the validation images, where it was measured.
    pub evaluation: Option<Evaluation>,
    /// The epochs of a training stage.
    pub epochs: Vec<EpochRecord>,
    /// Wall-clock time of the stage.
    pub seconds: f64,
}

/// One epoch of training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Counted from 0.
    pub epoch: usize,
    /// Mean loss of the epoch's images, by parts.
    pub loss: LossRecord,
    /// Rate of the epoch's last step.
    pub learning_rate: f64,
    /// mAP at IoU 0.50:0.95 on the validation images, where it was measured.
    pub map: Option<f64>,
    /// mAP at IoU 0.5 on the validation images, where it was measured.
    pub map50: Option<f64>,
    /// Distribution of the absolute BN gammas after the epoch.
    pub gammas: Option<GammaSummary>,
    /// Wall-clock time, validation included.
    pub seconds: f64,
    /// Share of the time that training waited for images.
    pub waited: f64,
}

/// The parts of the YOLO loss.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LossRecord {
    /// Box regression.
    #[serde(rename = "box")]
    pub boxes: f64,
    /// Objectness.
    pub objectness: f64,
    /// Classes.
    pub class: f64,
}

/// The distribution of absolute BN gammas over a network.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GammaSummary {
    /// Minimum, quartiles and maximum.
    pub quantiles: [f32; 5],
    /// Share below a hundredth of the mean of the largest tenth.
    pub near_zero: f64,
    /// Share that is exactly zero.
    pub zero: f64,
}

impl GammaSummary {
    /// Summarises gammas of any order; none for no gammas.
    #[must_use]
    pub fn new(gammas: impl IntoIterator<Item = f32>) -> Option<Self> {
        let mut sorted: Vec<f32> = gammas.into_iter().map(f32::abs).collect();
        sorted.sort_by(f32::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let top = &sorted[sorted.len() - (sorted.len() / 10).max(1)..];
        let limit = top.iter().sum::<f32>() / top.len() as f32 / 100.0;
        let share = |n: usize| n as f64 / sorted.len() as f64;
        Some(Self {
            quantiles: [0, 1, 2, 3, 4].map(|q| sorted[last * q / 4]),
            near_zero: share(sorted.partition_point(|g| *g <= limit)),
            zero: share(sorted.partition_point(|g| *g == 0.0)),
        })
    }
}

impl RunRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// A file that is missing or no record.
    pub fn read(path: &Path) -> Result<Self> {
        serde_json::from_slice(&files::read(path)?).map_err(|e| {
            Error::at(path.display(), format!("no run record: {e}")).fix("give the folder of a run of this version")
        })
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// A path that can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(|e| Error::at(path.display(), e))?;
        files::write_whole(path, &json)
    }

    /// The stage of that name, if it is complete.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&StageRecord> {
        self.stages.iter().find(|s| s.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gammas_are_summarised_by_size_whatever_their_sign() {
        let summary = GammaSummary::new([0.0, -1.0, 0.5, 0.0, 0.001]).unwrap();
        assert_eq!(summary.quantiles, [0.0, 0.0, 0.001, 0.5, 1.0]);
        assert_eq!((summary.zero, summary.near_zero), (0.4, 0.6));
        assert_eq!(GammaSummary::new([]), None);
    }
}
