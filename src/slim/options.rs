//! What the whole pipeline is told; of a run, a part of its `config.toml`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use yoloslim_core::labels::Dataset;
use yoloslim_core::prune::{self, PruneOptions};
use yoloslim_core::{Error, Network, Result};

use super::steps::Step;
use crate::search::{BlockScore, ByData};
use crate::train::distil::{self, DistilOptions, HintLayer, TeacherFiles};
use crate::train::{self, Sparsity, TrainOptions};
use crate::workers::Workers;

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
    /// How pruning goes by training images.
    pub by_data: ByData,
    /// Whether sparsity training and fine-tuning are taught: by the baseline, or by the teacher that `train.distil` names.
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
            by_data: ByData::default(),
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
        if (1..self.iterations).contains(&self.fine_tune_epochs) {
            let cause = format!("{} epochs can't be shared by {} steps", self.fine_tune_epochs, self.iterations);
            return Err(
                Error::at("--fine-tune-epochs, --iterations", cause).fix("give one epoch a step at least, or 0")
            );
        }
        if self.iterations > 1 && self.by_data.sensitivity.is_some() {
            return Err(Error::at("--sensitivity", "was measured of the net before the first of several steps")
                .fix("give --iterations 1, or go without"));
        }
        let counts = [("images", self.by_data.images), ("candidates", self.by_data.candidates)];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(Error::at(format!("by_data.{name}"), "0 is out of range").fix("give a whole number, 1 or more"));
        }
        self.baseline().check()?;
        self.sparse(self.prune.clone()).check()?;
        self.fine_tune().check()?;
        self.prune.check()
    }

    /// Checks that `start` can be pruned as far as these options ask, as far as that can be told before training: with the
    /// gammas as they are in place of scores.
    ///
    /// # Errors
    /// A target that no net meets, more blocks than can go, a score that goes by what is not there; a teacher or layers of it
    /// that do not fit.
    pub fn rehearse(&self, start: &Network) -> Result<()> {
        self.by_data.check(start, &self.prune, true)?;
        if let Some(distil) = self.train.distil.as_ref().filter(|_| self.teach) {
            let numbered = distil.hint_layers.iter().find(|layer| matches!(layer, HintLayer::Layers { .. }));
            if let (Some(layer), true) = (numbered, self.prune.layers > 0) {
                return Err(Error::at(format!("--hint-layers {layer}"), "removing blocks numbers the layers anew")
                    .fix("name them by head, head0 say, or leave --layers out"));
            }
            let named = distil.teacher.as_ref().map(TeacherFiles::read).transpose()?;
            distil::check(named.as_ref().map_or(&start.graph, |teacher| &teacher.graph), &start.graph, distil)?;
        }
        let measured = self.by_data.block_score != BlockScore::Gamma;
        let mut network = Cow::Borrowed(start);
        for number in 1..=self.iterations {
            let step = Step { number, of: self.iterations };
            let options = step.options(&self.prune, start, &network)?;
            let plan = prune::rehearse(&network, &options, measured).map_err(|e| step.explain(e))?;
            if step.next().is_some() {
                network = Cow::Owned(prune::apply(&network, &plan)?.compact);
            }
        }
        Ok(())
    }

    /// Checks that all trainings fit the images, before the first of them.
    ///
    /// # Errors
    /// As [`train::check_inputs`].
    pub fn rehearse_training(&self, start: &Network, images: &Dataset, workers: &Workers) -> Result<()> {
        let sparse = (self.sparse_epochs > 0).then(|| self.sparse(self.prune.clone()));
        for options in [self.baseline(), self.fine_tune()].into_iter().chain(sparse) {
            let teacher = match &options.distil {
                Some(DistilOptions { teacher: Some(files), .. }) => Some(files.read()?),
                Some(_) => Some(start.clone()),
                None => None,
            };
            train::check_inputs(start, teacher, images, &options, workers)?;
        }
        Ok(())
    }

    /// The options of baseline training.
    #[must_use]
    pub fn baseline(&self) -> TrainOptions {
        TrainOptions { epochs: self.baseline_epochs.max(1), sparsity: None, distil: None, ..self.train.clone() }
    }

    /// The options of sparsity training for a pruning by `target`. The rate stays up: what it is times the number of steps is
    /// what the penalty can move a gamma by.
    #[must_use]
    pub fn sparse(&self, target: PruneOptions) -> TrainOptions {
        TrainOptions {
            epochs: self.sparse_epochs.max(1),
            learning_rate: self.train.learning_rate * self.sparse_rate,
            sparsity: Some(self.sparsity.clone()),
            target: Some(target),
            patience: None,
            distil: self.lessons(),
            ..self.train.clone()
        }
    }

    /// The options of fine-tuning between two of several prunings, the next of them by `target`.
    #[must_use]
    pub fn fine_tune_sparse(&self, epochs: usize, target: PruneOptions) -> TrainOptions {
        TrainOptions { epochs, learning_rate: self.train.learning_rate * self.fine_tune_rate, ..self.sparse(target) }
    }

    /// What a teacher adds: the penalty alone would have the net forget what it knew.
    fn lessons(&self) -> Option<DistilOptions> {
        self.teach.then(|| self.train.distil.clone().unwrap_or_default())
    }

    /// The options of fine-tuning.
    #[must_use]
    pub fn fine_tune(&self) -> TrainOptions {
        TrainOptions {
            epochs: self.fine_tune_epochs.max(1),
            learning_rate: self.train.learning_rate * self.fine_tune_rate,
            sparsity: None,
            distil: self.lessons(),
            ..self.train.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::prune::{Criterion, Target};

    #[test]
    fn a_config_is_refused_what_the_command_line_refuses() {
        assert_eq!(SlimOptions::default().check(), Ok(()));
        for text in ["by_data.images = 0", "by_data.candidates = 0", "train.validate_every = 0"] {
            let options: SlimOptions = toml::from_str(text).unwrap();
            let message = options.check().unwrap_err().to_string();
            assert!(message.contains("0 is out of range; give a"), "{text}: {message}");
        }
    }

    #[test]
    fn what_pruning_would_fail_on_is_known_before_training() {
        let c = "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n";
        let cfg = format!("[net]\nwidth=16\nheight=16\n{c}{c}[convolutional]\nfilters=7\n");
        let start = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let rehearse = |prune| SlimOptions { prune, ..SlimOptions::default() }.rehearse(&start);
        let default = PruneOptions::default;
        assert_eq!(rehearse(PruneOptions { score: Criterion::Taylor, ..default() }), Ok(()));
        for (prune, named) in [
            (PruneOptions { score: Criterion::Sensitivity, ..default() }, "score sensitivity"),
            (PruneOptions { target: Target::Flops(0.9), min_keep: 0.9, ..default() }, "target-flops"),
            (PruneOptions { layers: 3, ..default() }, "layers: 3"),
        ] {
            let message = rehearse(prune).unwrap_err().to_string();
            assert!(message.starts_with(named), "{message}");
        }
        let plain = Cfg::parse(cfg.replace("batch_normalize=1\n", "").as_bytes()).unwrap();
        let plain = Network::initialise(plain, 1).unwrap();
        for iterations in [1, 2] {
            let message =
                SlimOptions { iterations, ..SlimOptions::default() }.rehearse(&plain).unwrap_err().to_string();
            assert!(message.contains("score gamma: no channel that may go has such a score"), "{message}");
        }
    }
}
