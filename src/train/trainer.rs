//! One step of training: forward, loss, backward, and, when enough gradients are gathered, an update.

use std::ops::Range;

use yoloslim_core::graph::Yolo;
use yoloslim_core::{Network, Result};
use yoloslim_kernels::{self as k, SgdStep};

use super::distil::{Distillation, Lesson};
use super::guard::Defect;
use super::interrupt::Interrupt;
use super::loss::{LossParts, Population, yolo_loss_share};
use super::options::TrainOptions;
use super::sparsity::{Course, Penalty, Strength};
use super::together::{GradientSums, sum_parts};
use crate::data::{Batch, Labels};
use crate::model::{Drops, TrainNet, Watch};
use crate::workers::{Pending, Workers};

/// A network in training with all that an update needs.
pub(super) struct Trainer {
    pub net: TrainNet,
    options: TrainOptions,
    heads: Vec<Yolo>,
    gradients: Vec<f32>,
    /// Micro-batches since the last update.
    gathered: usize,
    /// Those of them whose gradients are gathered.
    counted: usize,
    /// The statistics as they were at the last update.
    statistics_before: Vec<f32>,
    pub velocity: Vec<f32>,
    /// Moving averages of parameters and statistics.
    pub averages: (Vec<f32>, Vec<f32>),
    /// Updates made so far.
    pub updates: usize,
    updates_per_epoch: usize,
    /// The penalty on the gammas.
    penalty: Option<Penalty>,
    /// Who shares the batches.
    workers: Workers,
    /// What a teacher adds to the loss.
    pub distillation: Option<Distillation>,
    /// Who may ask to stop.
    pub interrupt: Interrupt,
    /// A rate that stands in for the schedule's.
    pub only_rate: Option<f64>,
    /// Whether one of the workers was asked.
    stopping: bool,
}

/// What a batch came to.
pub(super) struct Stepped {
    /// The loss of the whole batch.
    pub parts: LossParts,
    /// What was no number, and the batches, this one the last, whose gradients have been dropped for it and the statistics put back.
    pub defect: Option<(Defect, usize)>,
    /// Whether it was asked to stop, and nothing is gathered that would be lost.
    pub stop: bool,
}

impl Trainer {
    pub fn new(network: Network, options: &TrainOptions, batches_per_epoch: usize, workers: &Workers) -> Self {
        let heads = network.graph.heads().map(|(_, y)| y.clone()).collect();
        let mut net = TrainNet::with_segments(network, options.segments);
        if options.sync_bn && workers.size() > 1 {
            net.share_statistics(workers.clone());
        }
        let len = net.layout().parameters();
        Self {
            averages: (net.parameters().to_vec(), net.statistics().to_vec()),
            gradients: vec![0.0; len],
            velocity: vec![0.0; len],
            options: options.clone(),
            heads,
            gathered: 0,
            counted: 0,
            statistics_before: Vec::new(),
            interrupt: Interrupt::never(),
            only_rate: None,
            stopping: false,
            updates: 0,
            penalty: options.sparsity.as_ref().and_then(|sparsity| match sparsity.s {
                Strength::Fixed(s) => Some(Penalty { s, strategy: sparsity.strategy, targets: None }),
                Strength::Auto(_) => None,
            }),
            distillation: None,
            updates_per_epoch: batches_per_epoch.div_ceil(options.accumulate),
            workers: workers.clone(),
            net,
        }
    }

