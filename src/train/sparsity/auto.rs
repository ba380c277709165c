//! The controller of `--sparsity auto`: which gammas must reach zero, and how hard they are drawn.
//!
//! Before each epoch the net as it is by then is planned for: the channels that pruning to the target would take are the
//! ones that the penalty acts on, and no others. The factor is what brings them to zero by the deadline at the pace
//! measured so far. While there is time and accuracy is below what is allowed, it is eased. What has arrived is held:
//! left alone, its gradient would move it off zero again. All of this depends on the net and on the records of the
//! epochs before, so that a resumed run goes on exactly.

use yoloslim_core::prune::{self, LayerPlan, PruneOptions, PrunePlan};
use yoloslim_core::record::{EpochRecord, SparsityRecord, latest_map50};
use yoloslim_core::{Network, Result};

use super::{Penalty, Strategy};

/// The share of the epochs by whose end the gammas are to be zero; in the rest the net recovers.
const DEADLINE: f64 = 0.8;
/// What the factor is multiplied by while accuracy is too low.
const EASED: f64 = 0.5;
/// The share of the targets that the pace is set by; the few largest may be late until the deadline.
const MOST: f64 = 0.95;
/// Bounds of the measured pace, as a share of what the penalty alone would do.
const PACE: [f64; 2] = [0.2, 1.25];

/// How many times as strong as in the epoch before the penalty may be once time is up. What is left then resists because the
/// loss needs it: brute force would take in one epoch what fine-tuning can't give back.
const GROWTH: f64 = 2.0;

/// The share of the bound that a penalty must have aimed at in an epoch for the pace to say that gammas resist: what moves
/// less is moved by noise.
const TOLD_BY: f64 = 0.05;

/// The controller.
pub(in crate::train) struct Auto<'a> {
    /// What is going to be pruned.
    pub target: &'a PruneOptions,
    /// Epochs of the run.
    pub epochs: usize,
    /// The allowed loss of mAP@0.5.
    pub max_drop: f64,
}

/// How far a penalty of factor 1 can move a gamma: sums of the updates' `rate / (1 - momentum)`.
#[derive(Debug, Clone, Copy)]
pub(in crate::train) struct Course {
    /// The epoch about to start, from 0.
    pub epoch: usize,
    /// In this epoch.
    pub now: f64,
    /// From now to the deadline.
    pub left: f64,
}

/// The epoch of `epochs` by whose start the targets should be zero; from there on accuracy must be seen after each epoch,
/// for the penalty grows.
pub(in crate::train) fn deadline(epochs: usize) -> usize {
    ((epochs as f64 * DEADLINE) as usize).max(1)
}

