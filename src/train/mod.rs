//! Training: epochs over a data set that turn one network into another, with checkpoints after each.

mod alone;
mod auto_word;
mod checkpoint;
mod darknet_schedule;
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
mod session;
mod sparsity;
mod timing;
mod together;
mod trainer;

use std::path::Path;
use std::sync::Arc;

use yoloslim_core::eval::Evaluation;
use yoloslim_core::graph::Graph;
use yoloslim_core::labels::{Dataset, check_classes};
use yoloslim_core::record::EpochRecord;
use yoloslim_core::{Error, Network, Result};

pub use alone::train_alone;
pub use find_lr::{MOST_UPDATES, Rates, Tried, find_learning_rate};
pub use guard::OnNan;
pub use interrupt::Interrupt;
pub use loss::{BoxLoss, ClassWeights, Focal, LossOptions, LossParts, Normalise};
pub use options::TrainOptions;
pub use schedule::Schedule;
pub use sparsity::{Sparsity, Strategy, Strength, gammas};
pub use timing::time_steps;

use crate::data::{Loader, LoaderOptions, Share, require_colours};
use crate::model::Rounding;
use crate::workers::Workers;
use distil::Distillation;
use session::Session;
use trainer::Trainer;

/// What a training run works on.
pub struct Job<'a> {
    /// The network to start from.
    pub network: Network,
    /// The network that teaches it, where the options tell to distil.
    pub teacher: Option<Network>,
    /// The images to train on.
    pub dataset: &'a Dataset,
    /// The images to measure on, which stay the same for a whole run; none where nothing is measured.
    pub val: Option<&'a Dataset>,
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
    job: Job,
    validate: &mut dyn FnMut(&Network) -> Result<Evaluation>,
    observe: &mut dyn FnMut(Event),
) -> Result<Trained> {
    Session::begin(job, observe)?.run(validate, observe)
}

/// Fails where [`run`] would on what it is given, before a run's folder is there.
///
/// # Errors
/// Options out of range or that do not fit the net or the images; a teacher that does not fit.
pub fn check_inputs(
    network: &Network,
    teacher: Option<Network>,
    dataset: &Dataset,
    options: &TrainOptions,
    workers: &Workers,
) -> Result<()> {
    let mut options = options.clone();
    // Nothing is written, no folder of it either.
    options.distil.iter_mut().for_each(|distil| distil.cache = None);
    fitted(network, teacher, dataset, &options, 1, workers).map(drop)
}

/// What a training is made of beside its network: the loader, who teaches, and the options with all that is automatic settled.
fn fitted(
    network: &Network,
    teacher: Option<Network>,
    dataset: &Dataset,
    options: &TrainOptions,
    threads: usize,
    workers: &Workers,
) -> Result<(Loader, Option<Distillation>, TrainOptions)> {
    options.check()?;
    let graph = &network.graph;
    require_colours(graph.input)?;
    if options.sparsity.is_some() && !graph.convolutions().any(|(_, c)| c.batch_normalize) {
        return Err(Error::at("sparsity", "no layer has batch normalisation, so there is no gamma to draw to zero")
            .fix("leave --sparsity out, or give slim --sparse-epochs 0, and prune by --score taylor or l1"));
    }
    let (width, height) = options.size.map_or((graph.input.width, graph.input.height), Into::into);
    graph.resized(&network.cfg, width, height)?;
    let loader = Loader::new(dataset, loader_options(options, graph, (width, height), threads, workers))?;
    check_classes(dataset, graph.classes())?;
    let distillation = match (&options.distil, teacher) {
        (Some(distil), Some(teacher)) => {
            let distillation = Distillation::new(teacher, graph, distil, workers)?;
            loader.sizes().try_for_each(|size| distillation.fits(size))?;
            Some(distillation)
        }
        (Some(_), None) => return Err(distil::no_teacher()),
        (None, _) => None,
    };
    let loss = options.loss.settled(dataset, graph.classes())?;
    Ok((loader, distillation, TrainOptions { loss, ..options.clone() }))
}

impl Job<'_> {
    /// Checks all inputs; the network goes into the trainer.
    fn prepare(&mut self, observe: &mut dyn FnMut(Event)) -> Result<(Trainer, Loader)> {
        let Self { options, dataset, threads, workers, .. } = *self;
        let (loader, distillation, settled) =
            fitted(&self.network, self.teacher.take(), dataset, options, threads, workers)?;
        options.warnings(dataset.samples.len()).iter().for_each(|warning| observe(Event::Warning(warning)));
        let mut trainer = Trainer::new(self.network.clone(), &settled, loader.batches_per_epoch(), workers);
        trainer.distillation = distillation;
        trainer.interrupt = self.interrupt.clone();
        self.rounding.take().into_iter().for_each(|rounding| trainer.net.set_rounding(rounding));
        Ok((trainer, loader))
    }
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
