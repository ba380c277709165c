//! Training: epochs over a data set that turn one network into another, with checkpoints after each.

pub mod checkpoint;
pub mod distil;
pub mod loss;
mod options;
mod penalty;
mod schedule;
mod sparsity;
mod timing;
mod together;
mod trainer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use yoloslim_core::eval::Evaluation;
use yoloslim_core::labels::Dataset;
use yoloslim_core::record::{EpochRecord, GammaSummary, LossRecord};
use yoloslim_core::{Error, Network, Result};

pub use loss::{LossOptions, LossParts};
pub use options::TrainOptions;
pub use schedule::Schedule;
pub use sparsity::{Sparsity, Strategy, Strength, gammas};
pub use timing::time_steps;

use crate::data::{Augment, Loader, LoaderOptions, Share};
use crate::model::Rounding;
use crate::reestimate::reestimate_on;
use crate::workers::Workers;
use checkpoint::Checkpoint;
use distil::Distillation;
use penalty::{count_left, set_penalty};
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
/// Options out of range, an image that can't be read, a folder that can't be written, a loss that is no number.
pub fn run(
    job: Job,
    validate: &mut dyn FnMut(&Network) -> Result<Evaluation>,
    observe: &mut dyn FnMut(Event),
) -> Result<Trained> {
    let Job { network, teacher, dataset, options, folder, threads, workers, rounding } = job;
    options.check()?;
    let (width, height) = options.size.map_or((network.graph.input.width, network.graph.input.height), |s| (s, s));
    network.graph.resized(&network.cfg, width, height)?;
    let mut loader = Loader::new(dataset, loader_options(options, (width, height), threads, workers))?;
    let distillation = match (&options.distil, teacher) {
        (Some(distil), Some(teacher)) => Some(Distillation::new(teacher, &network.graph, distil, workers)?),
        (Some(_), None) => return Err(distil::no_teacher()),
        (None, _) => None,
    };
    let mut trainer = Trainer::new(network, options, loader.batches_per_epoch(), workers);
    trainer.distillation = distillation;
    rounding.into_iter().for_each(|rounding| trainer.net.set_rounding(rounding));
    let validate = &mut |network: &Network| validate_together(workers, validate, network);
    let mut epochs: Vec<EpochRecord> = Vec::new();
    let mut best = f64::NEG_INFINITY;
    if let Some(checkpoint) = Checkpoint::read_if_there(folder)? {
        (epochs, best) = checkpoint.resume(&mut trainer, options)?;
    }
    together::require_same(workers, trainer.net.parameters(), dataset, options)?;
    let standing = Standing { dataset, lags: options.sparsity.is_some() };
    let mut evaluation = None;
    for epoch in epochs.len()..options.epochs {
        let start = Instant::now();
        let mut measure = |network: &Network| validate(&standing.of(network.clone())?);
        let sparsity = set_penalty(&mut trainer, options, &epochs, &mut measure, observe)?;
        if epoch as f64 >= options.epochs as f64 * (1.0 - options.plain_share) {
            loader.set_augment(Augment { mosaic: 0.0, ..options.augment })?;
        }
        let mut record = train_epoch(&mut trainer, &loader, dataset, epoch, observe)?;
        record.sparsity = sparsity;
        let mut network = trainer.averaged_network();
        if (epoch + 1) % options.validation_interval() == 0 || epoch + 1 == options.epochs {
            network = standing.of(network)?;
            let measured = validate(&network)?;
            (record.map, record.map50) = (measured.map, measured.map50);
            evaluation = Some(measured);
        }
        if epoch + 1 == options.epochs {
            count_left(&network, options, &mut record, observe)?;
        }
        record.seconds = start.elapsed().as_secs_f64();
        let fitness = record.map50.unwrap_or(f64::NEG_INFINITY);
        epochs.push(record);
        if fitness > best {
            best = fitness;
            if workers.leads() {
                network.write(folder, "best")?;
            }
        }
        if workers.leads() {
            network.write(folder, "last")?;
            Checkpoint::new(&trainer, options, &epochs, best).write(folder)?;
        }
        observe(Event::Epoch(&epochs[epoch]));
    }
    let network = standing.of(trainer.averaged_network())?;
    if evaluation.is_none() {
        evaluation = Some(validate(&network)?);
    }
    Ok(Trained { network, epochs, evaluation })
}

/// How the averaged network is measured and written. A penalty moves gammas faster than the averages of BN statistics
/// follow, so those are then measured anew.
struct Standing<'a> {
    dataset: &'a Dataset,
    lags: bool,
}

impl Standing<'_> {
    fn of(&self, network: Network) -> Result<Network> {
        if self.lags { reestimate_on(&network, self.dataset) } else { Ok(network) }
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

fn loader_options(
    options: &TrainOptions,
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
        ..LoaderOptions::default()
    }
}

