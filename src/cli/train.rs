//! `train`: a network and a data set to a trained network.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use yoloslim::detect::{DetectOptions, Detector};
use yoloslim::journal::{End, Journal, read_or_begin};
use yoloslim::report::REPORT;
use yoloslim::run_folder::{RunConfig, RunFolder};
use yoloslim::shell;
use yoloslim::train::distil::read_teacher;
use yoloslim::train::{self, Event, Job, Sparsity, Strategy, Strength, TrainOptions, Trained, hyp};
use yoloslim::workers::Workers;
use yoloslim_core::graph::Graph;
use yoloslim_core::prune;
use yoloslim_core::record::RunRecord;
use yoloslim_core::{Error, Network, Result};

use super::distil_knobs::DistilKnobs;
use super::find_rate;
use super::interrupt::listen;
use super::knobs::{Data, StartArgs, TrainKnobs, read_options};
use super::loss_knobs::LossKnobs;
use super::net::{LEARNT, is_slim};
use super::numbers::count;
use super::profile::warn_if_uncalibrated;
use super::prune_knobs::{self, PruneKnobs};
use super::train_progress::TrainProgress;
use crate::term::{self, Next, Term, beside};

/// Train a net, from random or given weights, optionally with a sparsity penalty on the BN gammas
#[derive(Debug, Args)]
pub struct Train {
    #[command(flatten)]
    start: StartArgs,
    /// Data set: a Darknet .data, a YOLO .yaml, a COCO .json, or a folder of VOC, VisDrone or COCO
    #[arg(long, value_name = "DATA", required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Folder of the run, new or empty
    #[arg(short, long, value_name = "RUN", required_unless_present_any = ["resume", "find_lr"])]
    output: Option<PathBuf>,
    /// Go on with the run in this folder, where it was stopped
    #[arg(long, value_name = "RUN", conflicts_with_all = ["StartArgs", "data", "output", "epochs", "config", "hyp",
        "sparsity", "sparsity_strategy", "TrainKnobs", "LossKnobs", "DistilKnobs", "PruneKnobs"])]
    resume: Option<PathBuf>,
    /// Options from a TOML file; what is typed here wins
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
    /// Where schedule, batch and augmentation come from: the [net] section of the cfg, as Darknet trains
    #[arg(long, value_enum, value_name = "FROM")]
    hyp: Option<HypName>,
    /// Try rising learning rates over a hundred updates and print the loss of each; writes nothing
    #[arg(long, conflicts_with_all = ["resume", "output", "lr"])]
    find_lr: bool,
    /// Passes over the training images [default: 100]
    #[arg(long, value_name = "N", value_parser = count)]
    epochs: Option<usize>,
    /// L1 penalty on BN gammas, 0.01 say; auto finds it and draws what pruning to the target takes to zero
    #[arg(long, value_name = "S|auto")]
    sparsity: Option<Strength>,
    /// How the penalty changes over the run
    #[arg(long, value_enum, value_name = "STRATEGY", requires = "sparsity")]
    sparsity_strategy: Option<StrategyName>,
    #[command(flatten)]
    prune: PruneKnobs,
    #[command(flatten)]
    loss: LossKnobs,
    #[command(flatten)]
    distil: DistilKnobs,
    #[command(flatten)]
    knobs: TrainKnobs,
    /// Print one JSON document: the run's record
    #[arg(long, help_heading = "Options")]
    json: bool,
}

/// Where the hyperparameters come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HypName {
    Cfg,
}

/// What is wrong with telling what is going to be pruned where nothing is drawn to zero for it.
const TARGET_WITHOUT_AUTO: &str = "are of effect with --sparsity auto only";

/// The name of the only stage.
const STAGE: &str = "train";

/// [`Strategy`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StrategyName {
    /// The same to the end
    Constant,
    /// A hundredth after half of the epochs
    Decay,
    /// A hundredth for the largest 15 % of the gammas after half of the epochs
    Protect,
    /// Small gammas to zero while large ones are let be
    Polarization,
}

impl From<StrategyName> for Strategy {
    fn from(name: StrategyName) -> Self {
        match name {
            StrategyName::Constant => Self::Constant,
            StrategyName::Decay => Self::Decay,
            StrategyName::Protect => Self::Protect,
            StrategyName::Polarization => Self::Polarization,
        }
    }
}

