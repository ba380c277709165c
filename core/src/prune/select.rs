//! Which classes go: the ones that score lowest, as many as the target asks for.

use super::channels::Channels;
use super::limits::{Fate, Limits};
use super::scores::Scores;
use super::widths::slim_graph;
use super::{PruneOptions, Reason, Spent, Target};
use crate::graph::Graph;
use crate::{Error, Result, cost};

/// A cost to bring down: any function of a graph, with the most that it may be.
pub struct Budget<'a> {
    /// What a net costs.
    pub cost: &'a dyn Fn(&Graph) -> f64,
    /// The most that the slim net may cost.
    pub at_most: f64,
    /// What is counted, for messages: "ms".
    pub unit: &'a str,
    /// The option that sets it, for messages: "target-latency".
    pub option: &'a str,
}

/// A budget that even the narrowest net exceeds.
struct OutOfReach {
    /// What the narrowest net costs.
    least: f64,
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

/// How often bringing something back may be tried when the last step overshoots a budget.
const TRIALS: usize = 512;

/// The share of a budget that may be left before that is tried.
const SPARE: f64 = 0.002;

impl Budget<'_> {
    /// What two nets take of it.
    #[must_use]
    pub fn spent(&self, before: &Graph, after: &Graph) -> Spent {
        let (before, after) = ((self.cost)(before), (self.cost)(after));
        Spent { unit: self.unit.to_owned(), at_most: self.at_most, before, after }
    }
}

impl Selection<'_> {
    /// The fates that `options.target` asks for; `whole` is the net before anything went.
    ///
    /// # Errors
    /// A share that can't go, naming the nearest that can.
    pub fn towards(&self, options: &PruneOptions, whole: &Graph) -> Result<Vec<Fate>> {
        let (cost, unit): (fn(&Graph) -> f64, _) = match options.target {
            Target::Channels(share) => return Ok(self.lowest((self.scores.candidates.len() as f64 * share) as usize)),
            Target::Flops(_) => (cost::flops, "FLOPs"),
            Target::Params(_) => (|g| cost::parameters(g) as f64, "parameters"),
            Target::Latency(_) => {
                return Err(Error::at(options.target.name(), "is no share").fix("plan within a budget of milliseconds"));
            }
        };
        let (before, share, option) = (cost(whole), options.target.value(), options.target.name());
        let budget = Budget { cost: &cost, at_most: before * (1.0 - share), unit, option };
        self.search(&budget).map_err(|OutOfReach { least }| {
            // Rounded down, so that what the message says can be asked for.
            let nearest = ((1.0 - least / before).max(0.0) * 1000.0).floor() / 1000.0;
            let (nearest_percent, percent) = (nearest * 100.0, share * 100.0);
            let cause = format!(
                "at most {nearest_percent:.1} % of the {unit} can go with {}, but {percent:.1} % should",
                named_limits(options)
            );
            Error::at(option, cause).fix(format!("ask for {nearest:.3} or less, or lower min-keep"))
        })
    }

    /// The fates that keep within a budget, as near to it as they can.
    ///
    /// # Errors
    /// A budget that even the narrowest net exceeds, naming what that one needs.
    pub fn within(&self, budget: &Budget, options: &PruneOptions) -> Result<Vec<Fate>> {
        self.search(budget).map_err(|OutOfReach { least }| {
            let Budget { at_most, unit, option, .. } = budget;
            // Rounded up, so that what the message says can be asked for.
            let nearest = (least * 1000.0).ceil() / 1000.0;
            let limits = named_limits(options);
            Error::at(option, format!("{at_most} {unit} can't be reached: the narrowest net with {limits} needs more"))
                .fix(format!("ask for {nearest} {unit} or more, or lower min-keep"))
        })
    }

    /// The fewest of the lowest classes whose loss keeps within the budget: bisection, since cost falls with every
    /// class, then refinement.
    fn search(&self, budget: &Budget) -> Result<Vec<Fate>, OutOfReach> {
        let cost = |count| self.cost(&self.lowest(count), budget);
        let (mut low, mut high) = (0, self.scores.candidates.len());
        let least = cost(high);
        if least > budget.at_most {
            return Err(OutOfReach { least });
        }
        while low < high {
            let middle = (low + high) / 2;
            if cost(middle) <= budget.at_most {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(self.refine(high, budget))
    }

    /// Where the last step went below the budget (a whole multiple of channels fell at once, say), brings back what
    /// scores best, step by step, as long as the budget holds.
    fn refine(&self, count: usize, budget: &Budget) -> Vec<Fate> {
        let gone = &self.scores.candidates[..count];
        let mut low = self.marked(count);
        let mut best = self.limits.settle(&low);
        let mut spare = budget.at_most - self.cost(&best, budget);
        // Layers whose next step costs more than is left, which only gets less.
        let mut dear = vec![false; self.graph.layers.len()];
        let mut trials = TRIALS;
        for candidate in gone.iter().rev() {
            let first = self.channels.classes[candidate.class].producers.first().map_or(0, |p| p.layer);
            if spare < SPARE * budget.at_most || trials == 0 {
                break;
            }
            if dear[first] || best[candidate.class].is_kept() {
                continue;
            }
            trials -= 1;
            low[candidate.class] = false;
            let fates = self.limits.settle(&low);
            let cost = self.cost(&fates, budget);
            if cost <= budget.at_most {
                (best, spare) = (fates, budget.at_most - cost);
            } else {
                (low[candidate.class], dear[first]) = (true, true);
            }
        }
        for candidate in gone.iter().filter(|c| !low[c.class]) {
            best[candidate.class] = Fate::Stays(Reason::BudgetMet);
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

/// What keeps a net from being narrower.
fn named_limits(options: &PruneOptions) -> String {
    let mut limits = format!("groups {}, min-keep {}", options.groups.name(), options.min_keep);
    if options.multiple_of > 1 {
        limits += &format!(", multiple-of {}", options.multiple_of);
    }
    limits
}
