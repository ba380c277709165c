//! The demo: the whole pipeline on generated images, in minutes.

use std::path::Path;

use yoloslim_core::darknet::Cfg;
use yoloslim_core::prune::{PruneOptions, Target};
use yoloslim_core::{Network, Result};

use crate::data::{Augment, synthetic};
use crate::slim::SlimOptions;
use crate::train::{Sparsity, TrainOptions};

/// Side of a generated picture, and of the net's input.
const SIZE: usize = 160;
/// Pictures to train on.
const TRAIN: usize = 400;
/// Pictures to measure on.
const VAL: usize = 120;
/// Seed of pictures, weights and training.
const SEED: u64 = 1;

/// The net that the demo trains, with random weights.
///
/// # Errors
/// Never, unless the cfg that is built in is broken.
pub fn network() -> Result<Network> {
    Network::initialise(Cfg::parse(include_bytes!("demo.cfg"))?, SEED)
}

/// Writes the generated data set and gives the path of its YAML.
///
/// # Errors
/// A folder that can't be written.
pub fn generate(folder: &Path) -> Result<std::path::PathBuf> {
    generate_with(folder, &mut |_, _| {})
}

/// [`generate`] that tells how many of how many pictures are drawn.
///
/// # Errors
/// As [`generate`].
pub fn generate_with(folder: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<std::path::PathBuf> {
    synthetic::generate_with(folder, SEED, (TRAIN, VAL), SIZE, progress)?;
    Ok(folder.join("data.yaml"))
}

/// What the demo asks of the pipeline.
#[must_use]
pub fn options() -> SlimOptions {
    SlimOptions {
        baseline_epochs: 16,
        sparse_epochs: 9,
        fine_tune_epochs: 10,
        sparsity: Sparsity::auto(),
        prune: PruneOptions { target: Target::Flops(0.75), layers: 1, ..PruneOptions::default() },
        train: TrainOptions {
            batch: 4,
            seed: SEED,
            augment: Augment { mosaic: 0.3, hue: 0.01, ..Augment::default() },
            validate_every: 100,
            ..TrainOptions::default()
        },
        ..SlimOptions::default()
    }
}
