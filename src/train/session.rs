//! A training under way: what goes from epoch to epoch, and what an epoch is made of.

use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

use yoloslim_core::eval::Evaluation;
use yoloslim_core::labels::Dataset;
use yoloslim_core::record::EpochRecord;
use yoloslim_core::{Network, Result};

use super::checkpoint::{Checkpoint, Inputs, Progress};
use super::distil::Distillation;
use super::epoch::EpochSoFar;
use super::guard::Guard;
use super::interrupt::Interrupt;
use super::penalty::{begin_epoch, count_left};
use super::trainer::Trainer;
use super::{Event, Job, TrainOptions, Trained, patience, together};
use crate::data::fingerprint;
use crate::data::{Augment, Loader};
use crate::reestimate::reestimate_on_with;
use crate::workers::Workers;

/// Measures the accuracy of a network, on the leader alone.
pub(super) type Validate<'v> = dyn FnMut(&Network) -> Result<Evaluation> + 'v;

/// Is told what happens.
pub(super) type Observe<'o> = dyn FnMut(Event) + 'o;

/// A training, at the beginning of an epoch or within one.
pub(super) struct Session<'a> {
    options: &'a TrainOptions,
    folder: &'a Path,
    workers: &'a Workers,
    interrupt: Interrupt,
    trainer: Trainer,
    loader: Loader,
    inputs: Inputs<'a>,
    guard: Guard<'a>,
    standing: Standing<'a>,
    progress: Progress,
}

impl<'a> Session<'a> {
    /// Begins, or goes on from the checkpoint in the job's folder; all workers must have the same inputs.
    pub fn begin(mut job: Job<'a>, observe: &mut Observe) -> Result<Self> {
        let Job { options, folder, workers, dataset, val, .. } = job;
        let interrupt = job.interrupt.clone();
        let (mut trainer, loader) = job.prepare(observe)?;
        let inputs = Inputs { options, data: fingerprint(dataset, val) };
        let progress = match Checkpoint::read_if_there(folder)? {
            Some(checkpoint) => checkpoint.resume(&mut trainer, &inputs)?,
            None => Progress::default(),
        };
        let teacher = trainer.distillation.as_ref().map_or("", Distillation::fingerprint);
        together::require_same(workers, trainer.net.parameters(), &inputs.data, (options, teacher))?;
        let guard = Guard { on_nan: options.on_nan, folder, dataset, workers, last: Cell::default() };
        let standing = Standing { dataset, lags: options.sparsity.is_some() };
        Ok(Self { options, folder, workers, interrupt, trainer, loader, inputs, guard, standing, progress })
    }

    /// All epochs that are left.
    pub fn run(mut self, validate: &mut Validate, observe: &mut Observe) -> Result<Trained> {
        let workers = self.workers;
        let validate = &mut |network: &Network| validate_together(workers, validate, network);
        let mut evaluation = None;
        for epoch in self.progress.epochs.len()..self.options.epochs {
            if self.is_exhausted(epoch, observe) {
                break;
            }
            evaluation = self.epoch(epoch, validate, observe)?;
        }
        let network = self.standing.of(self.trainer.averaged_network(), observe)?;
        if evaluation.is_none() {
            evaluation = Some(validate(&network)?);
        }
        Ok(Trained { network, epochs: self.progress.epochs, evaluation })
    }

    /// Whether accuracy has not grown for as many epochs as the options have patience.
    fn is_exhausted(&self, epoch: usize, observe: &mut Observe) -> bool {
        let best = self.options.patience.and_then(|patience| patience::exhausted(&self.progress.epochs, patience));
        if let Some(best) = best {
            let told = format!("no mAP@0.5 above that of epoch {} since: training ends after epoch {epoch}", best + 1);
            observe(Event::Warning(&told));
        }
        best.is_some()
    }

