//! Which classes go: the ones that score lowest, as many as the target asks for.

use super::channels::Channels;
use super::limits::{Fate, Limits};
use super::scores::Scores;
use super::widths::slim_graph;
use super::{PruneOptions, Reason, Target};
use crate::graph::Graph;
use crate::{Error, Result, cost};

/// A cost to bring down: any function of a graph, with the most that it may be.
pub struct Budget<'a> {
    /// What a net costs.
    pub cost: &'a dyn Fn(&Graph) -> f64,
    /// The most that the slim net may cost.
    pub at_most: f64,
    /// What is counted, for messages: "FLOPs".
    pub name: &'a str,
}

/// Everything that a selection looks at.
pub struct Selection<'a> {
    /// The net, residual blocks gone.
    pub graph: &'a Graph,
    /// Its classes.
    pub channels: &'a Channels,
    /// Their scores.
    pub scores: &'a Scores,
    /// What can go.
    pub limits: &'a Limits,
}

/// How many classes may be brought back one by one when the last step overshoots a budget.
const REFINEMENTS: usize = 256;

/// The share of the whole that a target may be overshot by before that is tried.
const OVERSHOOT: f64 = 0.002;

impl Selection<'_> {
    /// The fates that `options.target` asks for; `whole` is the net before anything went.
    ///
    /// # Errors
    /// A target that can't be met.
    pub fn towards(&self, options: &PruneOptions, whole: &Graph) -> Result<Vec<Fate>> {
        let share = options.target.share();
        let (cost, name): (fn(&Graph) -> f64, _) = match options.target {
            Target::Channels(share) => return Ok(self.lowest((self.scores.candidates.len() as f64 * share) as usize)),
            Target::Flops(_) => (cost::flops, "FLOPs"),
            Target::Params(_) => (|g| cost::parameters(g) as f64, "parameters"),
        };
        let before = cost(whole);
        let budget = Budget { cost: &cost, at_most: before * (1.0 - share), name };
        self.within(&budget, before, options)
    }

    /// The fates that keep within a budget, as near to it as they can.
    ///
    /// # Errors
    /// A budget that even the narrowest net exceeds, naming the nearest that can be met.
    pub fn within(&self, budget: &Budget, whole: f64, options: &PruneOptions) -> Result<Vec<Fate>> {
        let fits = |fates: &[Fate]| self.cost(fates, budget) <= budget.at_most;
        let narrowest = self.lowest(self.scores.candidates.len());
        if !fits(&narrowest) {
            return Err(out_of_reach(budget, self.cost(&narrowest, budget), whole, options));
        }
        let (mut low, mut high) = (0, self.scores.candidates.len());
        while low < high {
            let middle = (low + high) / 2;
            if fits(&self.lowest(middle)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(self.refine(high, budget, whole))
    }

    /// Where the last step went far below the budget (a whole multiple of channels fell at once, say), brings
    /// back what scores best as long as the budget holds.
    fn refine(&self, count: usize, budget: &Budget, whole: f64) -> Vec<Fate> {
        let mut low = self.marked(count);
        let mut best = self.limits.settle(&low);
        let mut spare = budget.at_most - self.cost(&best, budget);
        for candidate in self.scores.candidates[..count].iter().rev().take(REFINEMENTS) {
            if spare < OVERSHOOT * whole {
                break;
            }
            low[candidate.class] = false;
            let fates = self.limits.settle(&low);
            let cost = self.cost(&fates, budget);
            if cost <= budget.at_most {
                (best, spare) = (fates, budget.at_most - cost);
            } else {
                low[candidate.class] = true;
            }
        }
        for candidate in &self.scores.candidates[..count] {
            if best[candidate.class] == Fate::Scores {
                best[candidate.class] = Fate::Stays(Reason::BudgetMet);
            }
        }
        best
    }

    /// The fates when the `count` lowest classes are to go.
    fn lowest(&self, count: usize) -> Vec<Fate> {
        self.limits.settle(&self.marked(count))
    }

    fn marked(&self, count: usize) -> Vec<bool> {
        let mut low = vec![false; self.channels.classes.len()];
        self.scores.candidates[..count].iter().for_each(|c| low[c.class] = true);
        low
    }

    fn cost(&self, fates: &[Fate], budget: &Budget) -> f64 {
        let kept: Vec<bool> = fates.iter().map(|f| f.is_kept()).collect();
        (budget.cost)(&slim_graph(self.graph, self.channels, &kept))
    }
}

fn out_of_reach(budget: &Budget, least: f64, whole: f64, options: &PruneOptions) -> Error {
    let share = (1.0 - least / whole).max(0.0);
    let mut limits =
        vec![format!("groups {:?}", options.groups).to_lowercase(), format!("min-keep {}", options.min_keep)];
    if options.multiple_of > 1 {
        limits.push(format!("multiple-of {}", options.multiple_of));
    }
    // Rounded down, so that what the message says can be asked for.
    let nearest = (share * 1000.0).floor() / 1000.0;
    Error::at(
        options.target.name(),
        format!(
            "at most {:.1} % of the {} can go with {}, but {:.1} % should",
            nearest * 100.0,
            budget.name,
            limits.join(", "),
            (1.0 - budget.at_most / whole) * 100.0
        ),
    )
    .fix(format!("ask for {nearest:.3} or less, or lower min-keep"))
}
