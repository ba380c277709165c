//! The whole pipeline: baseline, sparsity, prune, fine-tune; each stage's network and record are kept, and a run
//! that was stopped goes on where it was.

mod options;
mod pictures;
mod table;

use std::path::{Path, PathBuf};
use std::time::Instant;

use yoloslim_core::labels::Dataset;
use yoloslim_core::prune::PrunePlan;
use yoloslim_core::record::{EpochRecord, RunRecord, StageRecord};
use yoloslim_core::{Network, Result, cost, prune};

pub use options::SlimOptions;
use pictures::compare;
pub use table::table;

use crate::detect::{DetectOptions, Detector};
use crate::evidence::{self, Measuring};
use crate::model::time_one_image;
use crate::prove::prove;
use crate::reestimate::reestimate_statistics;
use crate::train::{self, Event, Job, TrainOptions};

/// Images that tell what removed filters leave behind and what filters are worth.
const CALIBRATION_IMAGES: usize = 128;

/// Validation images on that picture.
const PICTURED: usize = 4;

/// The picture's name in a run's folder.
pub const PICTURE: &str = "detections.jpg";

/// The record's name in a run's folder.
pub const RECORD: &str = "record.json";

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
    /// The plan, before it is done.
    Plan(&'a PrunePlan),
    /// The largest relative difference between the masked and the slim net's heads.
    Proof(f64),
}

type Observer<'o> = dyn FnMut(Progress) + 'o;

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
        let baseline =
            self.stage("baseline", Some(o.baseline_epochs), record, observe, |observe| match o.baseline_epochs {
                0 => Ok(Outcome { network: start, epochs: Vec::new() }),
                _ => self.train_stage(start, "baseline", &o.baseline(), observe),
            })?;
        let sparse = match o.sparse_epochs {
            0 => baseline,
            _ => self.stage("sparse", Some(o.sparse_epochs), record, observe, |observe| {
                let mut outcome = self.train_stage(baseline, "sparse", &o.sparse(), observe)?;
                outcome.network = self.reestimated(&outcome.network)?;
                Ok(outcome)
            })?,
        };
        let pruned = self.stage("pruned", None, record, observe, |observe| self.prune_stage(&sparse, observe))?;
        let slim = match o.fine_tune_epochs {
            0 => pruned,
            _ => self.stage("fine-tuned", Some(o.fine_tune_epochs), record, observe, |observe| {
                self.train_stage(pruned, "fine-tuned", &o.fine_tune(), observe)
            })?,
        };
        slim.write(self.folder, "slim")?;
        let [cfg, weights] = ["result.cfg", "result.weights"].map(|file| self.stage_folder("baseline").join(file));
        compare(&Network::read(&cfg, &weights)?, &slim, self.val, PICTURED, &self.folder.join(PICTURE))?;
        Ok(slim)
    }

    fn stage_folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
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
        observe(Progress::Stage { name, epochs, complete });
        if complete {
            return Network::read(&folder.join("result.cfg"), &folder.join("result.weights"));
        }
        yoloslim_core::files::create_folder(&folder)?;
        let start = Instant::now();
        let Outcome { network, epochs } = run(observe)?;
        network.write(&folder, "result")?;
        let evaluation = self.validate(&network)?;
        record.stages.push(StageRecord {
            name: name.to_owned(),
            params: network.parameters(),
            bflops: cost::flops(&network.graph) / 1e9,
            bytes: network.to_weights_file().to_bytes().len(),
            milliseconds: Some(time_one_image(&network) * 1e3),
            evaluation: Some(evaluation),
            epochs,
            seconds: start.elapsed().as_secs_f64(),
        });
        record.write(&self.folder.join(RECORD))?;
        Ok(network)
    }

    fn validate(&self, network: &Network) -> Result<yoloslim_core::eval::Evaluation> {
        Detector::new(network, DetectOptions::for_evaluation(self.options.train.size))?.evaluate(self.val)
    }

    fn train_stage(
        &self,
        network: Network,
        name: &str,
        options: &TrainOptions,
        observe: &mut Observer,
    ) -> Result<Outcome> {
        let folder = self.stage_folder(name);
        let job = Job { network, dataset: self.train, options, folder: &folder, threads: self.threads };
        // A penalty moves the gammas faster than running statistics follow.
        let lags = options.sparsity.is_some();
        let mut validate = |n: &Network| if lags { self.validate(&self.reestimated(n)?) } else { self.validate(n) };
        let trained = train::run(job, &mut validate, &mut |event| observe(Progress::Train(event)))?;
        Ok(Outcome { network: trained.network, epochs: trained.epochs })
    }

    fn prune_stage(&self, network: &Network, observe: &mut Observer) -> Result<Outcome> {
        let options = &self.options.prune;
        let measuring = Measuring { images: CALIBRATION_IMAGES, threads: self.threads };
        let evidence = evidence::measure(network, self.train, options.score, measuring, &mut |_| {})?;
        let plan = prune::plan(network, options, &evidence)?;
        observe(Progress::Plan(&plan));
        let pruned = prune::apply(network, &plan)?;
        observe(Progress::Proof(prove(&pruned)?));
        plan.save(&self.stage_folder("pruned").join("plan.json"))?;
        Ok(Outcome { network: self.reestimated(&pruned.compact)?, epochs: Vec::new() })
    }

    /// The network with BN statistics measured on training images.
    fn reestimated(&self, network: &Network) -> Result<Network> {
        let paths = evidence::spread(self.train, CALIBRATION_IMAGES);
        reestimate_statistics(network, paths, &mut |_| {})
    }
}
