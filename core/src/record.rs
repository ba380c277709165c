//! What the stages of a run write down and reports read.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

mod gammas;
mod samples;
mod surroundings;

pub use gammas::{GammaSummary, Histogram, LayerGammas};
pub use samples::{Found, SampleObject, SampleRecord};
pub use surroundings::{DataRecord, Environment};

use crate::eval::Evaluation;
use crate::{Error, Result, files};

/// The record's name in a run's folder.
pub const RECORD: &str = "record.json";

/// All that a run has done so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunRecord {
    /// The command line that started the run.
    pub command: Vec<String>,
    /// The program's version.
    pub version: String,
    /// The machine that the run was started on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// What it was trained and measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataRecord>,
    /// The stages that are complete, in order.
    pub stages: Vec<StageRecord>,
    /// The stage that is under way, or was when the run was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningStage>,
    /// The stage whose net is the result: not always the last, for steps that cost too much are given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// A few validation images and what each stage's net finds on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<SampleRecord>,
}

/// A stage that is not complete.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunningStage {
    /// Its name.
    pub name: String,
    /// How many epochs it has; 0 where it doesn't train.
    pub planned: usize,
    /// The epochs that are done.
    pub epochs: Vec<EpochRecord>,
    /// Wall-clock time of all processes that have worked on it so far.
    #[serde(default)]
    pub seconds: f64,
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
    /// The same by layer of its cfg; 0 for a layer whose work is done in another's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layer_milliseconds: Vec<f64>,
    /// Distribution of the absolute BN gammas of its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gammas: Option<GammaSummary>,
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
    /// Batches that were left out of training, their loss or gradient being no number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
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
    /// Whether the gammas resist: they went down by less than a fifth of what the penalty alone would move them, so that
    /// the force that would bring them to zero in time is out of reach.
    #[serde(default)]
    pub resisted: bool,
    /// After the last epoch: how many of the channels that pruning to the target takes don't have a gamma of zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<usize>,
}

/// The mAP@0.5 that was measured last: not every epoch is validated.
#[must_use]
pub fn latest_map50(epochs: &[EpochRecord]) -> Option<f64> {
    epochs.iter().rev().find_map(|epoch| epoch.map50)
}

impl SparsityRecord {
    /// A warning that belongs to this epoch, given those before: accuracy fell too far when it can still be helped by
    /// easing (said once), or when it can't any more.
    #[must_use]
    pub fn warning(&self, before: &[EpochRecord]) -> Option<String> {
        let said = |flag: fn(&Self) -> bool| before.iter().filter_map(|e| e.sparsity.as_ref()).any(flag);
        let resists = "the loss holds the gammas that the target takes: the penalty moves them by less than a fifth of what \
                       it should, so they won't all be zero in time; train longer, or aim lower";
        let resists = (self.resisted && !said(|r| r.resisted)).then(|| resists.to_owned());
        let told: Vec<String> = resists.into_iter().chain(self.accuracy_warning(before, &said)).collect();
        (!told.is_empty()).then(|| told.join(". "))
    }

    fn accuracy_warning(&self, before: &[EpochRecord], said: &dyn Fn(fn(&Self) -> bool) -> bool) -> Option<String> {
        let map50 = latest_map50(before).zip(self.start);
        let fall = map50.map(|(now, start)| format!("mAP@0.5 is {now:.4} and was {start:.4} at the start"))?;
        if self.late && !said(|r| r.late) {
            return Some(format!(
                "{fall}: the target takes more than this net can spare in so few epochs; train longer, or aim lower"
            ));
        }
        (self.eased && !said(|r| r.eased)).then(|| format!("{fall}: the penalty is eased while there is time"))
    }
}

impl SparsityRecord {
    /// What to say after the last epoch, where some that should be zero are not.
    #[must_use]
    pub fn last_warning(&self) -> Option<String> {
        let left = self.left.filter(|left| *left > 0)?;
        Some(format!(
            "{left} of the {} channels that pruning to the target takes are not at zero, so pruning will cost accuracy; train \
             sparse for more epochs, or aim lower",
            self.targets
        ))
    }
}

impl RunRecord {
    /// The stage whose net is the result so far: the last, unless it was given up.
    #[must_use]
    pub fn result(&self) -> Option<&StageRecord> {
        self.result.as_deref().and_then(|name| self.stage(name)).or(self.stages.last())
    }

    /// Reads a record.
    ///
    /// # Errors
    /// A file that is missing or no record.
    pub fn read(path: &Path) -> Result<Self> {
        serde_json::from_slice(&files::read(path)?).map_err(|e| {
            Error::at(path.display(), format!("no run record: {e}")).fix(
                "give the folder of a run of this version; where the record is damaged, remove it, and --resume makes it anew \
                 from the checkpoints",
            )
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

    /// Notes that a stage has begun, unless it is the one that a stopped run was in.
    pub fn begin(&mut self, name: &str, planned: usize) {
        if self.running.as_ref().is_none_or(|running| running.name != name) {
            self.running = Some(RunningStage { name: name.to_owned(), planned, ..RunningStage::default() });
        }
    }

    /// Notes an epoch of the stage under way; one that is done a second time, after a resumption, counts once.
    pub fn add_epoch(&mut self, epoch: &EpochRecord) {
        if let Some(running) = &mut self.running {
            running.epochs.truncate(epoch.epoch);
            running.epochs.push(epoch.clone());
        }
    }

    /// Notes that the stage under way is complete.
    pub fn complete(&mut self, stage: StageRecord) {
        self.running = None;
        self.stages.push(stage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_under_way_keeps_its_epochs_over_a_resumption_and_becomes_a_complete_one() {
        let epoch = |epoch| EpochRecord { epoch, ..EpochRecord::default() };
        let mut record = RunRecord::default();
        record.begin("sparse", 3);
        record.add_epoch(&epoch(0));
        record.add_epoch(&epoch(1));
        record.begin("sparse", 3);
        record.add_epoch(&epoch(1));
        record.add_epoch(&epoch(2));
        let done = |r: &RunRecord| r.running.as_ref().map(|s| s.epochs.iter().map(|e| e.epoch).collect::<Vec<_>>());
        assert_eq!(done(&record), Some(vec![0, 1, 2]));
        record.complete(StageRecord { name: "sparse".into(), ..StageRecord::default() });
        assert_eq!((done(&record), record.stages.len()), (None, 1));
        record.begin("pruned", 0);
        assert_eq!(done(&record), Some(vec![]));
    }

    #[test]
    fn a_record_of_a_version_that_wrote_less_is_read() {
        let old = r#"{"command": ["yoloslim"], "version": "0.1.0", "stages": [{"name": "baseline", "params": 1,
            "bflops": 0.5, "bytes": 4, "milliseconds": null, "evaluation": null, "epochs": [], "seconds": 1.0}]}"#;
        let record: RunRecord = serde_json::from_str(old).unwrap();
        assert_eq!((record.stages[0].params, record.samples.len(), record.running), (1, 0, None));
    }
}