fn train_epoch(
    trainer: &mut Trainer,
    loader: &Loader,
    dataset: &Dataset,
    epoch: usize,
    observe: &mut dyn FnMut(Event),
) -> Result<EpochRecord> {
    let (start, images) = (Instant::now(), loader.images_per_epoch());
    let (mut loss, mut seen, mut waited) = (LossParts::default(), 0, 0.0);
    let mut distilled = BTreeMap::new();
    let mut batches = loader.epoch(epoch, 0);
    for done in 1.. {
        let before = Instant::now();
        let Some(batch) = batches.next() else { break };
        waited += before.elapsed().as_secs_f64();
        let batch = batch?;
        let (count, indices) = (batch.whole, batch.indices.clone());
        let parts = trainer.step(batch, done == loader.batches_per_epoch())?;
        if !parts.total().is_finite() {
            return Err(diverged(dataset, &indices, epoch));
        }
        seen += count;
        let share = count as f64 / seen as f64;
        let mut mean = LossParts::default();
        mean.add(&loss, 1.0 - share);
        mean.add(&parts, share);
        loss = mean;
        for (name, part) in trainer.distillation.iter().flat_map(Distillation::parts) {
            *distilled.entry(name.to_owned()).or_insert(0.0) += part * count as f64 / images as f64;
        }
        let learning_rate = trainer.learning_rate();
        observe(Event::Batch { epoch, done, batches: loader.batches_per_epoch(), loss, learning_rate });
    }
    debug_assert_eq!(seen, images, "every image is used once an epoch");
    Ok(EpochRecord {
        epoch,
        loss: LossRecord { boxes: loss.boxes, objectness: loss.objectness, class: loss.class },
        distilled,
        learning_rate: trainer.learning_rate(),
        gammas: GammaSummary::of_net(trainer.net.graph(), trainer.gammas_by_layer()),
        waited: waited / start.elapsed().as_secs_f64().max(1e-9),
        ..EpochRecord::default()
    })
}

fn diverged(dataset: &Dataset, indices: &[usize], epoch: usize) -> Error {
    let images: Vec<String> = indices.iter().map(|i| dataset.samples[*i].image.display().to_string()).collect();
    Error::at(format!("epoch {epoch}"), format!("the loss of a batch is no number (images: {})", images.join(", ")))
        .fix("lower --lr or --sparsity, or check these images' labels; the last checkpoint is whole")
}