impl Auto<'_> {
    /// The epoch by whose start the targets should be zero.
    pub fn deadline(&self) -> usize {
        deadline(self.epochs)
    }

    /// What pruning would take of the net as it is now. Nobody measures evidence while training, so where the score goes
    /// by that, the smallest gammas stand in: once they are zero, such a score is near zero too.
    fn targets(&self, network: &Network) -> Result<Vec<bool>> {
        Ok(targets(network, &prune::rehearse(network, self.target, true)?))
    }

    /// How many channels pruning would take of a trained net whose gamma is not zero.
    ///
    /// # Errors
    /// A target that this net can't be pruned to.
    pub fn left(&self, network: &Network) -> Result<usize> {
        Ok(gammas(network).zip(self.targets(network)?).filter(|(gamma, target)| *target && *gamma != 0.0).count())
    }

    /// The penalty of the epoch about to start and its record. The averaged `network` says what pruning would take, and the
    /// gammas as they are `now`, in layer order, how far they have to go: averages lag behind. `start` is the mAP@0.5 that
    /// the run began with.
    ///
    /// # Errors
    /// A target that this net can't be pruned to.
    pub fn penalty(
        &self,
        network: &Network,
        now: &[f32],
        course: Course,
        history: &[EpochRecord],
        start: Option<f64>,
    ) -> Result<(Penalty, SparsityRecord)> {
        let targets = self.targets(network)?;
        let mut sizes: Vec<f32> = now.iter().zip(&targets).filter(|(_, t)| **t).map(|(g, _)| g.abs()).collect();
        sizes.sort_by(f32::total_cmp);
        let reached = sizes.partition_point(|g| *g == 0.0);
        let most = sizes.get((sizes.len() as f64 * MOST) as usize).copied().unwrap_or(0.0);
        let largest = sizes.last().copied().unwrap_or(0.0);
        let late = course.epoch >= self.deadline();
        let last = history.last().and_then(|epoch| epoch.sparsity.as_ref());
        let drop = start.zip(latest_map50(history)).map(|(start, now)| start - now);
        let too_low = drop.is_some_and(|drop| drop > self.max_drop);
        let measured = last.map_or(1.0, |last| pace(last, most));
        let pace = measured.clamp(PACE[0], PACE[1]);
        let needed = match (late, too_low) {
            (true, _) => {
                let enough = f64::from(largest) / (course.now * pace).max(1e-9);
                let growth = if too_low { 1.0 } else { GROWTH };
                last.map_or(enough, |last| enough.min(growth * last.s))
            }
            (false, true) => EASED * f64::from(most) / (course.left * pace).max(1e-9),
            (false, false) => f64::from(most) / (course.left * pace).max(1e-9),
        };
        let held = if reached > 0 { last.map_or(0.0, |last| last.s) } else { 0.0 };
        let s = needed.max(if late || (most == 0.0 && !too_low) { held } else { EASED * held });
        let record = SparsityRecord {
            s,
            targets: targets.iter().filter(|t| **t).count(),
            reached,
            bound: most,
            reach: s * course.now,
            start,
            eased: too_low && !late,
            late: late && too_low,
            resisted: measured < PACE[0] && last.is_some_and(|last| last.reach > TOLD_BY * f64::from(last.bound)),
            left: None,
        };
        Ok((Penalty { s, strategy: Strategy::Constant, targets: Some(targets) }, record))
    }
}

/// How fast the targets went down in the epoch before, as a share of what the penalty alone would have done: at most to
/// zero.
fn pace(last: &SparsityRecord, bound: f32) -> f64 {
    let alone = last.reach.min(f64::from(last.bound));
    if alone > 0.0 { f64::from(last.bound - bound) / alone } else { 1.0 }
}

/// For each gamma in layer order, whether its channel is going to be pruned or to become a constant.
fn targets(network: &Network, plan: &PrunePlan) -> Vec<bool> {
    let normed = plan.layers.iter().filter(|layer| network.conv(layer.layer).norm.is_some());
    let goes = |layer: &LayerPlan, f: usize| layer.kept.binary_search(&f).is_err() || layer.carriers.contains(&f);
    normed.flat_map(|layer| (0..layer.filters).map(move |f| goes(layer, f))).collect()
}

