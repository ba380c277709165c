//! Training: epochs over a data set that turn one network into another, with checkpoints after each.

mod alone;
pub mod checkpoint;
pub mod distil;
mod epoch;
mod find_lr;
mod guard;
pub mod hyp;
mod interrupt;
pub mod loss;
mod options;
mod patience;
mod penalty;
mod schedule;
mod sparsity;
mod timing;
mod together;
mod trainer;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use yoloslim_core::eval::Evaluation;
use yoloslim_core::graph::Graph;
use yoloslim_core::labels::{Dataset, check_classes};
use yoloslim_core::record::EpochRecord;
use yoloslim_core::{Network, Result};

pub use alone::train_alone;
pub use find_lr::{MOST_UPDATES, Rates, Tried, find_learning_rate};
pub use guard::OnNan;
pub use interrupt::Interrupt;
pub use loss::{BoxLoss, ClassWeights, Focal, LossOptions, LossParts, Normalise};
pub use options::TrainOptions;
pub use schedule::Schedule;
pub use sparsity::{Sparsity, Strategy, Strength, gammas};
pub use timing::time_steps;

use crate::data::{Augment, Loader, LoaderOptions, Share};
use crate::model::Rounding;
use crate::reestimate::reestimate_on_with;
use crate::workers::Workers;
use checkpoint::{Checkpoint, Inputs, Progress};
use distil::Distillation;
use guard::Guard;
use penalty::{begin_epoch, count_left};
use trainer::Trainer;

/// What a training run works on.
pub struct Job<'a> {
    /// The network to start from.
    pub network: Network,
    /// The network that teaches it, where the options tell to distil.
    pub teacher: Option<Network>,
    /// The images to train on.
    pub dataset: &'a Dataset,
    /// How.
    pub options: &'a TrainOptions,
    /// The run's folder: checkpoints lie there, and a checkpoint that is there is gone on from.
    pub folder: &'a Path,
    /// Threads of the loader.
    pub threads: usize,
    /// Who does it together: all with the same job. The leader alone validates and writes.
    pub workers: &'a Workers,
    /// What rounds numbers in the forward passes, to train for a quantised net.
    pub rounding: Option<Arc<dyn Rounding>>,
    /// Who may ask to stop; training does so after the next update.
    pub interrupt: Interrupt,
}