    /// Trains on one batch, of which the images may be this worker's share; `last` tells that it is the epoch's last,
    /// after which nothing stays gathered.
    pub fn step(&mut self, batch: Batch, last: bool) -> Result<Stepped> {
        if self.gathered == 0 {
            self.statistics_before.clear();
            self.statistics_before.extend_from_slice(self.net.statistics());
        }
        self.gathered += 1;
        self.counted += 1;
        let due = self.gathered == self.options.accumulate || last;
        let input = (batch.width, batch.height);
        let heads: Vec<&Yolo> = self.heads.iter().collect();
        let mut population = Population::of(&self.options.loss, &heads, input, &batch.targets, batch.whole);
        let positives = self.workers.start_sum(&population.positives);
        let pass = self.updates * self.options.accumulate + self.gathered;
        self.net.set_drops(Some(Drops::new(self.options.seed, pass as u64, batch.first)));
        let (maps, mut tape) = self.net.forward(batch.images, batch.count, batch.width, batch.height)?;
        let share = batch.count as f64 / batch.whole.max(1) as f64;
        let statistics = self.start_statistics(share as f32);
        if let Some(positives) = positives {
            population = Population { positives: positives.wait(), share, ..population };
        }
        let labels = Labels { targets: &batch.targets, ignored: &batch.ignored };
        let (mut parts, mut slopes) = yolo_loss_share(&self.options.loss, &heads, &maps, input, labels, &population);
        // A short batch counts by its share, so that every image of an epoch weighs the same.
        let weight = batch.whole as f32 / (self.options.batch * self.options.accumulate) as f32;
        let mut features = Vec::new();
        if let Some(distillation) = &mut self.distillation {
            let lesson = Lesson {
                count: batch.count,
                whole: batch.whole,
                size: input,
                targets: &batch.targets,
                heads: &heads,
                maps: &maps,
                hard: &self.options.loss,
                share: weight.into(),
            };
            features = distillation.teach(&lesson, &mut self.net, &mut tape, &mut slopes)?;
            parts.distil = distillation.parts().map(|(_, part)| part).sum();
        }
        let (parts, asked) = sum_parts(&self.workers, parts, self.interrupt.asked());
        self.stopping |= asked;
        let stop = due && self.stopping;
        if !parts.total().is_finite() {
            // The other workers' statistics are on their way and must have arrived before the next sum.
            statistics.map(Pending::wait);
            let dropped = self.drop_gathered();
            self.finish_update(due);
            return Ok(Stepped { parts, defect: Some((Defect::Loss, dropped)), stop });
        }
        slopes.iter_mut().flat_map(|s| &mut s.values).for_each(|v| *v *= weight);
        let mut sums = GradientSums::new(&self.workers, self.gradients.len());
        let watch: &mut dyn Watch = if due { &mut sums } else { &mut () };
        self.net.backward_watched(tape, slopes, features, &mut self.gradients, watch);
        if let Some(statistics) = statistics {
            *self.net.statistics_mut() = statistics.wait();
        }
        let mut defect = None;
        if due {
            sums.collect(&mut self.gradients);
            self.distillation.iter_mut().for_each(Distillation::collect);
            defect = self.update();
        }
        Ok(Stepped { parts, defect, stop })
    }

    /// Forgets what was gathered since the last update, and what it did to the statistics; gives the number of batches.
    fn drop_gathered(&mut self) -> usize {
        self.gradients.fill(0.0);
        self.net.statistics_mut().copy_from_slice(&self.statistics_before);
        self.distillation.iter_mut().for_each(Distillation::drop_gathered);
        std::mem::take(&mut self.counted)
    }

    /// Counts an update that is `due`, made or left out.
    fn finish_update(&mut self, due: bool) {
        if due {
            (self.gathered, self.counted) = (0, 0);
            self.updates += 1;
        }
    }

    /// What is no number of all that an update would take in.
    fn defect(&self, norm: f64) -> Option<Defect> {
        let adapting = self.distillation.as_ref().is_none_or(Distillation::is_finite);
        if !norm.is_finite() || !adapting {
            return Some(Defect::Gradient);
        }
        let finite = self.net.statistics().iter().all(|s| s.is_finite());
        (!finite).then_some(Defect::Statistics)
    }

    /// Starts to average running statistics where each worker has its own: those of a batch count by its `share`.
    fn start_statistics(&self, share: f32) -> Option<Pending> {
        if self.options.sync_bn || self.workers.size() == 1 {
            return None;
        }
        let weighted: Vec<f32> = self.net.statistics().iter().map(|s| s * share).collect();
        self.workers.start_sum(&weighted)
    }

    /// Moves the weights by what was gathered, unless some of it is no number; then gives the batches that were dropped too.
    fn update(&mut self) -> Option<(Defect, usize)> {
        let norm = k::sum_of_squares(&self.gradients).sqrt();
        let dropped = self.defect(norm).map(|defect| (defect, self.drop_gathered()));
        if dropped.is_none() {
            self.descend(norm);
        }
        self.finish_update(true);
        dropped
    }

    /// One step down the gathered gradients, of this norm.
    fn descend(&mut self, norm: f64) {
        let rate = self.only_rate.unwrap_or_else(|| self.rate_at(self.updates));
        let (average_decay, o) = (self.average_decay(), &self.options);
        let scale = if norm > o.clip_norm { (o.clip_norm / norm) as f32 } else { 1.0 };
        let plain = SgdStep { rate: rate as f32, momentum: o.momentum as f32, weight_decay: 0.0, scale, average_decay };
        let decayed = SgdStep { weight_decay: o.weight_decay as f32, ..plain };
        let layout = self.net.layout().clone();
        let parameters = self.net.parameters_mut();
        let mut sgd = |range: Range<usize>, step: &SgdStep| {
            let (p, g) = (&mut parameters[range.clone()], &mut self.gradients[range.clone()]);
            k::sgd_nesterov(p, g, &mut self.velocity[range.clone()], &mut self.averages.0[range], step);
        };
        for slots in layout.convolutions() {
            sgd(slots.kernel.clone(), &decayed);
            sgd(slots.bias.clone(), &plain);
            // Their average is taken after the penalty has moved them.
            slots.gamma.iter().for_each(|g| sgd(g.clone(), &SgdStep { average_decay: 1.0, ..plain }));
        }
        self.distillation.iter_mut().for_each(|d| d.update(&decayed));
        if let Some(penalty) = &self.penalty {
            let progress = self.updates as f64 / self.total_updates() as f64;
            penalty.step(&layout, self.net.parameters_mut(), rate, o.momentum, progress);
        }
        for gamma in layout.convolutions().filter_map(|c| c.gamma.clone()) {
            k::lerp_into(&mut self.averages.0[gamma.clone()], &self.net.parameters()[gamma], average_decay);
        }
        k::lerp_into(&mut self.averages.1, self.net.statistics(), average_decay);
    }

