//! Choosing by what a channel is worth for what it costs. Where damage adds up, what does the least of it within a budget
//! goes in the order of score by cost (the knapsack's rule), and a channel of a large map costs a hundred times as many
//! operations as one of a small map. Costs are those in the whole net: measured anew in what each round keeps, they empty
//! single layers, where damage no longer adds up. With several budgets a cost is a weighted sum of the shares of each, and the
//! weight moves towards the budget that binds.

use std::collections::BTreeMap;

use super::channels::{Channels, ClassId};
use super::limits::Fate;
use super::scores::Scores;
use super::select::Budget;
use super::widths::slim_graph;
use crate::Result;
use crate::graph::Graph;

/// How often the weights of several budgets are tried.
const ROUNDS: usize = 16;

/// How far the logarithm of the weight of the budget that binds moves at first; half as far each time that another comes to bind,
/// so that for two budgets this is a bisection.
const STEP: f64 = 2.0;

/// What classes cost of several budgets.
pub struct Costs<'a> {
    graph: &'a Graph,
    channels: &'a Channels,
    budgets: &'a [Budget<'a>],
    /// For each budget, the share of the whole net's cost that goes with each class.
    shares: Vec<Vec<f64>>,
}

impl<'a> Costs<'a> {
    /// The costs of the classes of `graph`.
    #[must_use]
    pub fn of(graph: &'a Graph, channels: &'a Channels, budgets: &'a [Budget]) -> Self {
        let shares = budgets.iter().map(|budget| shares(graph, channels, budget)).collect();
        Self { graph, channels, budgets, shares }
    }

    /// The fates that `choose` gives to `scores` by cost: of all rounds those with the least damage, the sum of the scores that
    /// go.
    ///
    /// # Errors
    /// Those of `choose`.
    pub fn least_damage(&self, scores: &Scores, choose: impl Fn(&Scores) -> Result<Vec<Fate>>) -> Result<Vec<Fate>> {
        let damage = |fates: &[Fate]| -> f64 {
            scores.candidates.iter().filter(|c| !fates[c.class].is_kept()).map(|c| f64::from(c.score)).sum()
        };
        let (mut logs, mut step) = (vec![0.0; self.budgets.len()], STEP);
        let mut best = choose(&scores.per_cost(&self.mixed(&logs)))?;
        let (mut least, mut binding) = (damage(&best), self.binding(&best));
        let rounds = if self.budgets.len() > 1 { ROUNDS } else { 1 };
        for _ in 1..rounds {
            logs[binding] += step;
            let fates = choose(&scores.per_cost(&self.mixed(&logs)))?;
            let binds = self.binding(&fates);
            step /= if binds == binding { 1.0 } else { 2.0 };
            binding = binds;
            if damage(&fates) < least {
                (least, best) = (damage(&fates), fates);
            }
        }
        Ok(best)
    }

    /// What each class costs when the budgets count by `e^logs`. What costs nothing is divided by next to nothing: it stays.
    fn mixed(&self, logs: &[f64]) -> Vec<f64> {
        let cost = |class: usize| logs.iter().zip(&self.shares).map(|(log, shares)| log.exp() * shares[class]).sum();
        (0..self.channels.classes.len()).map(|class| f64::max(cost(class), f64::MIN_POSITIVE)).collect()
    }

    /// The budget of which the net takes the largest share.
    fn binding(&self, fates: &[Fate]) -> usize {
        let kept: Vec<bool> = fates.iter().map(|fate| fate.is_kept()).collect();
        let slim = slim_graph(self.graph, self.channels, &kept);
        let taken: Vec<f64> = self.budgets.iter().map(|budget| (budget.cost)(&slim) / budget.at_most).collect();
        (0..taken.len()).max_by(|a, b| taken[*a].total_cmp(&taken[*b])).unwrap_or(0)
    }
}