/// What happens while training, for progress bars and logs.
pub enum Event<'a> {
    /// A batch is done.
    Batch {
        /// Epoch, from 0.
        epoch: usize,
        /// Batches of the epoch that are done.
        done: usize,
        /// Batches an epoch.
        batches: usize,
        /// Mean loss of the epoch so far.
        loss: LossParts,
        /// Learning rate.
        learning_rate: f64,
    },
    /// Work between two batches goes on.
    Work {
        /// What it is.
        what: &'static str,
        /// How much is done.
        done: usize,
        /// Of how much.
        of: usize,
    },
    /// An epoch is done and its checkpoint written.
    Epoch(&'a EpochRecord),
    /// Something that the user should know.
    Warning(&'a str),
}

/// What training came to.
pub struct Trained {
    /// The moving average of the weights after the last epoch.
    pub network: Network,
    /// The record of every epoch, those before a resumption included.
    pub epochs: Vec<EpochRecord>,
    /// The validation of `network`.
    pub evaluation: Option<Evaluation>,
}

/// Trains, or goes on training, to the last epoch.
///
/// `validate` measures a network's accuracy; `observe` is told of every batch and epoch.
///
/// # Errors
/// Options out of range, an image that can't be read, a folder that can't be written, a loss that is no number, a wish to
/// stop.
pub fn run(
    mut job: Job,
    validate: &mut dyn FnMut(&Network) -> Result<Evaluation>,
    observe: &mut dyn FnMut(Event),
) -> Result<Trained> {
    let (options, folder, workers) = (job.options, job.folder, job.workers);
    let interrupt = job.interrupt.clone();
    let (mut trainer, mut loader) = job.prepare(observe)?;
    let validate = &mut |network: &Network| validate_together(workers, validate, network);
    let inputs = Inputs { options, data: together::fingerprint(job.dataset) };
    let mut progress = match Checkpoint::read_if_there(folder)? {
        Some(checkpoint) => checkpoint.resume(&mut trainer, &inputs)?,
        None => Progress::default(),
    };
    let teacher = trainer.distillation.as_ref().map_or("", Distillation::fingerprint);
    together::require_same(workers, trainer.net.parameters(), &inputs.data, (options, teacher))?;
    let guard = Guard { on_nan: options.on_nan, folder, dataset: job.dataset, workers };
    let standing = Standing { dataset: job.dataset, lags: options.sparsity.is_some() };
    let mut evaluation = None;
    for epoch in progress.epochs.len()..options.epochs {
        if let Some(best) = options.patience.and_then(|patience| patience::exhausted(&progress.epochs, patience)) {
            let best = format!("no mAP@0.5 above that of epoch {} since: training ends after epoch {epoch}", best + 1);
            observe(Event::Warning(&best));
            break;
        }
        let start = Instant::now();
        evaluation = None;
        if epoch >= options.plain_from() {
            loader.set_augment(Augment { mosaic: 0.0, ..options.augment })?;
        }
        let mut so_far = match progress.under_way.take() {
            Some(so_far) => so_far,
            None => {
                let mut measure = |network: &Network| validate(&standing.of(network.clone(), &mut |_| {})?);
                begin_epoch(&trainer, options, &progress.epochs, &mut measure, observe)?
            }
        };
        so_far.penalty.iter().for_each(|penalty| trainer.set_penalty(penalty.clone()));
        let before = so_far.seconds;
        let complete = so_far.train(&mut trainer, &loader, epoch, &guard, observe)?;
        guard.require_finite(trainer.numbers(), epoch)?;
        if !complete {
            let place = format!("in epoch {}, batch {}", epoch + 1, so_far.done);
            progress.under_way = Some(so_far);
            write_checkpoint(&trainer, folder, &inputs, &progress, workers)?;
            workers.meet();
            return Err(interrupt.stopped(&place));
        }
        guard.require_some(&so_far, epoch)?;
        let mut record = so_far.record(&trainer, epoch);
        let mut network = trainer.averaged_network();
        if options.validates_after(epoch) {
            network = standing.of(network, observe)?;
            let measured = validate(&network)?;
            (record.map, record.map50) = (measured.map, measured.map50);
            evaluation = Some(measured);
        }
        if epoch + 1 == options.epochs {
            count_left(&network, options, &mut record, observe)?;
        }
        record.seconds = before + start.elapsed().as_secs_f64();
        let fitness = record.map50.unwrap_or(f64::NEG_INFINITY);
        progress.epochs.push(record);
        if fitness > progress.best {
            progress.best = fitness;
            if workers.leads() {
                network.write(folder, "best")?;
            }
        }
        if workers.leads() {
            network.write(folder, "last")?;
        }
        write_checkpoint(&trainer, folder, &inputs, &progress, workers)?;
        observe(Event::Epoch(&progress.epochs[epoch]));
        if epoch + 1 < options.epochs && (trainer.stopping() || interrupt.asked_of_any(workers)) {
            return Err(interrupt.stopped(&format!("after epoch {}", epoch + 1)));
        }
    }
    let network = standing.of(trainer.averaged_network(), observe)?;
    if evaluation.is_none() {
        evaluation = Some(validate(&network)?);
    }
    Ok(Trained { network, epochs: progress.epochs, evaluation })
}

impl Job<'_> {
    /// Checks all inputs; the network goes into the trainer.
    fn prepare(&mut self, observe: &mut dyn FnMut(Event)) -> Result<(Trainer, Loader)> {
        let Self { options, workers, .. } = *self;
        options.check()?;
        let input = &self.network.graph.input;
        let (width, height) = options.size.map_or((input.width, input.height), Into::into);
        self.network.graph.resized(&self.network.cfg, width, height)?;
        let loader_options = loader_options(options, &self.network.graph, (width, height), self.threads, workers);
        let loader = Loader::new(self.dataset, loader_options)?;
        check_classes(self.dataset, self.network.graph.classes())?;
        let distillation = match (&options.distil, self.teacher.take()) {
            (Some(distil), Some(teacher)) => {
                let distillation = Distillation::new(teacher, &self.network.graph, distil, workers)?;
                loader.sizes().try_for_each(|size| distillation.fits(size))?;
                Some(distillation)
            }
            (Some(_), None) => return Err(distil::no_teacher()),
            (None, _) => None,
        };
        let batches = loader.batches_per_epoch();
        options.warnings(self.dataset.samples.len()).iter().for_each(|warning| observe(Event::Warning(warning)));
        let loss = options.loss.settled(self.dataset, self.network.graph.classes())?;
        let settled = TrainOptions { loss, ..options.clone() };
        let mut trainer = Trainer::new(self.network.clone(), &settled, batches, workers);
        trainer.distillation = distillation;
        trainer.interrupt = self.interrupt.clone();
        self.rounding.take().into_iter().for_each(|rounding| trainer.net.set_rounding(rounding));
        Ok((trainer, loader))
    }
}

