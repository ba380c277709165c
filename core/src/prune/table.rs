//! A plan as people read it.

use std::fmt::{Display, Formatter, Result};

use super::{BlockPlan, LayerPlan, PrunePlan, Reason};

/// Units that have their own lines.
const COUNTED: [&str; 2] = ["parameters", "FLOPs"];

impl Display for PrunePlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{:>5}  {:>7}     {:<7} {:>6}  why more than the score keeps", "layer", "filters", "", "kept")?;
        self.layers.iter().try_for_each(|l| layer(f, l))?;
        let blocks: Vec<_> = self.removed_blocks().collect();
        if !blocks.is_empty() {
            writeln!(f, "\nresidual blocks that go: {} of {}", blocks.len(), self.blocks.len())?;
            blocks.into_iter().try_for_each(|b| block(f, b))?;
        }
        let share = |before: f64, after: f64| (after / before - 1.0) * 100.0;
        let (b, a) = (self.before, self.after);
        let params = (b.params as f64, a.params as f64);
        writeln!(f, "\nthreshold   {:.6}", self.threshold)?;
        writeln!(f, "parameters  {} -> {} ({:+.1} %)", b.params, a.params, share(params.0, params.1))?;
        writeln!(f, "BFLOPs      {:.3} -> {:.3} ({:+.1} %)", b.flops / 1e9, a.flops / 1e9, share(b.flops, a.flops))?;
        for spent in self.budgets.iter().filter(|spent| !COUNTED.contains(&spent.unit.as_str())) {
            let (before, after) = (spent.before, spent.after);
            writeln!(f, "{:<10}  {before:.3} -> {after:.3} ({:+.1} %)", spent.unit, share(before, after))?;
        }
        writeln!(f, "gamma       {:.1} % of all |gamma| goes", self.gamma_share * 100.0)?;
        let Some(gap) = self.border_gap() else { return Ok(()) };
        writeln!(f, "border      what goes is {gap:.2} deviations from its mean at the border of its map")
    }
}

fn layer(f: &mut Formatter<'_>, l: &LayerPlan) -> Result {
    if l.is_removed() {
        return writeln!(f, "{:>5}  {:>7}  -> {:<7} {:>6}  goes with its residual block", l.layer, l.filters, 0, "0 %");
    }
    let percent = format!("{:.0} %", 100.0 * l.kept.len() as f64 / l.filters as f64);
    let mut counts: Vec<(Reason, usize)> = l.stays.iter().map(|(reason, filters)| (*reason, filters.len())).collect();
    if !l.carriers.is_empty() {
        match counts.iter_mut().find(|(reason, _)| *reason == Reason::CarriesConstants) {
            Some((_, n)) => *n += l.carriers.len(),
            None => counts.push((Reason::CarriesConstants, l.carriers.len())),
        }
    }
    let why: Vec<String> = counts.iter().map(|(reason, n)| format!("{n} {}", reason.words())).collect();
    let line = format!("{:>5}  {:>7}  -> {:<7} {percent:>6}  {}", l.layer, l.filters, l.kept.len(), why.join(", "));
    writeln!(f, "{}", line.trim_end())
}

fn block(f: &mut Formatter<'_>, b: &BlockPlan) -> Result {
    let first = b.layers.first().copied().unwrap_or(b.shortcut);
    writeln!(f, "  layers {first} to {}, score {:.6}", b.shortcut, b.score.unwrap_or(0.0))
}