    /// All numbers that a checkpoint holds.
    pub fn numbers(&self) -> [&[f32]; 5] {
        let (parameters, statistics) = (&self.averages.0, &self.averages.1);
        [self.net.parameters(), self.net.statistics(), &self.velocity, parameters, statistics]
    }

    /// The moving average's window grows with the number of updates, so that a short run is averaged too.
    fn average_decay(&self) -> f32 {
        let u = (self.updates + 1) as f64;
        self.options.ema_decay.min((1.0 + u) / (10.0 + u)) as f32
    }

    fn total_updates(&self) -> usize {
        (self.updates_per_epoch * self.options.epochs).max(1)
    }

    /// The rate of the last update; before the first, that of the first.
    pub fn learning_rate(&self) -> f64 {
        self.only_rate.unwrap_or_else(|| self.rate_at(self.updates.saturating_sub(1)))
    }

    fn rate_at(&self, update: usize) -> f64 {
        if let Some(schedule) = &self.options.darknet {
            return self.options.learning_rate * schedule.factor(update);
        }
        let warmup = (self.options.warmup_epochs * self.updates_per_epoch as f64) as usize;
        self.options.learning_rate * self.options.schedule.factor_at(update, self.total_updates(), warmup)
    }

    /// The penalty of the updates to come.
    pub fn set_penalty(&mut self, penalty: Penalty) {
        self.penalty = Some(penalty);
    }

    /// Whether one of the workers was asked to stop, as all of them know.
    pub fn stopping(&self) -> bool {
        self.stopping
    }

    /// How far a penalty can move gammas in `epoch` and from there to the start of epoch `deadline`.
    pub fn course(&self, epoch: usize, deadline: usize) -> Course {
        let sum = |from: usize, to: usize| {
            let updates = from * self.updates_per_epoch..to * self.updates_per_epoch;
            updates.map(|update| self.rate_at(update)).sum::<f64>() / (1.0 - self.options.momentum).max(1e-3)
        };
        Course { epoch, now: sum(epoch, epoch + 1), left: sum(epoch, deadline) }
    }

    /// All BN gammas as they are now, by layer.
    pub fn gammas_by_layer(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let parameters = self.net.parameters();
        self.net.layout().convolutions().filter_map(|c| Some((c.layer, &parameters[c.gamma.clone()?])))
    }

    /// The network of the averaged weights. A gamma that has arrived at exactly zero is zero there too: the average
    /// still remembers the way.
    pub fn averaged_network(&self) -> Network {
        let mut parameters = self.averages.0.clone();
        for gamma in self.net.layout().convolutions().filter_map(|c| c.gamma.clone()) {
            let now = &self.net.parameters()[gamma.clone()];
            parameters[gamma].iter_mut().zip(now).filter(|(_, now)| **now == 0.0).for_each(|(g, _)| *g = 0.0);
        }
        self.net.to_network(&parameters, &self.averages.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;

    #[test]
    fn a_gradient_that_is_no_number_drops_all_batches_that_it_was_gathered_from() {
        let cfg = "[net]\nwidth=8\nheight=8\n[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\npad=1\nactivation=linear\n\
            [yolo]\nmask=0\nanchors=4,4\nclasses=1\n";
        let network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let options = TrainOptions { batch: 1, accumulate: 3, ..TrainOptions::default() };
        let mut trainer = Trainer::new(network, &options, 5, &Workers::alone());
        let mut step = |broken: bool, last: bool| {
            let images = (0..8 * 8 * 3).map(|i| i as f32 / 192.0).collect();
            let batch = Batch {
                images,
                count: 1,
                whole: 1,
                first: 0,
                width: 8,
                height: 8,
                targets: Vec::new(),
                ignored: Vec::new(),
                indices: vec![0],
            };
            if broken {
                trainer.gradients[0] = f32::NAN;
            }
            let defect = trainer.step(batch, last).unwrap().defect;
            (defect, trainer.updates)
        };
        assert_eq!([step(false, false), step(false, false)], [(None, 0); 2]);
        assert_eq!(step(true, false), (Some((Defect::Gradient, 3)), 1));
        // The epoch's last update is of the two batches that are left.
        assert_eq!(step(true, false), (None, 1));
        assert_eq!(step(false, true), (Some((Defect::Gradient, 2)), 2));
    }
}