/// The share of the whole net's cost that goes with each class: the mean over every second one of those that the same layers
/// write, since a device that works on sixteen channels at a time takes as long for fifteen.
fn shares(graph: &Graph, channels: &Channels, budget: &Budget) -> Vec<f64> {
    let whole = (budget.cost)(graph);
    let mut alike: BTreeMap<_, Vec<ClassId>> = BTreeMap::new();
    for (id, class) in channels.classes.iter().enumerate() {
        alike.entry(class.layers()).or_default().push(id);
    }
    let mut shares = vec![0.0; channels.classes.len()];
    for classes in alike.values() {
        let mut kept = vec![true; shares.len()];
        classes.iter().step_by(2).for_each(|&class| kept[class] = false);
        let without = (budget.cost)(&slim_graph(graph, channels, &kept));
        let share = (1.0 - without / whole).max(0.0) / classes.len().div_ceil(2) as f64;
        classes.iter().for_each(|&class| shares[class] = share);
    }
    shares
}

#[cfg(test)]
mod tests {
    use crate::Network;
    use crate::darknet::Cfg;
    use crate::prune::{Evidence, Normalise, PruneOptions, PrunePlan, Target, plan};

    /// Two convolutions of 64 filters on maps of 16x16, then two on maps of 4x4, and their gammas.
    fn net(gamma: impl Fn(usize) -> f32) -> Network {
        let conv = "[convolutional]\nbatch_normalize=1\nfilters=64\nsize=3\npad=1\nactivation=leaky\n";
        let pool = "[maxpool]\nsize=2\nstride=2\n";
        let head = "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nmask=0\nanchors=4,4\nclasses=1\n";
        let cfg = format!("[net]\nwidth=16\nheight=16\n{conv}{conv}{pool}{pool}{conv}{conv}{head}");
        let mut network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 3).unwrap();
        for layer in [0, 1, 4, 5] {
            let gammas = &mut network.conv_mut(layer).norm.as_mut().unwrap().gamma;
            gammas.iter_mut().enumerate().for_each(|(filter, g)| *g = gamma(layer * 64 + filter));
        }
        network
    }

    fn per_cost(network: &Network, target: Target, also: Vec<Target>) -> PrunePlan {
        let options = PruneOptions { target, also, normalise: Some(Normalise::Cost), ..PruneOptions::default() };
        plan(network, &options, &Evidence::default()).unwrap()
    }

    fn widths(plan: &PrunePlan) -> Vec<usize> {
        plan.layers.iter().map(|layer| layer.kept.len()).collect()
    }

    #[test]
    fn of_filters_worth_the_same_those_go_that_cost_most_of_the_budget() {
        let network = net(|_| 1.0);
        // Operations are where maps are large; parameters where a layer both reads and is read by 64 channels.
        let flops = widths(&per_cost(&network, Target::Flops(0.3), Vec::new()));
        assert!(flops[..2].iter().sum::<usize>() < 128 && flops[2..4] == [64; 2], "{flops:?}");
        let params = widths(&per_cost(&network, Target::Params(0.3), Vec::new()));
        assert!(params[1..3].iter().sum::<usize>() < 128 && [params[0], params[3]] == [64; 2], "{params:?}");
    }

    #[test]
    fn within_several_budgets_less_is_damaged_than_in_the_order_of_scores() {
        let gamma = |i: usize| 0.5 + (i * 37 % 101) as f32 / 100.0;
        let network = net(gamma);
        for (flops, params) in [(0.5, 0.1), (0.5, 0.5), (0.3, 0.7)] {
            let (target, also) = (Target::Flops(flops), vec![Target::Params(params)]);
            let balanced = per_cost(&network, target, also.clone());
            assert!(balanced.budgets.iter().all(|b| b.after <= b.at_most), "{:?}", balanced.budgets);
            let options = PruneOptions { target, also, normalise: Some(Normalise::None), ..PruneOptions::default() };
            let by_score = plan(&network, &options, &Evidence::default()).unwrap();
            let damage = |plan: &PrunePlan| -> f32 {
                plan.layers.iter().flat_map(|l| l.removed().map(|f| gamma(l.layer * 64 + f))).sum()
            };
            assert!(damage(&balanced) < 0.9 * damage(&by_score), "{} {}", damage(&balanced), damage(&by_score));
        }
    }

    #[test]
    fn a_share_of_the_channels_has_no_cost() {
        let options = PruneOptions { normalise: Some(Normalise::Cost), ..PruneOptions::default() };
        let refused = plan(&net(|_| 1.0), &options, &Evidence::default()).unwrap_err().to_string();
        assert!(refused.starts_with("normalise cost: a share of the channels is no budget"), "{refused}");
    }
}
