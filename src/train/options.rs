//! What a training run is told.

use serde::{Deserialize, Serialize};
use yoloslim_core::prune::PruneOptions;
use yoloslim_core::{Error, Result};

use super::darknet_schedule::DarknetSchedule;
use super::distil::DistilOptions;
use super::guard::OnNan;
use super::loss::LossOptions;
use super::schedule::Schedule;
use super::sparsity::{Sparsity, Strength, deadline};
use crate::data::Augment;
use crate::input_size::InputSize;

/// All options of a training run; the file `config.toml` of a run holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOptions {
    /// Passes over the data.
    pub epochs: usize,
    /// Images of a forward pass, those of all workers together.
    pub batch: usize,
    /// Forward passes whose gradients are averaged for one update.
    pub accumulate: usize,
    /// Segments that the net is divided into to save memory: only maps that cross from one to another are kept for the
    /// backward pass, which computes the others again.
    pub segments: usize,
    /// Take batch statistics over the images of all workers, rather than each worker over its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sync_bn: bool,
    /// The input's size; the cfg's width and height when none.
    pub size: Option<InputSize>,
    /// All randomness comes from it.
    pub seed: u64,
    /// Largest learning rate.
    pub learning_rate: f64,
    /// How the rate falls.
    pub schedule: Schedule,
    /// Epochs over which the rate rises from zero.
    pub warmup_epochs: f64,
    /// Nesterov momentum.
    pub momentum: f64,
    /// L2 penalty on kernels (never on BN or biases).
    pub weight_decay: f64,
    /// Largest norm of an update's gradient.
    pub clip_norm: f64,
    /// Limit of the moving average's decay.
    pub ema_decay: f64,
    /// L1 penalty on BN gammas.
    pub sparsity: Option<Sparsity>,
    /// What is going to be pruned: with `s = "auto"` the penalty draws just that to zero.
    pub target: Option<PruneOptions>,
    /// A teacher's part in the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distil: Option<DistilOptions>,
    /// Draw another input size every ten batches.
    pub multi_scale: bool,
    /// Augmentation.
    pub augment: Augment,
    /// Epochs of augmented images that are drawn, which then come again; each epoch has its own when none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment_epochs: Option<usize>,
    /// The last epochs, as a share of all, that are trained without mosaic.
    pub plain_share: f64,
    /// The loss.
    pub loss: LossOptions,
    /// Epochs between validations; the last epoch is always validated, and with `s = "auto"` every fifth part of them.
    pub validate_every: usize,
    /// Epochs without a better mAP@0.5 after which training ends early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// A rate over updates that stands in for `schedule` and `warmup_epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub darknet: Option<DarknetSchedule>,
    /// What happens when the loss or its gradient is no number.
    pub on_nan: OnNan,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 16,
            accumulate: 1,
            segments: 1,
            sync_bn: false,
            size: None,
            seed: 0,
            learning_rate: 0.01,
            schedule: Schedule::Cosine,
            warmup_epochs: 1.0,
            momentum: 0.937,
            weight_decay: 4.6e-4,
            clip_norm: 10.0,
            ema_decay: 0.9999,
            sparsity: None,
            target: None,
            distil: None,
            multi_scale: false,
            augment: Augment::default(),
            augment_epochs: None,
            plain_share: 0.1,
            loss: LossOptions::default(),
            validate_every: 1,
            patience: None,
            darknet: None,
            on_nan: OnNan::Stop,
        }
    }
}

impl TrainOptions {
    /// Whether accuracy is measured after an epoch: after the last, and after every so many of them. The controller of
    /// `--sparsity auto` eases by measured accuracy, so it must see that several times before its deadline, at least every
    /// fifth part of the epochs, and each time after it, when the penalty grows from epoch to epoch.
    #[must_use]
    pub fn validates_after(&self, epoch: usize) -> bool {
        let auto = matches!(&self.sparsity, Some(Sparsity { s: Strength::Auto(_), .. }));
        let most = if auto { (self.epochs / 5).max(1) } else { usize::MAX };
        let late = auto && epoch + 1 >= deadline(self.epochs);
        late || epoch + 1 == self.epochs || (epoch + 1).is_multiple_of(self.validate_every.clamp(1, most))
    }

    /// The first of the last epochs, which have no mosaics. A short run has one too, unless it is the only epoch.
    #[must_use]
    pub fn plain_from(&self) -> usize {
        let with_mosaics = (self.epochs as f64 * (1.0 - self.plain_share)).floor() as usize;
        if self.plain_share < 1.0 { with_mosaics.max(1) } else { 0 }
    }