#[cfg(test)]
mod many_workers;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;
    use distil::{DistilLoss, DistilOptions};
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::labels::{self, Split};
    use yoloslim_core::prune::{PruneOptions, Target};

    const CFG: &str = "[net]\nwidth=64\nheight=64\n\
        [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=4\npad=1\nactivation=leaky\n\
        [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=16\nactivation=linear\n\
        [yolo]\nmask=0,1\nanchors=8,8,16,16\nclasses=3\n";

    /// A wider net of the same heads.
    fn teacher() -> Network {
        let wider = CFG.replace("filters=8", "filters=12");
        Network::initialise(Cfg::parse(wider.as_bytes()).unwrap(), 7).unwrap()
    }

    fn train(
        dataset: &Dataset,
        folder: &Path,
        options: &TrainOptions,
        threads: usize,
        stop_in: Option<usize>,
    ) -> Result<Trained> {
        let network = Network::initialise(Cfg::parse(CFG.as_bytes())?, 1)?;
        let teacher = options.distil.as_ref().map(|_| teacher());
        let job =
            Job { network, teacher, dataset, options, folder, threads, workers: &Workers::alone(), rounding: None };
        let mut validations = 0;
        let mut validate = |_: &Network| {
            validations += 1;
            if Some(validations) == stop_in {
                Err(Error::at("here", "stopped"))
            } else {
                Ok(yoloslim_core::eval::evaluate(&Dataset::default(), &[]))
            }
        };
        run(job, &mut validate, &mut |_| {})
    }

    #[test]
    fn a_run_that_was_stopped_goes_on_to_the_same_bits_with_any_number_of_threads() {
        let folder = tempfile::tempdir().unwrap();
        synthetic::generate(folder.path(), 1, 10, 2, 96).unwrap();
        let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
        let target = Some(PruneOptions { target: Target::Channels(0.5), ..PruneOptions::default() });
        let distil = Some(DistilOptions { losses: DistilLoss::all(), ..DistilOptions::default() });
        for (name, sparsity, distil) in [
            ("fixed", Some(Sparsity::fixed(0.01, Strategy::Protect)), None),
            ("auto", Some(Sparsity::auto()), None),
            ("distilled", None, distil),
        ] {
            let options = TrainOptions {
                epochs: 3,
                batch: 4,
                accumulate: 2,
                sparsity,
                target: target.clone(),
                distil,
                ..TrainOptions::default()
            };
            let [whole, stopped] = ["whole", "stopped"].map(|run| folder.path().join(format!("{name}-{run}")));
            for path in [&whole, &stopped] {
                std::fs::create_dir(path).unwrap();
            }
            let expected = train(&dataset, &whole, &options, 1, None).unwrap();
            assert!(train(&dataset, &stopped, &options, 2, Some(3)).is_err());
            let resumed = train(&dataset, &stopped, &options, 2, None).unwrap();
            assert_eq!(resumed.network, expected.network);
            assert_eq!(resumed.epochs.len(), 3);
            let said = |t: &Trained| {
                t.epochs.iter().map(|e| (e.loss, e.sparsity.clone(), e.distilled.clone())).collect::<Vec<_>>()
            };
            assert_eq!(said(&resumed), said(&expected));
            let parts = if options.distil.is_some() { DistilLoss::all().len() } else { 0 };
            assert_eq!(resumed.epochs[2].distilled.values().filter(|part| **part > 0.0).count(), parts, "{name}");
            let zeros = gammas_of(&resumed.network).filter(|g| *g == 0.0).count();
            let targets = resumed.epochs[2].sparsity.as_ref().map(|s| s.targets);
            assert!(targets.is_none_or(|targets| targets >= 6 && zeros >= targets), "{zeros} of {targets:?}");
        }
    }

    fn gammas_of(network: &Network) -> impl Iterator<Item = f32> + '_ {
        let norms = network.graph.convolutions().filter_map(|(layer, _)| network.conv(layer).norm.as_ref());
        norms.flat_map(|norm| norm.gamma.iter().copied())
    }

    #[test]
    fn a_net_that_was_trained_sparse_is_measured_and_ends_with_statistics_that_do_not_lag() {
        let folder = tempfile::tempdir().unwrap();
        synthetic::generate(folder.path(), 1, 6, 2, 96).unwrap();
        let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
        let sparsity = Some(Sparsity::fixed(0.01, Strategy::Constant));
        let options = TrainOptions { epochs: 2, batch: 4, sparsity, ..TrainOptions::default() };
        let network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        let job = Job {
            network,
            teacher: None,
            dataset: &dataset,
            options: &options,
            folder: folder.path(),
            threads: 1,
            workers: &Workers::alone(),
            rounding: None,
        };
        let mut measured = None;
        let mut validate = |network: &Network| {
            measured = Some(network.clone());
            Ok(yoloslim_core::eval::evaluate(&Dataset::default(), &[]))
        };
        let trained = run(job, &mut validate, &mut |_| {}).unwrap().network;
        let variances = |network: &Network| -> Vec<f32> {
            let norms = network.graph.convolutions().filter_map(|(layer, _)| network.conv(layer).norm.as_ref());
            norms.flat_map(|norm| norm.variance.iter().copied()).collect()
        };
        let anew = variances(&reestimate_on(&trained, &dataset).unwrap());
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5 * b.abs();
        assert!(variances(&trained).iter().zip(&anew).all(near), "{:?} {anew:?}", variances(&trained));
        assert!(measured.as_ref() == Some(&trained));
        let last = Network::read(&folder.path().join("last.cfg"), &folder.path().join("last.weights")).unwrap();
        assert!(last.weights == trained.weights);
    }

    #[test]
    fn going_on_with_another_teacher_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        synthetic::generate(folder.path(), 1, 4, 2, 96).unwrap();
        let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
        let distil = Some(DistilOptions::default());
        let options = TrainOptions { epochs: 1, batch: 4, distil, ..TrainOptions::default() };
        train(&dataset, folder.path(), &options, 1, None).unwrap();
        let network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        let go_on = |teacher| {
            let (network, folder) = (network.clone(), folder.path());
            let workers = &Workers::alone();
            let job = Job {
                network,
                teacher,
                dataset: &dataset,
                options: &options,
                folder,
                threads: 1,
                workers,
                rounding: None,
            };
            run(job, &mut |_| Ok(yoloslim_core::eval::evaluate(&Dataset::default(), &[])), &mut |_| {})
        };
        assert!(go_on(Some(teacher())).is_ok());
        for (other, reason) in [(Some(network.clone()), "another teacher"), (None, "no teacher")] {
            let message = go_on(other).err().unwrap().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn going_on_with_other_options_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        synthetic::generate(folder.path(), 1, 4, 2, 96).unwrap();
        let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
        let options = TrainOptions { epochs: 1, batch: 4, ..TrainOptions::default() };
        train(&dataset, folder.path(), &options, 1, None).unwrap();
        let other = TrainOptions { epochs: 2, ..options };
        let message = train(&dataset, folder.path(), &other, 1, None).err().unwrap().to_string();
        assert!(message.contains("other options"), "{message}");
    }
}