fn gammas(network: &Network) -> impl Iterator<Item = f32> + '_ {
    network.gammas().flat_map(|(_, gammas)| gammas.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::prune::Evidence;
    use yoloslim_core::prune::{Criterion, Target};

    const CFG: &str = "[net]\nwidth=16\nheight=16\n\
        [convolutional]\nbatch_normalize=1\nfilters=10\nsize=3\npad=1\nactivation=leaky\n\
        [convolutional]\nbatch_normalize=1\nfilters=10\nsize=3\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n";

    fn network() -> Network {
        let mut network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        for layer in [0, 1] {
            let norm = network.conv_mut(layer).norm.as_mut().unwrap();
            norm.gamma.iter_mut().enumerate().for_each(|(i, g)| *g = (i + 1) as f32 / 10.0 + layer as f32 / 100.0);
        }
        network
    }

    /// Where averages and gammas are the same.
    fn penalty(
        auto: &Auto,
        network: &Network,
        course: Course,
        history: &[EpochRecord],
        start: Option<f64>,
    ) -> Result<(Penalty, SparsityRecord)> {
        auto.penalty(network, &gammas(network).collect::<Vec<_>>(), course, history, start)
    }

    fn options() -> PruneOptions {
        PruneOptions { target: Target::Channels(0.4), ..PruneOptions::default() }
    }

    #[test]
    fn the_penalty_acts_on_what_the_plan_takes_and_brings_it_to_zero_in_time() {
        let (network, target) = (network(), options());
        let auto = Auto { target: &target, epochs: 10, max_drop: 0.02 };
        let course = Course { epoch: 0, now: 1.0, left: 8.0 };
        let (penalty, record) = penalty(&auto, &network, course, &[], Some(0.5)).unwrap();
        let targets = penalty.targets.unwrap();
        assert_eq!((record.targets, record.reached, targets.len()), (8, 0, 20));
        assert!(targets.iter().enumerate().all(|(at, target)| *target == (at % 10 < 4)), "{targets:?}");
        assert!((penalty.s * 8.0 - f64::from(record.bound)).abs() < 1e-6);
    }

    #[test]
    fn a_channel_that_is_going_to_carry_constants_is_drawn_to_zero_too() {
        let (mut network, target) = (network(), options());
        // Betas that show at the border of the padded convolution behind make a carrier of one removed channel.
        network.conv_mut(0).bias.fill(1.0);
        let plan = prune::plan(&network, &target, &Evidence::default()).unwrap();
        let [carrier] = plan.layers[0].carriers[..] else { panic!("{:?}", plan.layers[0]) };
        assert!(plan.layers[0].kept.contains(&carrier));
        assert!(targets(&network, &plan)[carrier]);
        assert_eq!(targets(&network, &plan).iter().filter(|t| **t).count(), 8);
    }

    #[test]
    fn gammas_that_resist_are_said_once_and_those_that_are_left_are_counted() {
        let (mut network, target) = (network(), options());
        let auto = Auto { target: &target, epochs: 10, max_drop: 0.02 };
        let course = |epoch| Course { epoch, now: 1.0, left: 8.0 };
        let first = penalty(&auto, &network, course(0), &[], None).unwrap().1;
        assert!(!first.resisted);
        // Nothing has moved, though the penalty would have by an eighth of the bound.
        let mut history = vec![EpochRecord { sparsity: Some(first), ..EpochRecord::default() }];
        let second = penalty(&auto, &network, course(1), &history, None).unwrap().1;
        assert!(second.warning(&history).unwrap().contains("holds the gammas"));
        history.push(EpochRecord { sparsity: Some(second), ..EpochRecord::default() });
        assert_eq!(penalty(&auto, &network, course(2), &history, None).unwrap().1.warning(&history), None);
        assert_eq!(auto.left(&network).unwrap(), 8);
        network.conv_mut(0).norm.as_mut().unwrap().gamma[..3].fill(0.0);
        let arrived = SparsityRecord { bound: 0.02, reach: 0.4, ..SparsityRecord::default() };
        assert_eq!(pace(&arrived, 0.0), 1.0, "what arrives sooner than it must does not resist");
        let left = Some(auto.left(&network).unwrap());
        assert_eq!(left, Some(5));
        let told = SparsityRecord { left, targets: 8, ..SparsityRecord::default() }.last_warning().unwrap();
        assert!(told.starts_with("5 of the 8 channels"), "{told}");
    }

    #[test]
    fn averages_say_what_is_taken_and_the_gammas_themselves_how_far_they_are() {
        let (network, target) = (network(), options());
        let auto = Auto { target: &target, epochs: 10, max_drop: 0.02 };
        let course = Course { epoch: 0, now: 1.0, left: 8.0 };
        let now: Vec<f32> = gammas(&network).map(|gamma| gamma / 4.0).collect();
        let [there, far] = [now, gammas(&network).collect()]
            .map(|now: Vec<f32>| auto.penalty(&network, &now, course, &[], None).unwrap());
        assert_eq!(there.0.targets, far.0.targets);
        assert!((there.0.s * 4.0 - far.0.s).abs() < 1e-6, "{} {}", there.0.s, far.0.s);
    }

    #[test]
    fn what_has_arrived_at_zero_is_held_there() {
        let (mut network, target) = (network(), options());
        let auto = Auto { target: &target, epochs: 10, max_drop: 0.02 };
        let first = penalty(&auto, &network, Course { epoch: 0, now: 1.0, left: 8.0 }, &[], None).unwrap().1;
        let s = first.s;
        for layer in [0, 1] {
            network.conv_mut(layer).norm.as_mut().unwrap().gamma[..4].fill(0.0);
        }
        let history = [EpochRecord { sparsity: Some(first), ..EpochRecord::default() }];
        for epoch in [5, 9] {
            let course = Course { epoch, now: 1.0, left: 3.0 };
            let (penalty, record) = penalty(&auto, &network, course, &history, None).unwrap();
            assert_eq!((record.reached, record.targets), (8, 8));
            assert!(penalty.s >= s, "{} after {s}", penalty.s);
        }
    }

    #[test]
    fn an_epoch_without_validation_neither_ends_easing_nor_says_a_thing_twice() {
        let (network, target) = (network(), options());
        let auto = Auto { target: &target, epochs: 10, max_drop: 0.02 };
        let course = |epoch| Course { epoch, now: 1.0, left: 8.0 };
        let first = penalty(&auto, &network, course(0), &[], Some(0.5)).unwrap().1;
        let epoch = |map50, sparsity: &SparsityRecord| EpochRecord {
            map50,
            sparsity: Some(sparsity.clone()),
            ..EpochRecord::default()
        };
        let mut history = vec![epoch(Some(0.3), &first)];
        let second = penalty(&auto, &network, course(1), &history, Some(0.5)).unwrap().1;
        assert!(second.eased && second.warning(&history).is_some());
        history.push(epoch(None, &second));
        let third = penalty(&auto, &network, course(2), &history, Some(0.5)).unwrap().1;
        assert!(third.eased && third.warning(&history).is_none());
        let late = penalty(&auto, &network, course(9), &history, Some(0.5)).unwrap().1;
        assert!(late.late && late.warning(&history).unwrap().contains("0.3000"));
    }

    #[test]
    fn while_training_the_smallest_gammas_stand_in_for_scores_that_go_by_data() {
        let (network, target) = (network(), PruneOptions { score: Criterion::Taylor, ..options() });
        let auto = Auto { target: &target, epochs: 10, max_drop: 0.02 };
        let penalty = penalty(&auto, &network, Course { epoch: 0, now: 1.0, left: 8.0 }, &[], None).unwrap().0;
        assert!(penalty.targets.unwrap().iter().enumerate().all(|(at, target)| *target == (at % 10 < 4)));
    }

    #[test]
    fn a_slow_pace_makes_it_stronger_and_lost_accuracy_weaker_until_the_deadline() {
        let (network, target) = (network(), options());
        let auto = Auto { target: &target, epochs: 10, max_drop: 0.02 };
        let s = |epoch: usize, pace: f32, map50: f64| {
            let course = Course { epoch, now: 1.0, left: 8.0 - epoch as f64 };
            let first = penalty(&auto, &network, Course { epoch: 0, now: 1.0, left: 8.0 }, &[], Some(0.5)).unwrap().1;
            let before = SparsityRecord { bound: first.bound + pace * first.reach as f32, ..first };
            let history = [EpochRecord { sparsity: Some(before), map50: Some(map50), ..EpochRecord::default() }];
            let (penalty, record) = penalty(&auto, &network, course, &history, Some(0.5)).unwrap();
            (penalty.s, record.eased, record.late)
        };
        assert!((s(1, 0.5, 0.5).0 / s(1, 1.0, 0.5).0 - 2.0).abs() < 1e-3);
        assert!((s(1, 1.0, 0.4).0 / s(1, 1.0, 0.5).0 - 0.5).abs() < 1e-3);
        assert!(s(1, 1.0, 0.4).1 && !s(1, 1.0, 0.49).1);
    }

    #[test]
    fn once_time_is_up_what_resists_is_drawn_harder_step_by_step_and_no_harder_where_accuracy_is_lost() {
        let (network, target) = (network(), options());
        let auto = Auto { target: &target, epochs: 10, max_drop: 0.02 };
        let before = penalty(&auto, &network, Course { epoch: 0, now: 1.0, left: 8.0 }, &[], Some(0.5)).unwrap().1;
        let late = |now: f64, map50: f64| {
            let history =
                [EpochRecord { sparsity: Some(before.clone()), map50: Some(map50), ..EpochRecord::default() }];
            let record = penalty(&auto, &network, Course { epoch: 8, now, left: 0.0 }, &history, Some(0.5)).unwrap().1;
            (record.s / before.s, record.late)
        };
        assert_eq!(late(1.0, 0.5), (GROWTH, false), "all at once would take eight times as much and more");
        assert_eq!(late(1.0, 0.4), (1.0, true));
        assert!(late(100.0, 0.5).0 < 1.0, "no harder than it takes");
    }
}
