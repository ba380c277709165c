//! What the whole pipeline is told: `slim.toml`.

use serde::{Deserialize, Serialize};
use yoloslim_core::prune::PruneOptions;
use yoloslim_core::{Error, Result};

use crate::train::{Sparsity, TrainOptions};

/// All options of `slim`; the run's `config.toml` holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlimOptions {
    /// Epochs of the baseline; 0 takes the given weights as they are.
    pub baseline_epochs: usize,
    /// Epochs of sparsity training; 0 prunes without.
    pub sparse_epochs: usize,
    /// Epochs of fine-tuning; 0 ends with the pruned net.
    pub fine_tune_epochs: usize,
    /// The penalty of sparsity training.
    pub sparsity: Sparsity,
    /// Largest learning rate of sparsity training, as a share of the baseline's.
    pub sparse_rate: f64,
    /// Largest learning rate of fine-tuning, as a share of the baseline's.
    pub fine_tune_rate: f64,
    /// Steps in which the net is pruned and fine-tuned; the epochs of fine-tuning are shared among them.
    pub iterations: usize,
    /// Loss of mAP@0.5, 0 to 1, at which the steps end.
    pub max_drop: f64,
    /// Plans to try for each pruning, on training images.
    pub candidates: usize,
    /// Whether fine-tuning is taught: by the baseline, or by the teacher that `train.distil` names.
    pub teach: bool,
    /// What is pruned.
    pub prune: PruneOptions,
    /// What all three trainings share.
    pub train: TrainOptions,
}

impl Default for SlimOptions {
    fn default() -> Self {
        Self {
            baseline_epochs: 100,
            sparse_epochs: 100,
            fine_tune_epochs: 100,
            sparsity: Sparsity::auto(),
            sparse_rate: 1.0,
            fine_tune_rate: 1.0,
            iterations: 1,
            max_drop: 0.05,
            candidates: 1,
            teach: true,
            prune: PruneOptions::default(),
            train: TrainOptions::default(),
        }
    }
}

impl SlimOptions {
    /// Checks all parts.
    ///
    /// # Errors
    /// The first number that makes no sense.
    pub fn check(&self) -> Result<()> {
        if self.iterations == 0 || !(0.0..=1.0).contains(&self.max_drop) {
            let cause = format!("{} iterations, a max drop of {}", self.iterations, self.max_drop);
            return Err(Error::at("--iterations, --max-drop", cause).fix("give 1 or more, and a share such as 0.05"));
        }
        self.baseline().check()?;
        self.sparse().check()?;
        self.fine_tune().check()?;
        self.prune.check()
    }

    /// The options of baseline training.
    #[must_use]
    pub fn baseline(&self) -> TrainOptions {
        TrainOptions { epochs: self.baseline_epochs.max(1), sparsity: None, distil: None, ..self.train.clone() }
    }

    /// The options of sparsity training. The rate stays up: what it is times the number of steps is what the
    /// penalty can move a gamma by.
    #[must_use]
    pub fn sparse(&self) -> TrainOptions {
        TrainOptions {
            epochs: self.sparse_epochs.max(1),
            learning_rate: self.train.learning_rate * self.sparse_rate,
            sparsity: Some(self.sparsity.clone()),
            target: Some(self.prune.clone()),
            distil: None,
            ..self.train.clone()
        }
    }

    /// The options of fine-tuning.
    #[must_use]
    pub fn fine_tune(&self) -> TrainOptions {
        TrainOptions {
            epochs: self.fine_tune_epochs.max(1),
            learning_rate: self.train.learning_rate * self.fine_tune_rate,
            sparsity: None,
            distil: self.teach.then(|| self.train.distil.clone().unwrap_or_default()),
            ..self.train.clone()
        }
    }
}
