//! What a run's folder tells: the record, the nets' graphs and the plans.

use std::path::{Path, PathBuf};

use yoloslim_core::cost::profile::Profile;
use yoloslim_core::darknet::Cfg;
use yoloslim_core::graph::Graph;
use yoloslim_core::prune::PrunePlan;
use yoloslim_core::record::{EpochRecord, RECORD, RunRecord, StageRecord};
use yoloslim_core::{Error, Result, files};

/// A run as reports see it.
pub struct Run {
    /// Its folder.
    pub folder: PathBuf,
    /// What its stages wrote down.
    pub record: RunRecord,
    /// The net that it started from.
    pub start: Option<Graph>,
    /// The nets of the complete stages, in the record's order; none where the cfg is missing.
    pub graphs: Vec<Option<Graph>>,
    /// The plans of its prunings with their stages' names, in order.
    pub plans: Vec<(String, PrunePlan)>,
    /// Whether all stages are done.
    pub complete: bool,
    /// The stage whose net is the result.
    result: usize,
    /// The devices that prunings had a budget of milliseconds on, beside those that are built in.
    pub profiles: Vec<Profile>,
    /// What was warned of while the run went on; what could not be shown, and why.
    pub notes: Vec<String>,
}

/// A stretch of training: a stage and its epochs.
pub struct Training<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// Its epochs.
    pub epochs: &'a [EpochRecord],
    /// How many it is going to have.
    pub planned: usize,
}

impl Run {
    /// Reads a run's folder. What is missing or of another version is left out, with a note.
    ///
    /// # Errors
    /// A folder without a record.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(RECORD);
        if !path.is_file() {
            return Err(Error::at(folder.display(), "there is no record of a run in this folder")
                .fix("give the folder that was given to slim, train or demo with -o (demo's is DIR/run)"));
        }
        let record = RunRecord::read(&path)?;
        let graphs: Vec<Option<Graph>> = record.stages.iter().map(|s| graph(&cfg_of(folder, &s.name))).collect();
        let result = record.result().and_then(|result| record.stages.iter().position(|s| s.name == result.name));
        let trained = record.running.is_none() && record.stages.last().is_some_and(|s| s.name == "train");
        let mut notes = warnings(&record);
        let plans = plans(folder, &record, &mut notes);
        let profiles = profiles(&plans, &record, &mut notes);
        Ok(Self {
            start: graph(&folder.join("start.cfg")),
            result: result.unwrap_or(0),
            complete: trained || folder.join("slim.cfg").is_file(),
            folder: folder.to_owned(),
            record,
            graphs,
            plans,
            profiles,
            notes,
        })
    }

    /// The first complete stage: what everything is compared with.
    pub fn first(&self) -> Option<&StageRecord> {
        self.record.stages.first()
    }

    /// The stage whose net is the result so far, where it is another than the first.
    pub fn last(&self) -> Option<&StageRecord> {
        self.record.stages.get(self.result).filter(|_| self.result > 0)
    }

    /// The nets of [`Run::first`] and [`Run::last`].
    pub fn graphs(&self) -> (Option<&Graph>, Option<&Graph>) {
        let first = self.graphs.first().and_then(Option::as_ref).or(self.start.as_ref());
        (first, self.graphs.get(self.result).filter(|_| self.result > 0).and_then(Option::as_ref))
    }

    /// The stages that train, in order, that under way included.
    pub fn trainings(&self) -> Vec<Training<'_>> {
        let complete = self.record.stages.iter().map(|s| (s.name.as_str(), s.epochs.as_slice(), s.epochs.len()));
        let running = self.record.running.iter().map(|r| (r.name.as_str(), r.epochs.as_slice(), r.planned));
        let some = complete.chain(running).filter(|(_, epochs, _)| !epochs.is_empty());
        some.map(|(stage, epochs, planned)| Training { stage, epochs, planned }).collect()
    }

    /// The class names, as far as they are known.
    pub fn class_name(&self, class: usize) -> String {
        let names = self.record.data.as_ref().map(|d| d.names.as_slice()).unwrap_or_default();
        names.get(class).cloned().unwrap_or_else(|| format!("class {class}"))
    }
}

fn cfg_of(folder: &Path, stage: &str) -> PathBuf {
    let own = folder.join(stage).join("result.cfg");
    if own.is_file() { own } else { folder.join("last.cfg") }
}

fn graph(path: &Path) -> Option<Graph> {
    let cfg = Cfg::parse(&files::read(path).ok()?).ok()?;
    Graph::from_cfg(&cfg).ok()
}

/// What the controller of sparsity had to say, by stage and epoch.
fn warnings(record: &RunRecord) -> Vec<String> {
    let complete = record.stages.iter().map(|s| (&s.name, &s.epochs));
    let running = record.running.iter().map(|r| (&r.name, &r.epochs));
    let of = |(stage, epochs): (&String, &Vec<EpochRecord>)| {
        let warned = epochs.iter().enumerate().filter_map(|(i, epoch)| {
            let words = epoch.sparsity.as_ref()?.warning(&epochs[..i])?;
            Some(format!("Stage {stage}, epoch {}: {words}.", epoch.epoch + 1))
        });
        warned.collect::<Vec<_>>()
    };
    complete.chain(running).flat_map(of).collect()
}

/// The profiles that plans were made by and that are not built in, each once.
fn profiles(plans: &[(String, PrunePlan)], record: &RunRecord, notes: &mut Vec<String>) -> Vec<Profile> {
    let mut found: Vec<(&str, Profile)> = Vec::new();
    for name in plans.iter().filter_map(|(_, plan)| plan.options.profile.as_deref()) {
        let known = Profile::BUILT_IN.iter().any(|(built_in, _)| *built_in == name);
        if known || found.iter().any(|(other, _)| *other == name) {
            continue;
        }
        // A relative path starts where the run's command was typed.
        let there = record.environment.as_ref().map(|e| e.folder.join(name).display().to_string());
        match Profile::find(name).or_else(|e| there.map_or(Err(e), |path| Profile::find(&path))) {
            Ok(profile) => found.push((name, profile)),
            Err(e) => notes.push(format!("The profile that the run was pruned by isn't shown: {e}.")),
        }
    }
    found.into_iter().map(|(_, profile)| profile).collect()
}

fn plans(folder: &Path, record: &RunRecord, notes: &mut Vec<String>) -> Vec<(String, PrunePlan)> {
    let mut plans = Vec::new();
    for stage in &record.stages {
        let path = folder.join(&stage.name).join("plan.json");
        if !path.is_file() {
            continue;
        }
        match PrunePlan::load(&path) {
            Ok(plan) => plans.push((stage.name.clone(), plan)),
            Err(_) => notes.push(format!(
                "The plan of the stage {} was written by another version and can't be read: which channels it kept, and \
                 why, and the net as it is now, aren't shown.",
                stage.name
            )),
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::record::SparsityRecord;

    #[test]
    fn what_the_controller_warned_of_is_a_note_of_its_epoch() {
        let epoch = |epoch, map50, eased| EpochRecord {
            epoch,
            map50: Some(map50),
            sparsity: Some(SparsityRecord { start: Some(0.5), eased, ..SparsityRecord::default() }),
            ..EpochRecord::default()
        };
        let epochs = vec![epoch(0, 0.4, false), epoch(1, 0.3, true)];
        let stages = vec![StageRecord { name: "sparse".into(), epochs, ..StageRecord::default() }];
        let notes = warnings(&RunRecord { stages, ..RunRecord::default() });
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].starts_with("Stage sparse, epoch 2: mAP@0.5 is 0.4000 and was 0.5000"), "{notes:?}");
    }
}
