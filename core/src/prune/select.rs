//! Which classes go: the ones that score lowest, as many as the target asks for.

use super::channels::Channels;
use super::limits::{Fate, Limits, portion};
use super::scores::Scores;
use super::widths::slim_graph;
use super::{Groups, PruneOptions, Reason, Spent};
use crate::graph::Graph;
use crate::{Error, Result};

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
    /// Where the option is a share to remove: that, and what the whole net costs.
    pub share_of: Option<(f64, f64)>,
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

/// The share of a budget that may be left before classes are exchanged: what a budget is to be hit by.
const FAR: f64 = 0.01;

/// How many classes may go instead of what comes back.
const EXCHANGED: usize = 64;

impl Budget<'_> {
    /// What two nets take of it.
    #[must_use]
    pub fn spent(&self, before: &Graph, after: &Graph) -> Spent {
        let (before, after) = ((self.cost)(before), (self.cost)(after));
        Spent { option: self.option.to_owned(), unit: self.unit.to_owned(), at_most: self.at_most, before, after }
    }

    /// The error for a net that takes `least` at its narrowest; what it says can be asked for.
    fn out_of_reach(&self, least: f64, options: &PruneOptions) -> Error {
        let Budget { at_most, unit, option, .. } = self;
        let limits = named_limits(options);
        if let Some((share, whole)) = self.share_of {
            let nearest = ((1.0 - least / whole).max(0.0) * 1000.0).floor() / 1000.0;
            let (nearest_percent, percent) = (nearest * 100.0, share * 100.0);
            let cause =
                format!("at most {nearest_percent:.1} % of the {unit} can go with {limits}, but {percent:.1} % should");
            return Error::at(option, cause).fix(format!("ask for {nearest:.3} or less{}", loosened(options)));
        }
        let nearest = (least * 1000.0).ceil() / 1000.0;
        Error::at(option, format!("{at_most} {unit} can't be reached: the narrowest net with {limits} needs more"))
            .fix(format!("ask for {nearest} {unit} or more{}", loosened(options)))
    }
}

impl Selection<'_> {
    /// The fates when the share of classes that score lowest are to go.
    #[must_use]
    pub fn share(&self, share: f64) -> Vec<Fate> {
        self.lowest(portion(self.scores.candidates.len(), share))
    }

    /// The fates that keep within all budgets, as near as they can to the one that binds: the fewest of the lowest classes
    /// whose loss does so, by bisection, since cost falls with every class, then refinement.
    ///
    /// # Errors
    /// A budget that even the narrowest net exceeds, naming the nearest that can be asked for.
    pub fn within(&self, budgets: &[Budget], options: &PruneOptions) -> Result<Vec<Fate>> {
        let (mut low, mut high) = (0, self.scores.candidates.len());
        let narrowest = self.slim(&self.lowest(high));
        if let Some(budget) = budgets.iter().find(|budget| (budget.cost)(&narrowest) > budget.at_most) {
            return Err(budget.out_of_reach((budget.cost)(&narrowest), options));
        }
        while low < high {
            let middle = (low + high) / 2;
            if self.spent(&self.lowest(middle), budgets) <= 1.0 {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(self.refine(high, budgets))
    }

    /// Where the last step went below the budget (a whole multiple of channels fell at once, say), brings back what
    /// scores best, step by step, as long as the budget holds.
    fn refine(&self, count: usize, budgets: &[Budget]) -> Vec<Fate> {
        let gone = &self.scores.candidates[..count];
        let mut low = self.marked(count);
        let mut best = self.limits.settle(&low);
        let mut spare = 1.0 - self.spent(&best, budgets);
        // Layers whose next step costs more than is left, which only gets less.
        let mut dear = vec![false; self.graph.layers.len()];
        let mut trials = TRIALS;
        for candidate in gone.iter().rev() {
            let first = self.channels.classes[candidate.class].producers.first().map_or(0, |p| p.layer);
            if spare < SPARE || trials == 0 {
                break;
            }
            if dear[first] || best[candidate.class].is_kept() {
                continue;
            }
            trials -= 1;
            low[candidate.class] = false;
            let fates = self.limits.settle(&low);
            let spent = self.spent(&fates, budgets);
            if spent <= 1.0 {
                (best, spare) = (fates, 1.0 - spent);
            } else {
                (low[candidate.class], dear[first]) = (true, true);
            }
        }
        if 1.0 - self.spent(&best, budgets) > FAR {
            (low, best) = self.exchange(count, low, best, budgets);
        }
        for candidate in gone.iter().filter(|c| !low[c.class]) {
            // What rounding down takes of a layer goes, or carries what others leave behind.
            if !matches!(best[candidate.class], Fate::Goes | Fate::Carries) {
                best[candidate.class] = Fate::Stays(Reason::BudgetMet);
            }
        }
        best
    }

    /// Where all that could come back costs more than is left, brings some of it back for cheaper classes further up the order
    /// that go instead, if that comes nearer to the budget.
    fn exchange(
        &self,
        count: usize,
        mut low: Vec<bool>,
        mut best: Vec<Fate>,
        budgets: &[Budget],
    ) -> (Vec<bool>, Vec<Fate>) {
        let (gone, next) = self.scores.candidates.split_at(count);
        let mut tried = vec![false; self.graph.layers.len()];
        let mut trials = TRIALS;
        for back in gone.iter().rev() {
            let first = self.channels.classes[back.class].producers.first().map_or(0, |p| p.layer);
            if tried[first] || !low[back.class] || best[back.class].is_kept() {
                continue;
            }
            tried[first] = true;
            let mut trial = low.clone();
            trial[back.class] = false;
            for instead in next.iter().take(EXCHANGED.min(trials)) {
                trial[instead.class] = true;
                trials -= 1;
                let fates = self.limits.settle(&trial);
                let spent = self.spent(&fates, budgets);
                if spent > 1.0 {
                    continue;
                }
                if spent > self.spent(&best, budgets) {
                    (low, best) = (trial, fates);
                }
                break;
            }
            if trials == 0 || 1.0 - self.spent(&best, budgets) <= FAR {
                break;
            }
        }
        (low, best)
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

    /// The largest share of a budget that the net takes: 1 is the most.
    fn spent(&self, fates: &[Fate], budgets: &[Budget]) -> f64 {
        let slim = self.slim(fates);
        budgets.iter().map(|budget| (budget.cost)(&slim) / budget.at_most).fold(0.0, f64::max)
    }

    fn slim(&self, fates: &[Fate]) -> Graph {
        let kept: Vec<bool> = fates.iter().map(|f| f.is_kept()).collect();
        slim_graph(self.graph, self.channels, &kept)
    }
}

/// Which limits may be loosened for a narrower net.
fn loosened(options: &PruneOptions) -> String {
    let ways = [
        (options.min_keep > 0.0, "lower min-keep"),
        (options.multiple_of > 1, "a smaller multiple-of"),
        (options.groups == Groups::Frozen, "groups that may go together"),
    ];
    ways.iter().filter(|(holds, _)| *holds).map(|(_, way)| format!(", or {way}")).collect()
}

/// What keeps a net from being narrower.
fn named_limits(options: &PruneOptions) -> String {
    let mut limits = format!("groups {}, min-keep {}", options.groups.name(), options.min_keep);
    if options.multiple_of > 1 {
        limits += &format!(", multiple-of {}", options.multiple_of);
    }
    limits
}
