//! What the stages of a run write down and reports read.

use std::collections::BTreeMap;
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
    /// Mean weighted losses of distillation, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub distilled: BTreeMap<String, f64>,
    /// Rate of the epoch's last step.
    pub learning_rate: f64,
    /// mAP at IoU 0.50:0.95 on the validation images, where it was measured.
    pub map: Option<f64>,
    /// mAP at IoU 0.5 on the validation images, where it was measured.
    pub map50: Option<f64>,
    /// Distribution of the absolute BN gammas after the epoch.
    pub gammas: Option<GammaSummary>,
    /// What the controller of `--sparsity auto` did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<SparsityRecord>,
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

/// One epoch of `--sparsity auto`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SparsityRecord {
    /// The factor of the penalty in this epoch.
    pub s: f64,
    /// Channels that pruning to the target takes: those that the penalty acts on.
    pub targets: usize,
    /// Those of them whose gamma was zero before the epoch.
    pub reached: usize,
    /// The |gamma| that 95 % of them did not exceed before the epoch.
    pub bound: f32,
    /// How far the penalty alone would move a gamma in this epoch.
    pub reach: f64,
    /// mAP@0.5 that the run began with.
    pub start: Option<f64>,
    /// Whether the factor was eased because accuracy was too low.
    pub eased: bool,
    /// Whether accuracy was too low when there was no time left to ease.
    pub late: bool,
}

impl SparsityRecord {
    /// A warning that belongs to this epoch, given those before: accuracy fell too far when it can still be helped by
    /// easing (said once), or when it can't any more.
    #[must_use]
    pub fn warning(&self, before: &[EpochRecord]) -> Option<String> {
        let said = |flag: fn(&Self) -> bool| before.iter().filter_map(|e| e.sparsity.as_ref()).any(flag);
        let map50 = before.last().and_then(|e| e.map50).zip(self.start);
        let fall = map50.map(|(now, start)| format!("mAP@0.5 is {now:.4} and was {start:.4} at the start"))?;
        if self.late && !said(|r| r.late) {
            return Some(format!(
                "{fall}: the target takes more than this net can spare in so few epochs; train longer, or aim lower"
            ));
        }
        (self.eased && !said(|r| r.eased)).then(|| format!("{fall}: the penalty is eased while there is time"))
    }
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
    /// The largest share of all channels, smallest |gamma| first, that together hold no more than a hundredth of all
    /// |gamma|: what can be pruned without much harm.
    #[serde(default)]
    pub safe: f64,
    /// The same by layer.
    #[serde(default)]
    pub layers: Vec<LayerGammas>,
}

/// The absolute BN gammas of one layer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LayerGammas {
    /// Layer index.
    pub layer: usize,
    /// Its channels.
    pub channels: usize,
    /// Minimum, quartiles and maximum.
    pub quantiles: [f32; 5],
    /// Share of its channels that are near zero, by the limit of the whole network.
    pub near_zero: f64,
}

/// The share of all |gamma| that counts as little.
const LITTLE: f32 = 0.01;

impl GammaSummary {
    /// Summarises the gammas of layers, given as `(layer, gammas)`; none for no gammas.
    #[must_use]
    pub fn new<'a>(layers: impl IntoIterator<Item = (usize, &'a [f32])>) -> Option<Self> {
        let layers: Vec<(usize, Vec<f32>)> = layers.into_iter().map(|(layer, g)| (layer, ascending(g))).collect();
        let all: Vec<f32> = layers.iter().flat_map(|(_, gammas)| gammas.iter().copied()).collect();
        let sorted = ascending(&all);
        let quantiles = quantiles(&sorted)?;
        let top = &sorted[sorted.len() - (sorted.len() / 10).max(1)..];
        let limit = top.iter().sum::<f32>() / top.len() as f32 / 100.0;
        let share = |n: usize, of: usize| n as f64 / of as f64;
        let near_zero = |sorted: &[f32]| share(sorted.partition_point(|g| *g <= limit), sorted.len());
        let (total, mut sum) = (sorted.iter().sum::<f32>(), 0.0);
        let safe = sorted.iter().take_while(|g| {
            sum += **g;
            sum <= LITTLE * total
        });
        Some(Self {
            quantiles,
            near_zero: near_zero(&sorted),
            zero: share(sorted.partition_point(|g| *g == 0.0), sorted.len()),
            safe: share(safe.count(), sorted.len()),
            layers: layers
                .iter()
                .filter_map(|(layer, gammas)| {
                    Some(LayerGammas {
                        layer: *layer,
                        channels: gammas.len(),
                        quantiles: self::quantiles(gammas)?,
                        near_zero: near_zero(gammas),
                    })
                })
                .collect(),
        })
    }
}

/// Absolute values, ascending.
fn ascending(gammas: &[f32]) -> Vec<f32> {
    let mut sorted: Vec<f32> = gammas.iter().map(|g| g.abs()).collect();
    sorted.sort_by(f32::total_cmp);
    sorted
}

/// Minimum, quartiles and maximum; none of no values.
fn quantiles(sorted: &[f32]) -> Option<[f32; 5]> {
    let last = sorted.len().checked_sub(1)?;
    Some([0, 1, 2, 3, 4].map(|q| sorted[last * q / 4]))
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
        let summary = GammaSummary::new([(0, &[0.0, -1.0, 0.5][..]), (3, &[0.0, 0.001])]).unwrap();
        assert_eq!(summary.quantiles, [0.0, 0.0, 0.001, 0.5, 1.0]);
        assert_eq!((summary.zero, summary.near_zero, summary.safe), (0.4, 0.6, 0.6));
        let layer = LayerGammas { layer: 3, channels: 2, quantiles: [0.0, 0.0, 0.0, 0.0, 0.001], near_zero: 1.0 };
        assert_eq!(summary.layers[1], layer);
        assert_eq!(GammaSummary::new([]), None);
    }
}
