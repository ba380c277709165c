//! The options that every training shares, as they are typed.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::de::DeserializeOwned;
use yoloslim::input_size::InputSize;
use yoloslim::run_folder::RunConfig;
use yoloslim::slim::SlimOptions;
use yoloslim::train::{OnNan, Schedule, TrainOptions, hyp};
use yoloslim_core::graph::Graph;
use yoloslim_core::labels::{self, Dataset, Split};
use yoloslim_core::{Error, Network, Result, files};

use super::net::warn_of_slips;
use super::numbers::{count, positive, share};
use crate::term::Term;

/// Options of training.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training")]
pub struct TrainKnobs {
    /// Images of a forward pass, for each worker where mpirun started several [default: 16]
    #[arg(long, value_name = "N", value_parser = count)]
    batch: Option<usize>,
    /// Forward passes for each update of the weights [default: 1]
    #[arg(long, value_name = "N", value_parser = count)]
    accumulate: Option<usize>,
    /// Segments to divide the net into: only maps between them stay in memory, and the others are computed again for
    /// the backward pass. Saves memory, costs up to a forward pass a step [default: 1]
    #[arg(long, value_name = "N", value_parser = count)]
    segments: Option<usize>,
    /// With several workers: take batch statistics over the images of all, which gives the numbers that one worker with
    /// all images would get, for a message a layer
    #[arg(long)]
    sync_bn: bool,
    /// Input size, 416 or 608x352 [default: the cfg's]
    #[arg(long, value_name = "N")]
    size: Option<InputSize>,
    /// Largest learning rate [default: 0.01]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    lr: Option<f64>,
    /// How the learning rate falls [default: cosine]
    #[arg(long, value_enum, value_name = "SCHEDULE")]
    schedule: Option<ScheduleName>,
    /// Seed of all randomness [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Share of training images that are mosaics of four [default: 1]
    #[arg(long, value_name = "SHARE", value_parser = share::<f32>)]
    mosaic: Option<f32>,
    /// Probability that a small object is pasted a second time, where nothing is labelled [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share::<f32>)]
    copy_paste: Option<f32>,
    /// Epochs of augmented images to draw, which then come again in turn [default: new ones in every epoch]
    #[arg(long, value_name = "N", value_parser = count)]
    augment_epochs: Option<usize>,
    /// Draw another input size every ten batches
    #[arg(long)]
    multi_scale: bool,
    /// Epochs between validations [default: 1]
    #[arg(long, value_name = "N", value_parser = count)]
    validate_every: Option<usize>,
    /// Epochs without a better mAP@0.5 after which training ends early; best.* has the best
    #[arg(long, value_name = "N", value_parser = count)]
    patience: Option<usize>,
    /// When the loss or its gradient is no number: stop, or skip the batch; either writes its images into nan-batch.txt [default:
    /// stop]
    #[arg(long, value_enum, value_name = "HOW")]
    on_nan: Option<OnNanName>,
}

/// [`OnNan`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnNanName {
    Stop,
    Skip,
}

/// [`Schedule`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScheduleName {
    Cosine,
    Steps,
    Constant,
}

impl TrainKnobs {
    /// Writes what was typed over the options; batches are those of one worker.
    pub fn apply(&self, options: &mut TrainOptions) {
        fn set<T: Copy>(to: &mut T, typed: Option<T>) {
            *to = typed.unwrap_or(*to);
        }
        if let (Some(batch), Some(_)) = (self.batch, &options.darknet) {
            // An update stays one of as many images as the cfg's.
            options.accumulate = (options.batch * options.accumulate).div_ceil(batch);
        }
        set(&mut options.batch, self.batch);
        set(&mut options.accumulate, self.accumulate);
        set(&mut options.segments, self.segments);
        set(&mut options.learning_rate, self.lr);
        set(&mut options.seed, self.seed);
        set(&mut options.augment.mosaic, self.mosaic);
        set(&mut options.augment.copy_paste, self.copy_paste);
        set(&mut options.validate_every, self.validate_every);
        options.size = self.size.or(options.size);
        options.patience = self.patience.or(options.patience);
        options.augment_epochs = self.augment_epochs.or(options.augment_epochs);
        options.multi_scale |= self.multi_scale;
        options.sync_bn |= self.sync_bn;
        if self.schedule.is_some() {
            options.darknet = None;
        }
        options.schedule = match self.schedule {
            Some(ScheduleName::Cosine) => Schedule::Cosine,
            Some(ScheduleName::Steps) => Schedule::Steps,
            Some(ScheduleName::Constant) => Schedule::Constant,
            None => options.schedule,
        };
        options.on_nan = match self.on_nan {
            Some(OnNanName::Stop) => OnNan::Stop,
            Some(OnNanName::Skip) => OnNan::Skip,
            None => options.on_nan,
        };
    }
}