    /// One epoch: learns, measures where the options say so, and writes a checkpoint. Gives what was measured.
    fn epoch(&mut self, epoch: usize, validate: &mut Validate, observe: &mut Observe) -> Result<Option<Evaluation>> {
        let start = Instant::now();
        let so_far = self.begin_epoch(epoch, validate, observe)?;
        let before = so_far.seconds;
        let so_far = self.learn(so_far, epoch, observe)?;
        let mut record = so_far.record(&self.trainer, epoch);
        let network = self.standing.of(self.trainer.averaged_network(), observe)?;
        let mut evaluation = None;
        if self.options.validates_after(epoch) {
            let measured = match validate(&network) {
                Ok(measured) => measured,
                Err(error) => {
                    // What was learnt stays: resumed, the epoch has nothing left but to be measured.
                    self.progress.under_way = Some(so_far);
                    self.write_checkpoint()?;
                    return Err(error);
                }
            };
            (record.map, record.map50) = (measured.map, measured.map50);
            evaluation = Some(measured);
        }
        if epoch + 1 == self.options.epochs {
            count_left(&network, self.options, &mut record, observe)?;
        }
        record.seconds = before + start.elapsed().as_secs_f64();
        self.keep(&network, record)?;
        observe(Event::Epoch(&self.progress.epochs[epoch]));
        let asked = || self.trainer.stopping() || self.interrupt.asked_of_any(self.workers);
        if epoch + 1 < self.options.epochs && asked() {
            // A worker that ends takes the others with it, and the leader may be writing yet.
            self.workers.meet();
            return Err(self.interrupt.stopped(&format!("after epoch {}", epoch + 1)));
        }
        Ok(evaluation)
    }

    /// An epoch to begin, or the one that a stopped run was in.
    fn begin_epoch(&mut self, epoch: usize, validate: &mut Validate, observe: &mut Observe) -> Result<EpochSoFar> {
        if epoch >= self.options.plain_from() {
            self.loader.set_augment(Augment { mosaic: 0.0, ..self.options.augment })?;
        }
        let so_far = match self.progress.under_way.take() {
            Some(so_far) => so_far,
            None => {
                let standing = &self.standing;
                let mut measure = |network: &Network| validate(&standing.of(network.clone(), &mut |_| {})?);
                begin_epoch(&self.trainer, self.options, &self.progress.epochs, &mut measure, observe)?
            }
        };
        so_far.penalty.iter().for_each(|penalty| self.trainer.set_penalty(penalty.clone()));
        Ok(so_far)
    }

    /// Trains on the batches of an epoch that are left. Where it is asked to stop before the last, what there is is written down.
    fn learn(&mut self, mut so_far: EpochSoFar, epoch: usize, observe: &mut Observe) -> Result<EpochSoFar> {
        let complete = so_far.train(&mut self.trainer, &self.loader, epoch, &self.guard, observe)?;
        self.guard.require_finite(self.trainer.numbers(), epoch)?;
        if complete {
            self.guard.require_some(&so_far, epoch)?;
            return Ok(so_far);
        }
        let place = format!("in epoch {}, batch {}", epoch + 1, so_far.done);
        self.progress.under_way = Some(so_far);
        self.write_checkpoint()?;
        self.workers.meet();
        Err(self.interrupt.stopped(&place))
    }

    /// Takes an epoch down: the net as the last, and as the best where it is, and a checkpoint.
    fn keep(&mut self, network: &Network, record: EpochRecord) -> Result<()> {
        let fitness = record.map50.unwrap_or(f64::NEG_INFINITY);
        self.progress.epochs.push(record);
        let is_best = fitness > self.progress.best;
        if is_best {
            self.progress.best = fitness;
        }
        if self.workers.leads() {
            if is_best {
                network.write(self.folder, "best")?;
            }
            network.write(self.folder, "last")?;
        }
        self.write_checkpoint()
    }

    /// The leader writes for all.
    fn write_checkpoint(&self) -> Result<()> {
        if !self.workers.leads() {
            return Ok(());
        }
        Checkpoint::new(&self.trainer, &self.inputs, &self.progress).write(self.folder)
    }
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
