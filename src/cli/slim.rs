//! `slim`: the whole pipeline, from a net and a data set to a slim net.

use std::path::{Path, PathBuf};

use clap::Args;
use yoloslim::journal::read_or_begin;
use yoloslim::report::REPORT;
use yoloslim::run_folder::{RunConfig, RunFolder};
use yoloslim::shell;
use yoloslim::slim::{PICTURE, Pipeline, Progress, SlimOptions, table};
use yoloslim::train::Strength;
use yoloslim::workers::Workers;
use yoloslim_core::eval::NEXT_TO_NOTHING;
use yoloslim_core::prune::Criterion;
use yoloslim_core::record::RunRecord;
use yoloslim_core::{Error, Network, Result};

use super::distil_knobs::DistilKnobs;
use super::interrupt::listen;
use super::knobs::{Data, StartArgs, TrainKnobs, read_options};
use super::loss_knobs::LossKnobs;
use super::measure_knobs::MeasureKnobs;
use super::numbers::{count, share};
use super::profile::warn_if_uncalibrated;
use super::prune_knobs::PruneKnobs;
use super::train::{StrategyName, absolute, strategy_has_effect};
use super::train_progress::TrainProgress;
use crate::term::{self, Next, Term, beside};

/// Train, train on with a sparsity penalty, prune and fine-tune: the whole pipeline, resumable at every epoch
#[derive(Debug, Args)]
pub struct Slim {
    #[command(flatten)]
    start: StartArgs,
    /// Data set: a Darknet .data, a YOLO .yaml, a COCO .json, or a folder of VOC, VisDrone or COCO
    #[arg(long, value_name = "DATA", required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Folder of the run, new or empty
    #[arg(short, long, value_name = "RUN", required_unless_present = "resume")]
    output: Option<PathBuf>,
    /// Go on with the run in this folder, where it was stopped
    #[arg(long, value_name = "RUN", conflicts_with_all = ["StartArgs", "data", "output", "config", "no_teacher",
        "StageKnobs", "MeasureKnobs", "TrainKnobs", "LossKnobs", "DistilKnobs", "PruneKnobs"])]
    resume: Option<PathBuf>,
    /// Options from a TOML file such as a run's config.toml holds; what is typed here wins
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
    #[command(flatten)]
    stages: StageKnobs,
    #[command(flatten)]
    train: TrainKnobs,
    #[command(flatten)]
    loss: LossKnobs,
    #[command(flatten)]
    distil: DistilKnobs,
    /// Train sparse and fine-tune without a teacher; else the baseline teaches, or the net that --teacher names
    #[arg(long, help_heading = "Distillation", conflicts_with_all = ["teacher", "distil", "hint_layers", "teacher_cache"])]
    no_teacher: bool,
    #[command(flatten)]
    prune: PruneKnobs,
    #[command(flatten)]
    measured: MeasureKnobs,
    /// Print one JSON document: the run's record
    #[arg(long, help_heading = "Options")]
    json: bool,
}

/// How long each stage is, and how sparse.
#[derive(Debug, Args)]
#[command(next_help_heading = "Stages")]
struct StageKnobs {
    /// Epochs of the baseline; 0 takes the given weights as they are [default: 100]
    #[arg(long, value_name = "N")]
    baseline_epochs: Option<usize>,
    /// Epochs of sparsity training; 0 prunes without [default: 100]
    #[arg(long, value_name = "N")]
    sparse_epochs: Option<usize>,
    /// Epochs of fine-tuning; 0 ends with the pruned net [default: 100]
    #[arg(long, value_name = "N")]
    fine_tune_epochs: Option<usize>,
    /// L1 penalty on BN gammas while training sparse; auto draws just what pruning takes to zero [default: auto]
    #[arg(long, value_name = "S|auto")]
    sparsity: Option<Strength>,
    /// How the penalty changes over the sparse epochs
    #[arg(long, value_enum, value_name = "STRATEGY")]
    sparsity_strategy: Option<StrategyName>,
    /// Steps in which the net is pruned and fine-tuned, which share the epochs of fine-tuning [default: 1]
    #[arg(long, value_name = "N", value_parser = count)]
    iterations: Option<usize>,
    /// Loss of mAP@0.5 at which the steps end; the net of the step before is the result. A result below it is said [default: 0.05]
    #[arg(long, value_name = "F", value_parser = share::<f64>)]
    max_drop: Option<f64>,
}

