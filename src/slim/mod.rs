//! The whole pipeline: baseline, sparsity, prune, fine-tune; each stage's network and record are kept, and a run
//! that was stopped goes on where it was.

mod alone;
mod floor;
mod options;
mod pictures;
mod steps;
mod table;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use yoloslim_core::labels::Dataset;
use yoloslim_core::prune::{PruneOptions, PrunePlan};
use yoloslim_core::record::{EpochRecord, RECORD, RunRecord};
use yoloslim_core::{Network, Result, prune};

pub use alone::slim_alone;
use floor::Standing;
pub use options::SlimOptions;
use pictures::compare;
use steps::Step;
pub use table::table;

use crate::detect::{DetectOptions, Detector};
use crate::journal::{End, Journal};
use crate::model::time_in_turn;
use crate::prove::prove_with;
use crate::report;
use crate::search::Work;
use crate::train::{self, Event, Interrupt, Job, TrainOptions};
use crate::workers::Workers;

/// Validation images on that picture.
const PICTURED: usize = 4;

/// The picture's name in a run's folder.
pub const PICTURE: &str = "detections.jpg";

/// A pipeline on its data, in its folder.
pub struct Pipeline<'a> {
    /// The images to train on.
    pub train: &'a Dataset,
    /// The images to measure on.
    pub val: &'a Dataset,
    /// How.
    pub options: &'a SlimOptions,
    /// The run's folder, which exists.
    pub folder: &'a Path,
    /// Threads of the loader.
    pub threads: usize,
    /// Who does it together: all of them train, and the leader does the rest.
    pub workers: &'a Workers,
    /// Who may ask to stop.
    pub interrupt: Interrupt,
}

