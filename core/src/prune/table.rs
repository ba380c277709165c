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
        let of = if self.removed_blocks().next().is_some() { " of the layers that stay" } else { "" };
        writeln!(f, "gamma       {:.1} % of all |gamma|{of} goes", self.gamma_share * 100.0)?;
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
    let line = format!("{:>5}  {:>7}  -> {:<7} {percent:>6}  ", l.layer, l.filters, l.kept.len());
    let last = counts.len().saturating_sub(1);
    let why = counts
        .iter()
        .enumerate()
        .map(|(i, (reason, n))| format!("{n} {}{}", reason.words(), if i == last { "" } else { "," }));
    writeln!(f, "{}", in_columns(line, why).trim_end())
}

/// The characters of a line on every terminal.
const COLUMNS: usize = 80;

/// `line` and the reasons after it, each whole, on as many lines as they need.
fn in_columns(line: String, reasons: impl Iterator<Item = String>) -> String {
    let indent = line.len();
    let (mut out, mut column) = (line, indent);
    for reason in reasons {
        let gap = usize::from(column > indent);
        if column + gap + reason.len() > COLUMNS && column > indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push_str(&" ".repeat(gap));
            column += gap;
        }
        out.push_str(&reason);
        column += reason.len();
    }
    out
}

fn block(f: &mut Formatter<'_>, b: &BlockPlan) -> Result {
    let first = b.layers.first().copied().unwrap_or(b.shortcut);
    writeln!(f, "  layers {first} to {}, score {:.6}", b.shortcut, b.score.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_layer_whose_filters_stay_for_every_reason_fits_a_terminal() {
        let reasons = [
            Reason::ProtectedHead,
            Reason::Image,
            Reason::Reorg,
            Reason::NoScore,
            Reason::Frozen,
            Reason::Floor,
            Reason::Balance,
            Reason::Multiple,
            Reason::BudgetMet,
            Reason::CarriesConstants,
        ];
        struct Line(LayerPlan);
        impl Display for Line {
            fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                layer(f, &self.0)
            }
        }
        let layer = |stays: BTreeMap<Reason, Vec<usize>>| LayerPlan {
            layer: 105,
            place: String::new(),
            filters: 1024,
            kept: (0..1000).collect(),
            carriers: vec![],
            stays,
            means: None,
            border_gap: None,
        };
        let text = Line(layer(reasons.map(|reason| (reason, vec![0; 1000])).into())).to_string();
        assert!(text.lines().all(|line| line.len() <= COLUMNS) && text.lines().count() > 3, "{text}");
        assert!(reasons.iter().all(|reason| text.contains(reason.words())), "{text}");
        let one = Line(layer([(Reason::Frozen, vec![0; 12])].into())).to_string();
        assert_eq!(one.trim(), "105     1024  -> 1000      98 %  12 frozen by a shortcut or upsampling");
    }
}