impl StageKnobs {
    fn apply(&self, options: &mut SlimOptions) {
        options.baseline_epochs = self.baseline_epochs.unwrap_or(options.baseline_epochs);
        options.sparse_epochs = self.sparse_epochs.unwrap_or(options.sparse_epochs);
        options.fine_tune_epochs = self.fine_tune_epochs.unwrap_or(options.fine_tune_epochs);
        options.sparsity.s = self.sparsity.unwrap_or(options.sparsity.s);
        options.iterations = self.iterations.unwrap_or(options.iterations);
        options.max_drop = self.max_drop.unwrap_or(options.max_drop);
        options.sparsity.strategy = self.sparsity_strategy.map_or(options.sparsity.strategy, Into::into);
    }
}

impl Slim {
    /// Fails where an option would be of no effect.
    pub fn check(&self) -> std::result::Result<(), String> {
        let typed = &self.stages;
        // A config may say how strong the penalty is too, and is read later.
        let auto = typed.sparsity.map_or(self.config.is_none(), |s| s == Strength::AUTO);
        if typed.sparse_epochs == Some(0) && (typed.sparsity.is_some() || typed.sparsity_strategy.is_some()) {
            return Err("--sparsity is of no effect with --sparse-epochs 0".to_owned());
        }
        strategy_has_effect(typed.sparsity_strategy, auto)
    }

    pub fn run(self, term: Term, workers: &Workers) -> Result<()> {
        let (folder, start, config, data) = self.prepare(term, workers)?;
        let mut record = read_or_begin(folder.path(), &config.command, &data.train, &data.val)?;
        let pipeline = Pipeline {
            train: &data.train,
            val: &data.val,
            options: &config.options,
            folder: folder.path(),
            threads: rayon::current_num_threads(),
            workers,
            interrupt: listen(term, shell::resume("slim", folder.path()))?,
        };
        run_pipeline(&pipeline, start, &mut record, term)?;
        if !workers.leads() {
            return Ok(());
        }
        if self.json {
            return term::print_json(&record);
        }
        term::print(&table(&record))?;
        let path = folder.path().display();
        let board = shell::line(&["tensorboard", "--logdir", &path.to_string()]);
        term.note(format!("what was won and lost: {path}/{REPORT}, for a browser; also: {board}"));
        term.wrote(format!("{path}/slim.cfg, {path}/slim.weights and {path}/{PICTURE}"));
        term.next(next(&record, folder.path(), &config));
        Ok(())
    }

