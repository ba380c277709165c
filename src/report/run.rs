//! What a run's folder tells: the record, the nets' graphs and the plans.

use std::path::{Path, PathBuf};

use yoloslim_core::darknet::Cfg;
use yoloslim_core::graph::Graph;
use yoloslim_core::prune::PrunePlan;
use yoloslim_core::record::{EpochRecord, RunRecord, StageRecord};
use yoloslim_core::{Error, Result, files};

/// The record's name in a run's folder.
pub const RECORD: &str = "record.json";

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
    /// What could not be shown, and why.
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
        let slim = graph(&folder.join("slim.cfg"));
        let result = slim.as_ref().and_then(|slim| graphs.iter().rposition(|g| g.as_ref() == Some(slim)));
        let trained = record.running.is_none() && record.stages.last().is_some_and(|s| s.name == "train");
        let (plans, notes) = plans(folder, &record);
        Ok(Self {
            start: graph(&folder.join("start.cfg")),
            result: result.unwrap_or(record.stages.len().saturating_sub(1)),
            complete: trained || slim.is_some(),
            folder: folder.to_owned(),
            record,
            graphs,
            plans,
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

fn plans(folder: &Path, record: &RunRecord) -> (Vec<(String, PrunePlan)>, Vec<String>) {
    let (mut plans, mut notes) = (Vec::new(), Vec::new());
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
    (plans, notes)
}
