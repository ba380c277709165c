//! One epoch: all batches once, from the first or from where a stopped run left it.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use yoloslim_core::Result;
use yoloslim_core::record::{EpochRecord, GammaSummary, LossRecord, SparsityRecord};

use super::distil::Distillation;
use super::guard::Guard;
use super::sparsity::Penalty;
use super::trainer::{Stepped, Trainer};
use super::{Event, LossParts};
use crate::data::Loader;

/// An epoch under way: what going on with it takes beside the trainer's state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct EpochSoFar {
    /// Batches that are done.
    pub done: usize,
    /// Batches that were left out, being no numbers.
    pub skipped: usize,
    /// Mean loss of the images that counted.
    loss: LossParts,
    /// Images that counted.
    seen: usize,
    /// Sums over them of distillation's losses, by name.
    distilled: BTreeMap<String, f64>,
    /// Seconds so far.
    pub seconds: f64,
    /// Those of them that training waited for images.
    waited: f64,
    /// What the controller of the penalty decided before the epoch.
    pub sparsity: Option<SparsityRecord>,
    /// The penalty that it set.
    pub penalty: Option<Penalty>,
}

impl EpochSoFar {
    /// An epoch to begin, with what the controller of the penalty has decided.
    pub fn with(penalty: Penalty, record: SparsityRecord) -> Self {
        Self { sparsity: Some(record), penalty: Some(penalty), ..Self::default() }
    }

    /// Trains on the batches that are left; false if it was asked to stop before the last of them.
    pub fn train(
        &mut self,
        trainer: &mut Trainer,
        loader: &Loader,
        epoch: usize,
        guard: &Guard,
        observe: &mut dyn FnMut(Event),
    ) -> Result<bool> {
        let (start, before, all) = (Instant::now(), self.seconds, loader.batches_per_epoch());
        let mut batches = loader.epoch(epoch, self.done);
        while self.done < all {
            let asked = Instant::now();
            let Some(batch) = batches.next() else { break };
            self.waited += asked.elapsed().as_secs_f64();
            let (batch, number) = (batch?, self.done);
            let images = batch.whole;
            let Stepped { parts, defect, stop } = trainer.step(batch, number + 1 == all)?;
            let complaint = trainer.distillation.as_mut().and_then(Distillation::complaint);
            complaint.iter().for_each(|complaint| observe(Event::Warning(&complaint.to_string())));
            self.done += 1;
            match defect {
                Some((defect, dropped)) => {
                    self.skipped += dropped;
                    guard.defective(defect, epoch, self.done - dropped..self.done, loader, observe)?;
                }
                None => self.count(&parts, images, trainer),
            }
            self.seconds = before + start.elapsed().as_secs_f64();
            let learning_rate = trainer.learning_rate();
            observe(Event::Batch { epoch, done: self.done, batches: all, loss: self.loss, learning_rate });
            if stop && self.done < all {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn count(&mut self, parts: &LossParts, images: usize, trainer: &Trainer) {
        self.seen += images;
        let share = images as f64 / self.seen as f64;
        let mut mean = LossParts::default();
        mean.add(&self.loss, 1.0 - share);
        mean.add(parts, share);
        self.loss = mean;
        for (name, part) in trainer.distillation.iter().flat_map(Distillation::parts) {
            *self.distilled.entry(name.to_owned()).or_insert(0.0) += part * images as f64;
        }
    }

    /// What is recorded of the whole epoch.
    pub fn record(&self, trainer: &Trainer, epoch: usize) -> EpochRecord {
        let mean = |(name, sum): (&String, &f64)| (name.clone(), sum / self.seen.max(1) as f64);
        EpochRecord {
            epoch,
            loss: LossRecord { boxes: self.loss.boxes, objectness: self.loss.objectness, class: self.loss.class },
            distilled: self.distilled.iter().map(mean).collect(),
            learning_rate: trainer.learning_rate(),
            gammas: GammaSummary::of_net(trainer.net.graph(), trainer.gammas_by_layer()),
            sparsity: self.sparsity.clone(),
            seconds: self.seconds,
            waited: self.waited / self.seconds.max(1e-9),
            skipped: self.skipped,
            ..EpochRecord::default()
        }
    }
}