impl Train {
    /// Fails where an option would be of no effect.
    pub fn check(&self) -> std::result::Result<(), String> {
        let auto = self.sparsity == Some(Strength::AUTO);
        // A config may say auto too, and is read later.
        let may_be_auto = auto || (self.sparsity.is_none() && self.config.is_some());
        if self.prune.any() && !may_be_auto {
            return Err(format!(
                "--target-flops and all that tells what is going to be pruned {TARGET_WITHOUT_AUTO}; add it, or leave them out"
            ));
        }
        strategy_has_effect(self.sparsity_strategy, auto)
    }

    pub fn run(self, term: Term, workers: &Workers) -> Result<()> {
        if self.find_lr {
            let (options, start, data, _) = self.inputs(term, workers)?;
            return find_rate::run(&options, start, &data, self.json, term, workers);
        }
        let (folder, start, config, data) = self.prepare(term, workers)?;
        let options: &TrainOptions = &config.options;
        let progress = RefCell::new(TrainProgress::new(term, options.epochs));
        let mut record = read_or_begin(folder.path(), &config.command, &data.train, &data.val)?;
        if record.stage(STAGE).is_some() {
            term.note("the run is complete; to train on, start another from its last.cfg and last.weights");
            return if workers.leads() { self.tell(&record, &folder, &config, term) } else { Ok(()) };
        }
        let mut journal = match workers.leads() {
            true => Some(Journal::begin(folder.path(), &mut record, STAGE, options.epochs, folder.path())?),
            false => None,
        };
        let interrupt = listen(term, shell::resume("train", folder.path()))?;
        let job = Job {
            teacher: read_teacher(options.distil.as_ref(), &start.graph)?,
            network: start,
            dataset: &data.train,
            val: Some(&data.val),
            options,
            folder: folder.path(),
            threads: rayon::current_num_threads(),
            workers,
            rounding: None,
            interrupt,
        };
        let images = data.val.samples.len();
        let mut validate = |n: &Network| {
            let mut shown = |done| progress.borrow_mut().work("evaluating", done, images);
            Detector::new(n, DetectOptions::for_evaluation(options.size))?.evaluate_with(&data.val, &mut shown)
        };
        let trained = train::run(job, &mut validate, &mut |event| {
            let warning = match (&event, &mut journal) {
                (Event::Epoch(epoch), Some(journal)) => journal.epoch(epoch),
                _ => None,
            };
            progress.borrow_mut().show(event);
            warning.iter().for_each(|warning| progress.borrow_mut().show(Event::Warning(warning)));
        });
        if let (Err(_), Some(journal)) = (&trained, &mut journal) {
            // What went wrong first is told, not that this can't be written either.
            let _ = journal.pause();
        }
        let Trained { network, epochs, evaluation } = trained?;
        let Some(journal) = journal else { return Ok(()) };
        journal.end(End { network: &network, epochs, evaluation, val: &data.val, size: options.size })?;
        self.tell(&record, &folder, &config, term)
    }

    /// What the run came to, and what comes next.
    fn tell(&self, record: &RunRecord, folder: &RunFolder, config: &RunConfig<TrainOptions>, term: Term) -> Result<()> {
        if self.json {
            return term::print_json(record);
        }
        term::print(&yoloslim::slim::table(record))?;
        let path = folder.path().display();
        let board = shell::line(&["tensorboard", "--logdir", &path.to_string()]);
        term.note(format!("how it went: {path}/{REPORT}, for a browser; also: {board}"));
        let best = if folder.path().join("best.weights").is_file() { " (best.* scored highest on val)" } else { "" };
        term.wrote(format!("{path}/last.cfg and last.weights{best}"));
        let map50 = record.stages.last().and_then(|s| s.evaluation.as_ref()).and_then(|e| e.map50);
        term.next(next(config, self.data.as_deref(), folder.path(), map50));
        Ok(())
    }