/// What the pipeline tells its observer.
pub enum Progress<'a> {
    /// A stage begins, or is passed over because it is complete.
    Stage {
        /// Its name.
        name: &'a str,
        /// Its epochs, where it trains.
        epochs: Option<usize>,
        /// Whether an earlier run has completed it.
        complete: bool,
    },
    /// A training stage goes on.
    Train(Event<'a>),
    /// A pruning measures or tries something.
    Work(Work),
    /// Something good to know.
    Note(&'a str),
    /// The plan, before it is done.
    Plan(&'a PrunePlan),
    /// The largest relative difference between the masked and the slim net's heads.
    Proof(f64),
    /// Something that the user should know.
    Warning(&'a str),
}

/// Whoever is told how a pipeline goes on.
pub type Observer<'o> = dyn FnMut(Progress) + 'o;

/// A stage's outcome.
struct Outcome {
    network: Network,
    epochs: Vec<EpochRecord>,
}

impl Pipeline<'_> {
    /// Runs all stages that are not complete; writes `slim.cfg`, `slim.weights` and a picture of what the baseline and
    /// the slim net find.
    ///
    /// # Errors
    /// Whatever a stage fails on; the stages before it are kept.
    pub fn run(&self, start: Network, record: &mut RunRecord, observe: &mut Observer) -> Result<Network> {
        let o = self.options;
        // Nothing is written before every worker has read what is there.
        self.workers.meet();
        let baseline =
            self.stage("baseline", Some(o.baseline_epochs), record, observe, |observe| match o.baseline_epochs {
                0 => Ok(Outcome { network: start, epochs: Vec::new() }),
                _ => self.train_stage(start, "baseline", &o.baseline(), observe),
            })?;
        let sparse = match o.sparse_epochs {
            0 => baseline,
            _ => {
                let first = Step { number: 1, of: o.iterations };
                let options = o.sparse(first.options(&o.prune, &baseline, &baseline)?);
                self.stage("sparse", Some(o.sparse_epochs), record, observe, |observe| {
                    self.train_stage(baseline, "sparse", &options, observe)
                })?
            }
        };
        let slim = self.prune_and_fine_tune(sparse, record, observe)?;
        if !self.workers.leads() {
            return Ok(slim);
        }
        slim.write(self.folder, "slim")?;
        observe(Progress::Work(Work { what: "timing nets", done: 0, of: 1 }));
        self.time_stages(record)?;
        observe(Progress::Work(Work { what: "timing nets", done: 1, of: 1 }));
        record.write(&self.folder.join(RECORD))?;
        compare(&self.network_of("baseline")?, &slim, self.val, PICTURED, &self.folder.join(PICTURE))?;
        report::write(self.folder)?;
        Ok(slim)
    }

    /// Prunes and fine-tunes, in as many steps as asked for; a step that costs too much accuracy is the last, and the net
    /// of the one before is the result. Of the first step it is its own, for there is none before.
    fn prune_and_fine_tune(&self, start: Network, record: &mut RunRecord, observe: &mut Observer) -> Result<Network> {
        let o = self.options;
        let (original, mut best) = (start.clone(), start);
        for number in 1..=o.iterations {
            let step = Step { number, of: o.iterations };
            let (name, options) = (step.name("pruned"), step.options(&o.prune, &original, &best)?);
            let pruned = self.stage(&name, None, record, observe, |observe| {
                self.prune_stage(&best, &options, &name, observe).map_err(|e| step.explain(e))
            })?;
            let (slim, last) = match o.fine_tune_epochs {
                0 => (pruned, name),
                epochs => {
                    let name = step.name("fine-tuned");
                    let epochs = step.share_of(epochs);
                    let fine_tune = match step.next() {
                        // What comes next is drawn to zero meanwhile: without, it would grow again.
                        Some(next) if o.sparse_epochs > 0 => {
                            let target = next.options(&o.prune, &original, &pruned)?;
                            o.fine_tune_sparse(epochs, target)
                        }
                        _ => TrainOptions { epochs, ..o.fine_tune() },
                    };
                    let slim = self.stage(&name, Some(fine_tune.epochs), record, observe, |observe| {
                        self.train_stage(pruned, &name, &fine_tune, observe)
                    })?;
                    (slim, name)
                }
            };
            let standing = Standing::of(record, &last, o.max_drop);
            if let Some(warning) = standing.warning(&last, number, o.max_drop) {
                observe(Progress::Warning(&warning));
            }
            if number == 1 || !standing.stops() {
                best = slim;
                record.result = Some(last);
            }
            if standing.stops() {
                if number < o.iterations {
                    let left = format!(
                        "the steps ended after {number} of {}: the net is wider than was asked for",
                        o.iterations
                    );
                    observe(Progress::Warning(&left));
                }
                break;
            }
        }
        Ok(best)
    }

    /// Times the nets of all stages in turn: those that the stages were timed by when they ended, hours apart, can't be
    /// compared. Stages of one architecture get one figure.
    fn time_stages(&self, record: &mut RunRecord) -> Result<()> {
        let mut networks: Vec<Network> = Vec::new();
        let mut number = Vec::new();
        for stage in &record.stages {
            let network = self.network_of(&stage.name)?;
            let known = networks.iter().position(|other| other.cfg == network.cfg);
            number.push(known.unwrap_or(networks.len()));
            if known.is_none() {
                networks.push(network);
            }
        }
        let seconds = time_in_turn(&networks);
        for (stage, number) in record.stages.iter_mut().zip(number) {
            stage.milliseconds = Some(seconds[number] * 1e3);
        }
        Ok(())
    }

    fn stage_folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The net that a complete stage has left.
    fn network_of(&self, stage: &str) -> Result<Network> {
        let folder = self.stage_folder(stage);
        Network::read(&folder.join("result.cfg"), &folder.join("result.weights")).map_err(|e| {
            e.fix(format!(
                "put it back, or remove {RECORD} from the run's folder: --resume makes it from the checkpoints"
            ))
        })
    }

    /// Runs a stage unless the record says that it is complete; then its network is read.
    fn stage(
        &self,
        name: &str,
        epochs: Option<usize>,
        record: &mut RunRecord,
        observe: &mut Observer,
        run: impl FnOnce(&mut Observer) -> Result<Outcome>,
    ) -> Result<Network> {
        let folder = self.stage_folder(name);
        let complete = record.stage(name).is_some();
        if !complete && self.interrupt.asked_of_any(self.workers) {
            return Err(self.interrupt.stopped(&format!("before the stage {name}")));
        }
        observe(Progress::Stage { name, epochs, complete });
        if complete {
            return self.network_of(name);
        }
        if !self.workers.leads() {
            if epochs.is_some() {
                run(observe)?;
            }
            return self.follow(name, record);
        }
        yoloslim_core::files::create_folder(&folder)?;
        let mut journal = Journal::begin(self.folder, record, name, epochs.unwrap_or(0), &folder)?;
        let outcome = run(&mut |progress| {
            let warning = match &progress {
                Progress::Train(Event::Epoch(epoch)) => journal.epoch(epoch),
                _ => None,
            };
            observe(progress);
            warning.iter().for_each(|warning| observe(Progress::Train(Event::Warning(warning))));
        });
        let Outcome { network, epochs } = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // What went wrong first is told, not that this can't be written either.
                let _ = journal.pause();
                return Err(error);
            }
        };
        network.write(&folder, "result")?;
        let evaluation = self.validate(&network, observe)?;
        observe(Progress::Work(Work { what: "timing layers", done: 0, of: 1 }));
        let (evaluation, val, size) = (Some(evaluation), self.val, self.options.train.size);
        journal.end(End { network: &network, epochs, evaluation, val, size })?;
        observe(Progress::Work(Work { what: "timing layers", done: 1, of: 1 }));
        self.workers.meet();
        self.workers.meet();
        Ok(network)
    }

    /// Waits for the leader to complete a stage and reads what it has written, while the leader waits in turn.
    fn follow(&self, stage: &str, record: &mut RunRecord) -> Result<Network> {
        self.workers.meet();
        *record = RunRecord::read(&self.folder.join(RECORD))?;
        let network = self.network_of(stage)?;
        self.workers.meet();
        Ok(network)
    }

    fn validate(&self, network: &Network, observe: &mut Observer) -> Result<yoloslim_core::eval::Evaluation> {
        let of = self.val.samples.len();
        let mut told = |done| observe(Progress::Work(Work { what: "evaluating", done, of }));
        let mut detector = Detector::new(network, DetectOptions::for_evaluation(self.options.train.size))?;
        detector.evaluate_with(self.val, &mut told)
    }

    fn train_stage(
        &self,
        network: Network,
        name: &str,
        options: &TrainOptions,
        observe: &mut Observer,
    ) -> Result<Outcome> {
        let folder = self.stage_folder(name);
        let teacher = self.teacher(options)?;
        let job = Job {
            network,
            teacher,
            dataset: self.train,
            val: Some(self.val),
            options,
            folder: &folder,
            threads: self.threads,
            workers: self.workers,
            rounding: None,
            interrupt: self.interrupt.clone(),
        };
        // Validation and training tell the same observer, in turn.
        let observe = RefCell::new(observe);
        let mut validate = |n: &Network| self.validate(n, &mut |progress| (*observe.borrow_mut())(progress));
        let trained = train::run(job, &mut validate, &mut |event| (*observe.borrow_mut())(Progress::Train(event)))?;
        Ok(Outcome { network: trained.network, epochs: trained.epochs })
    }

    /// Who teaches a stage: whom the options name, else the baseline; none where nothing is distilled.
    fn teacher(&self, options: &TrainOptions) -> Result<Option<Network>> {
        let Some(distil) = &options.distil else { return Ok(None) };
        if let Some(files) = &distil.teacher {
            return files.read().map(Some);
        }
        self.network_of("baseline").map(Some)
    }

    fn prune_stage(
        &self,
        network: &Network,
        options: &PruneOptions,
        name: &str,
        observe: &mut Observer,
    ) -> Result<Outcome> {
        let (by_data, train, seed) = (&self.options.by_data, Some(self.train), self.options.train.seed);
        let mut working = |work| observe(Progress::Work(work));
        let evidence = by_data.evidence(network, options, train, self.threads, &mut working)?;
        let choice = by_data.choose(network, options, &evidence, (train, seed), &mut working)?;
        choice.tried.iter().for_each(|line| observe(Progress::Note(line)));
        observe(Progress::Plan(&choice.plan));
        let pruned = prune::apply(network, &choice.plan)?;
        let mut working = |what, done, of| observe(Progress::Work(Work { what, done, of }));
        let proof = prove_with(&pruned, &mut |done, of| working("proving", done, of))?;
        working("measuring statistics", 0, 1);
        let network = by_data.with_statistics(pruned.compact, self.train)?;
        working("measuring statistics", 1, 1);
        observe(Progress::Proof(proof));
        choice.plan.save(&self.stage_folder(name).join("plan.json"))?;
        Ok(Outcome { network, epochs: Vec::new() })
    }
}