fn write_checkpoint(
    trainer: &Trainer,
    folder: &Path,
    inputs: &Inputs,
    progress: &Progress,
    workers: &Workers,
) -> Result<()> {
    if !workers.leads() {
        return Ok(());
    }
    Checkpoint::new(trainer, inputs, progress).write(folder)
}

/// How the averaged network is measured and written. A penalty moves gammas faster than the averages of BN statistics
/// follow, so those are then measured anew.
struct Standing<'a> {
    dataset: &'a Dataset,
    lags: bool,
}

impl Standing<'_> {
    fn of(&self, network: Network, observe: &mut dyn FnMut(Event)) -> Result<Network> {
        if !self.lags {
            return Ok(network);
        }
        let mut told = |done, of| observe(Event::Work { what: "measuring statistics", done, of });
        reestimate_on_with(&network, self.dataset, &mut told)
    }
}

/// Validates on the leader; the other workers wait, asleep, and learn the figures.
fn validate_together(
    workers: &Workers,
    validate: &mut dyn FnMut(&Network) -> Result<Evaluation>,
    network: &Network,
) -> Result<Evaluation> {
    let mut evaluation = if workers.leads() { validate(network)? } else { Evaluation::default() };
    evaluation.map = workers.option_from_leader(evaluation.map);
    evaluation.map50 = workers.option_from_leader(evaluation.map50);
    Ok(evaluation)
}

/// Pixels of the input that a cell of the coarsest map covers: a power of two, maps being rounded up or down.
fn coarsest_stride(graph: &Graph) -> usize {
    // Maps of one cell are means over all of it, not a grid.
    let widths = graph.layers.iter().map(|layer| layer.shape.width).filter(|width| *width > 1);
    let smallest = widths.min().unwrap_or(1);
    let exact = graph.input.width as f64 / smallest as f64;
    2_usize.pow(exact.log2().round().max(0.0) as u32)
}

fn loader_options(
    options: &TrainOptions,
    graph: &Graph,
    (width, height): (usize, usize),
    threads: usize,
    workers: &Workers,
) -> LoaderOptions {
    LoaderOptions {
        share: Share { rank: workers.rank(), size: workers.size() },
        width,
        height,
        batch: options.batch,
        seed: options.seed,
        threads,
        augment: options.augment,
        multi_scale: options.multi_scale,
        stride: coarsest_stride(graph),
        cycle: options.augment_epochs,
        ..LoaderOptions::default()
    }
}

#[cfg(test)]
mod many_workers;
#[cfg(test)]
mod tests;