    /// A new run or one to go on with, all inputs checked.
    fn prepare(&self, term: Term, workers: &Workers) -> Result<(RunFolder, Network, RunConfig<TrainOptions>, Data)> {
        if let Some(path) = &self.resume {
            let (folder, start, config) = RunFolder::open(path, workers)?;
            let config: RunConfig<TrainOptions> = config;
            let data = Data::read(&config.data, start.graph.classes(), term)?;
            folder.name_classes(&data.train.names)?;
            return Ok((folder, start, config, data));
        }
        let (options, start, data, data_path) = self.inputs(term, workers)?;
        let Some(output) = &self.output else {
            return Err(Error::at("train", "-o is missing").fix("give the folder of the run"));
        };
        let (data_path, command) = (absolute(data_path)?, shell::typed());
        let config = RunConfig { data: data_path, command, workers: workers.size(), options };
        let folder = RunFolder::create(output, &start, &config, workers)?;
        folder.name_classes(&data.train.names)?;
        Ok((folder, start, config, data))
    }

    /// What a new run works on, checked.
    fn inputs(&self, term: Term, workers: &Workers) -> Result<(TrainOptions, Network, Data, &Path)> {
        let mut options: TrainOptions = read_options(self.config.as_deref())?;
        if let (Some(HypName::Cfg), Some(cfg)) = (self.hyp, &self.start.cfg) {
            apply_cfg(cfg, &mut options, term)?;
        }
        self.knobs.apply(&mut options);
        options.batch = options.batch.saturating_mul(workers.size());
        self.loss.apply(&mut options.loss);
        self.distil.apply(&mut options.distil)?;
        self.apply_sparsity(&mut options, term)?;
        let Some(data_path) = &self.data else {
            return Err(Error::at("train", "--data is missing").fix("give a data set"));
        };
        options.check()?;
        let start = self.start.read(options.size, options.seed, term)?;
        let data = Data::to_learn_from(data_path, start.graph.classes(), term)?;
        options.epochs = self.epochs.unwrap_or(options.epochs);
        let chosen = self.epochs.is_some() || self.hyp.is_none();
        hyp::settle(&mut options, data.train.samples.len(), chosen).iter().for_each(|warning| term.warn(warning));
        options.check()?;
        if options.patience.is_some() && data.val.samples.iter().all(|sample| sample.objects.is_empty()) {
            return Err(Error::at("--patience", "the validation images hold no objects to measure accuracy by")
                .fix("label some, or leave --patience out"));
        }
        let teacher = read_teacher(options.distil.as_ref(), &start.graph)?;
        train::check_inputs(&start, teacher, &data.train, &options, workers)?;
        if let Some(target) = &options.target {
            // A target out of reach fails here, not when it is planned for.
            prune::rehearse(&start, target, false)?;
            if target.has_latency() {
                warn_if_uncalibrated(&target.latency_profile()?, term);
            }
        }
        Ok((options, start, data, data_path))
    }

    /// The penalty, and the pruning that it is for.
    fn apply_sparsity(&self, options: &mut TrainOptions, term: Term) -> Result<()> {
        if let Some(s) = self.sparsity {
            let said = options.sparsity.take().unwrap_or_else(Sparsity::auto);
            let strategy = self.sparsity_strategy.map_or(said.strategy, Strategy::from);
            options.sparsity = Some(Sparsity { s, strategy, ..said });
        }
        let auto = options.sparsity.as_ref().is_some_and(|sparsity| sparsity.s == Strength::AUTO);
        if self.prune.any() && !auto {
            return Err(Error::at("--target-flops and all that tells what is going to be pruned", TARGET_WITHOUT_AUTO)
                .fix("add --sparsity auto, or leave them out"));
        }
        if auto && !self.prune.any() && options.target.is_none() {
            term.note("no target was given: half of the channels (--channels 0.5) are drawn to zero");
        }
        options.target = auto.then(|| self.prune.over(options.target.take().unwrap_or_default()));
        Ok(())
    }
}

/// Writes what the cfg says of training over the options.
fn apply_cfg(path: &Path, options: &mut TrainOptions, term: Term) -> Result<()> {
    let cfg = Graph::read(path)?.0;
    hyp::apply(&cfg, options).map_err(|e| e.inside(path.display()))?;
    let ignored = hyp::ignored(&cfg);
    if !ignored.is_empty() {
        term.warn(format!("--hyp cfg: of no effect here: {}", ignored.join(", ")));
    }
    Ok(())
}