    /// What is odd about them for so many training images.
    #[must_use]
    pub fn warnings(&self, images: usize) -> Vec<String> {
        let (batch, accumulate) = (self.batch, self.accumulate);
        let batches = images.div_ceil(batch.max(1));
        let mut warnings = Vec::new();
        if images < batch {
            warnings.push(format!(
                "{images} training images don't fill a batch of {batch}: each epoch is one update, which counts by its \
                 images; give --batch {images} or fewer"
            ));
        }
        let cached = self.distil.as_ref().is_some_and(|distil| distil.cache.is_some());
        if cached && self.augment_epochs.is_none() && self.augment != Augment::none() {
            warnings.push(
                "--teacher-cache: augmented images never come again in a run, so that the folder grows with every epoch; give \
                 --augment-epochs, or leave it out unless another run has the same seed"
                    .to_owned(),
            );
        }
        if accumulate > batches.max(1) {
            warnings.push(format!(
                "--accumulate {accumulate} is more than the {batches} batches of an epoch: each epoch is one update, which \
                 counts by its images"
            ));
        }
        warnings
    }

    /// Checks that every number makes sense.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn check(&self) -> Result<()> {
        let positive = [
            ("--epochs", self.epochs as f64),
            ("--batch", self.batch as f64),
            ("--accumulate", self.accumulate as f64),
            ("--segments", self.segments as f64),
            ("--validate-every", self.validate_every as f64),
            ("--lr", self.learning_rate),
            ("--clip-norm", self.clip_norm),
        ];
        let shares = [("momentum", self.momentum), ("ema_decay", self.ema_decay), ("plain_share", self.plain_share)];
        let not_negative = [("warmup_epochs", self.warmup_epochs), ("weight_decay", self.weight_decay)];
        let bad = |ok: bool, name: &str, value: f64, range: &str| match ok {
            true => Ok(()),
            false => Err(Error::at(name, format!("{value} is out of range")).fix(format!("give {range}"))),
        };
        for (name, value) in positive {
            bad(value > 0.0 && value.is_finite(), name, value, "a number above 0")?;
        }
        for (name, value) in shares {
            bad((0.0..=1.0).contains(&value), name, value, "a number from 0 to 1")?;
        }
        for (name, value) in not_negative {
            bad(value >= 0.0 && value.is_finite(), name, value, "a number of at least 0")?;
        }
        for (name, epochs) in [("--patience", self.patience), ("--augment-epochs", self.augment_epochs)] {
            bad(epochs != Some(0), name, 0.0, "a number of at least 1")?;
        }
        if self.patience.is_some() && self.sparsity.is_some() {
            return Err(Error::at(
                "--patience",
                "sparsity training costs accuracy before it is done, and would end early",
            )
            .fix("leave --patience out"));
        }
        self.sparsity.as_ref().map_or(Ok(()), Sparsity::check)?;
        self.target.as_ref().map_or(Ok(()), PruneOptions::check)?;
        self.distil.as_ref().map_or(Ok(()), DistilOptions::check)?;
        self.loss.check()?;
        self.augment.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_sees_accuracy_at_least_four_times_before_its_deadline() {
        let options = TrainOptions { epochs: 12, validate_every: 100, ..TrainOptions::default() };
        let validated = |o: &TrainOptions| (0..o.epochs).filter(|e| o.validates_after(*e)).collect::<Vec<_>>();
        assert_eq!(validated(&options), [11]);
        let auto = TrainOptions { sparsity: Some(Sparsity::auto()), ..options };
        // From the deadline at 9 on after each: the penalty may double then.
        assert_eq!(validated(&auto), [1, 3, 5, 7, 8, 9, 10, 11]);
        assert_eq!(validated(&TrainOptions { epochs: 3, ..auto.clone() }), [0, 1, 2]);
        assert_eq!(validated(&TrainOptions { validate_every: 0, ..auto }).len(), 12);
    }

    #[test]
    fn a_short_run_ends_without_mosaics_too() {
        let from = |epochs, plain_share| TrainOptions { epochs, plain_share, ..TrainOptions::default() }.plain_from();
        assert_eq!([100, 20, 12, 7, 2, 1].map(|epochs| from(epochs, 0.1)), [90, 18, 10, 6, 1, 1]);
        assert_eq!((from(7, 0.0), from(7, 1.0)), (7, 0));
    }
}