/// Options from a TOML file, or the defaults. Of a run's config.toml they are a part, and what it says of several workers
/// together is said of one.
pub fn read_options<O: Options>(config: Option<&Path>) -> Result<O> {
    let Some(path) = config else { return Ok(O::default()) };
    let text = files::read_text(path)?;
    let of_run = toml::from_str::<toml::Table>(&text).is_ok_and(|table| table.contains_key("options"));
    let options = match of_run {
        true => toml::from_str::<RunConfig<O>>(&text).map(|config| config.options.of_one(config.workers)),
        false => toml::from_str(&text),
    };
    options.map_err(|e| {
        let line = files::line_of(&text, e.span().map(|span| span.start));
        Error::at(format!("{}:{line}", path.display()), e.message()).fix("correct the file")
    })
}

/// Options that a file may hold.
pub trait Options: DeserializeOwned + Default {
    /// The options of one of so many workers.
    fn of_one(self, workers: usize) -> Self;
}

impl Options for TrainOptions {
    fn of_one(mut self, workers: usize) -> Self {
        self.batch = (self.batch / workers.max(1)).max(1);
        self
    }
}

impl Options for SlimOptions {
    fn of_one(mut self, workers: usize) -> Self {
        self.train = self.train.of_one(workers);
        self
    }
}

/// The training and validation images of a data set, checked against the net before any work.
pub struct Data {
    /// To train on.
    pub train: Dataset,
    /// To measure on.
    pub val: Dataset,
}

impl Data {
    /// Reads both splits, tells what was repaired and what is in both.
    pub fn read(path: &Path, classes: usize, term: Term) -> Result<Self> {
        let [train, val] = [Split::Train, Split::Val].map(|split| labels::load(path, &split));
        let data = Self { train: train?, val: val? };
        for set in [&data.train, &data.val] {
            labels::check_classes(set, classes).map_err(|e| e.inside(path.display()))?;
            set.warnings.iter().for_each(|w| term.warn(w));
        }
        let both = labels::duplicates(&data.train, &data.val);
        if let Some((a, b)) = both.first() {
            let (a, b) = (a.display(), b.display());
            term.warn(format!(
                "{} images are in both train and val ({a} and {b}, say): accuracy will look too good",
                both.len()
            ));
        }
        Ok(data)
    }

    /// [`Self::read`] for training, which may have nothing to learn from.
    pub fn to_learn_from(path: &Path, classes: usize, term: Term) -> Result<Self> {
        let data = Self::read(path, classes, term)?;
        if data.train.samples.iter().all(|sample| sample.objects.is_empty()) {
            term.warn(format!("{}: the training images hold no object, so there is nothing to learn", path.display()));
        }
        Ok(data)
    }
}

/// A cfg and, optionally, weights to start from, told apart by how much of the cfg they fill.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Darknet .cfg file
    #[arg(required_unless_present = "resume")]
    pub cfg: Option<PathBuf>,
    /// Weights to start from: complete, the first layers only, or with heads for other classes
    pub weights: Option<PathBuf>,
}

impl StartArgs {
    /// The network to start from, at the size it will be trained at.
    pub fn read(&self, size: Option<InputSize>, seed: u64, term: Term) -> Result<Network> {
        let Some(path) = &self.cfg else {
            return Err(Error::at("CFG", "no cfg was given").fix("give CFG or --resume"));
        };
        let (mut cfg, graph) = Graph::read(path)?;
        warn_of_slips(path, &cfg, term);
        let passed_over = hyp::passed_over(&cfg);
        if !passed_over.is_empty() {
            term.warn(format!("{}: of no effect in training: {}", path.display(), passed_over.join(", ")));
        }
        if graph.heads().next().is_none() {
            return Err(Error::at(path.display(), "the net has no [yolo] layer").fix("train a detector's cfg"));
        }
        if let Some(size) = size {
            cfg.net_mut().set("width", size.width);
            cfg.net_mut().set("height", size.height);
        }
        let Some(weights) = &self.weights else {
            return Network::initialise(cfg, seed).map_err(|e| e.inside(path.display()));
        };
        let place = |e: Error| e.inside(weights.display());
        let file = yoloslim_core::darknet::WeightsFile::parse(&files::read(weights)?).map_err(place)?;
        let loaded = Network::start_from(cfg, &file, seed).map_err(place)?;
        if let Some(classes) = loaded.other_classes {
            let here = loaded.network.graph.classes();
            term.note(format!(
                "{}: heads are for {classes} classes and the cfg for {here}; they start anew",
                weights.display()
            ));
        } else if loaded.filled < loaded.convolutions {
            let (n, all) = (loaded.filled, loaded.convolutions);
            term.note(format!(
                "{}: fills the first {n} of {all} convolutions; the others start anew",
                weights.display()
            ));
        }
        Ok(loaded.network)
    }
}