/// Fails where a strategy is typed though the controller decides when it acts on what.
pub fn strategy_has_effect(typed: Option<StrategyName>, auto: bool) -> std::result::Result<(), String> {
    if typed.is_some() && auto {
        return Err("--sparsity-strategy is of no effect with --sparsity auto, which finds its own way".to_owned());
    }
    Ok(())
}

/// A net that has learnt little is trained on, a plain one trained sparse, a sparse one pruned, and one that is slim already
/// goes to its runtime.
fn next(config: &RunConfig<TrainOptions>, typed: Option<&Path>, run: &Path, map50: Option<f64>) -> Next {
    let data = Some(typed.unwrap_or(&config.data));
    // Not the best: what the validation images have chosen is not measured by them any more.
    let stem = "last";
    let usual = || ["--target-flops", "0.7"].map(str::to_owned).to_vec();
    let target = config.options.target.as_ref().map_or_else(usual, prune_knobs::typed);
    if map50.is_some_and(|map50| map50 < LEARNT) {
        let more = format!("--epochs {}", config.options.epochs * 2);
        return Next::new("train").net(run, "last").data(data).with(&more).output(beside(run, "more"));
    }
    if config.options.sparsity.is_some() {
        return Next::new("prune").net(run, stem).data(data).words(target).output(beside(run, "slim"));
    }
    if config.command.iter().any(|word| is_slim(Path::new(word))) {
        return Next::new("export").net(run, stem).with("--format onnx").output(beside(run, "onnx"));
    }
    Next::new("train")
        .net(run, stem)
        .data(data)
        .with("--sparsity auto")
        .words(target)
        .with("--teacher")
        .net(run, stem)
        .output(beside(run, "sparse"))
}

/// The path as it will still hold when the run goes on from another folder.
pub fn absolute(path: &std::path::Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::at(path.display(), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::prune::{Groups, Normalise, PruneOptions, Target};

    #[test]
    fn what_comes_next_depends_on_what_was_trained() {
        let folder = tempfile::tempdir().unwrap();
        let (slim, run) = (folder.path().join("slim.cfg"), Path::new("run"));
        std::fs::write(&slim, "").unwrap();
        let sparse = TrainOptions { sparsity: Some(Sparsity::auto()), ..TrainOptions::default() };
        let target = Some(PruneOptions { target: Target::Params(0.4), ..PruneOptions::default() });
        let aimed = TrainOptions { target, ..sparse.clone() };
        let frozen = Some(PruneOptions {
            target: Target::Flops(0.5),
            layers: 2,
            groups: Groups::Frozen,
            normalise: Some(Normalise::None),
            min_keep: 0.3,
            multiple_of: 4,
            ..PruneOptions::default()
        });
        let held = TrainOptions { target: frozen, ..sparse.clone() };
        let holds =
            "--target-flops 0.5 --layers 2 --groups frozen --normalise none --min-keep 0.3 --multiple-of 4 -o run-slim";
        let as_held = format!("prune run/last.cfg run/last.weights --data D {holds}");
        for (cfg, options, wanted) in [
            ("a.cfg", TrainOptions::default(), "train run/last.cfg run/last.weights --data D --sparsity auto"),
            ("a.cfg", sparse, "prune run/last.cfg run/last.weights --data D --target-flops 0.7 -o run-slim"),
            ("a.cfg", aimed, "prune run/last.cfg run/last.weights --data D --target-params 0.4 -o run-slim"),
            ("a.cfg", held, as_held.as_str()),
            (slim.to_str().unwrap(), TrainOptions::default(), "export run/last.cfg run/last.weights --format onnx"),
        ] {
            let command = ["yoloslim", "train", cfg].map(str::to_owned).to_vec();
            let config = RunConfig { data: "/abs/D".into(), command, workers: 1, options };
            let said = next(&config, Some(Path::new("D")), run, Some(0.6)).to_string();
            assert!(said.starts_with(&format!("yoloslim {wanted}")), "{said}");
            let little = next(&config, Some(Path::new("D")), run, Some(0.02)).to_string();
            assert!(little.starts_with("yoloslim train run/last.cfg run/last.weights --data D --epochs "), "{little}");
            assert!(!said.contains("--data") || next(&config, None, run, None).to_string().contains("--data /abs/D"));
        }
    }
}