    /// A new run or one to go on with, all inputs checked.
    fn prepare(&self, term: Term, workers: &Workers) -> Result<(RunFolder, Network, RunConfig<SlimOptions>, Data)> {
        if let Some(path) = &self.resume {
            let (folder, start, config) = RunFolder::open::<SlimOptions>(path, workers)?;
            let data = Data::read(&config.data, start.graph.classes(), term)?;
            folder.name_classes(&data.train.names)?;
            return Ok((folder, start, config, data));
        }
        let mut options: SlimOptions = read_options(self.config.as_deref())?;
        self.stages.apply(&mut options);
        self.train.apply(&mut options.train);
        options.train.batch = options.train.batch.saturating_mul(workers.size());
        self.loss.apply(&mut options.train.loss);
        self.distil.apply(&mut options.train.distil)?;
        options.teach &= !self.no_teacher;
        options.prune = self.prune.over(options.prune);
        self.measured.check_blocks(options.prune.layers)?;
        options.by_data = self.measured.over(options.by_data);
        options.check()?;
        strategy_has_effect(self.stages.sparsity_strategy, options.sparsity.s == Strength::AUTO)
            .map_err(|cause| Error::at("slim", cause).fix("leave it out, or give --sparsity a number"))?;
        let (Some(data_path), Some(output)) = (&self.data, &self.output) else {
            return Err(Error::at("slim", "--data or -o is missing").fix("give both"));
        };
        let start = self.start.read(options.train.size, options.train.seed, term)?;
        if options.baseline_epochs == 0 && self.start.weights.is_none() {
            return Err(Error::at("--baseline-epochs", "0, but there are no weights to start from")
                .fix("give WEIGHTS or train a baseline"));
        }
        options.rehearse(&start)?;
        if options.sparse_epochs == 0 && options.prune.score == Criterion::Gamma {
            term.note("gammas that no penalty has drawn to zero say little: --score taylor asks the loss, for cuts down to about -70 %");
        }
        if options.prune.has_latency() {
            warn_if_uncalibrated(&options.prune.latency_profile()?, term);
        }
        let data = Data::to_learn_from(data_path, start.graph.classes(), term)?;
        options.rehearse_training(&start, &data.train, workers)?;
        let config =
            RunConfig { data: absolute(data_path)?, command: shell::typed(), workers: workers.size(), options };
        let folder = RunFolder::create(output, &start, &config, workers)?;
        folder.name_classes(&data.train.names)?;
        Ok((folder, start, config, data))
    }
}

/// A slim net goes to its runtime; one that finds next to nothing is trained on.
fn next(record: &RunRecord, run: &Path, config: &RunConfig<SlimOptions>) -> Next {
    let map50 = record.result().and_then(|stage| stage.evaluation.as_ref()?.map50);
    if map50.is_some_and(|map50| map50 < NEXT_TO_NOTHING) {
        return train_more(run, Some(&config.data), 2 * config.options.fine_tune_epochs.max(50));
    }
    let format = match config.options.prune.profile.as_deref() {
        Some(chip) if chip.starts_with("hi35") => "caffe",
        _ => "onnx",
    };
    let export = Next::new("export").net(run, "slim").with(&format!("--format {format}"));
    let export = if format == "caffe" { export.data(Some(&config.data)) } else { export };
    export.output(beside(run, format))
}

/// The slim net of a run goes on learning.
pub fn train_more(run: &Path, data: Option<&Path>, epochs: usize) -> Next {
    Next::new("train").net(run, "slim").data(data).with(&format!("--epochs {epochs}")).output(beside(run, "more"))
}

/// Runs the pipeline and shows how it goes.
pub fn run_pipeline(pipeline: &Pipeline, start: Network, record: &mut RunRecord, term: Term) -> Result<Network> {
    let mut bar: Option<TrainProgress> = None;
    let mut works = term.works();
    pipeline.run(start, record, &mut |progress| match progress {
        Progress::Stage { name, epochs, complete: false } => {
            term.note(format!("stage: {name}"));
            bar = epochs.map(|epochs| TrainProgress::new(term, epochs));
        }
        Progress::Stage { name, .. } => term.note(format!("stage: {name} is complete")),
        Progress::Train(event) => {
            if let Some(bar) = &mut bar {
                bar.show(event);
            }
        }
        Progress::Work(work) => match &mut bar {
            Some(bar) => bar.work(work.what, work.done, work.of),
            None => works.show(work.what, work.done, work.of),
        },
        Progress::Note(note) => term.note(note),
        Progress::Plan(plan) => {
            works.finish();
            term.line(plan);
            plan.warnings().iter().for_each(|warning| term.warn(warning));
        }
        Progress::Warning(warning) => term.warn(warning),
        Progress::Proof(difference) => {
            term.note(format!("proof: heads differ by {difference:.1e} of their largest value at most"));
        }
    })
}
