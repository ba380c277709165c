//! How many channels of each convolution stay, and why those stay that score under the threshold.

use std::collections::BTreeMap;

use yoloslim_core::prune::{LayerPlan, PrunePlan, Reason};

use crate::report::page::{Cell, Figure, Key, Shape, Table};
use crate::report::run::Run;
use crate::report::svg::{El, el, rect};

/// A figure for each pruning of the run.
pub fn draw(run: &Run) -> Vec<Figure> {
    let title = |stage: &str| match run.plans.len() {
        1 => "Channels kept, by layer".to_owned(),
        _ => format!("Channels kept, by layer: {stage}"),
    };
    run.plans.iter().map(|(stage, plan)| figure(title(stage), stage, plan)).collect()
}

fn figure(title: String, stage: &str, plan: &PrunePlan) -> Figure {
    let mut reasons: Vec<Reason> = plan.layers.iter().flat_map(|l| counts(l).into_keys()).collect();
    reasons.sort();
    reasons.dedup();
    let class = |reason: &Reason| {
        let place = reasons.iter().position(|r| r == reason).unwrap_or(0);
        ["b", "c", "d", "e", "f", "g", "h"][place % 7]
    };
    let rows = plan.layers.iter().map(|l| row(l, &class));
    let list = rows.fold(el("ol").class("layers").attr("tabindex", "0").attr("aria-label", &title), El::with);
    let kept: usize = plan.layers.iter().map(|l| l.kept.len()).sum();
    let filters: usize = plan.layers.iter().map(|l| l.filters).sum();
    let gone = plan.removed_blocks().count();
    let mut note = format!("{kept} of {filters} channels stay.");
    if !plan.blocks.is_empty() {
        note.push_str(&format!(" {gone} of {} residual blocks go whole.", plan.blocks.len()));
    }
    let legend = std::iter::once(Key::new("is", "scored high enough"));
    let legend = legend.chain(reasons.iter().map(|r| Key::new(class(r), r.words())));
    Figure {
        id: format!("channels-{stage}"),
        title,
        note,
        drawing: list.into_string(),
        legend: legend.chain([Key::new("gone", "removed")]).collect(),
        shape: Shape::Wide,
        table: Some(table(plan, &reasons)),
    }
}

/// How many channels stay for which reason.
fn counts(layer: &LayerPlan) -> BTreeMap<Reason, usize> {
    let mut counts: BTreeMap<Reason, usize> = layer.stays.iter().map(|(r, filters)| (*r, filters.len())).collect();
    if !layer.carriers.is_empty() {
        *counts.entry(Reason::CarriesConstants).or_default() += layer.carriers.len();
    }
    counts.retain(|_, n| *n > 0);
    counts
}

fn row<'a>(layer: &LayerPlan, class: &impl Fn(&Reason) -> &'a str) -> El {
    let counts = counts(layer);
    let share = |n: usize| 100.0 * n as f64 / layer.filters.max(1) as f64;
    let mut bar =
        el("svg").attr("viewBox", "0 0 100 10").attr("preserveAspectRatio", "none").attr("aria-hidden", "true");
    let kept = share(layer.kept.len());
    bar = bar.with(rect(kept, 0.0, 100.0 - kept, 10.0).class("gone"));
    let scored = layer.kept.len().saturating_sub(counts.values().sum());
    let mut x = share(scored);
    bar = bar.with(rect(0.0, 0.0, x, 10.0).class("key is"));
    let mut tip = format!("layer {}: {} of {} channels stay", layer.layer, layer.kept.len(), layer.filters);
    if layer.is_removed() {
        tip = format!("layer {}: goes with its residual block", layer.layer);
    } else if scored > 0 {
        tip.push_str(&format!("\n{scored} scored high enough"));
    }
    for (reason, n) in &counts {
        bar = bar.with(rect(x, 0.0, share(*n), 10.0).class(format!("key {}", class(reason))));
        x += share(*n);
        tip.push_str(&format!("\n{n} {}", reason.words()));
    }
    let size = if layer.is_removed() { "gone".to_owned() } else { format!("{} / {}", layer.kept.len(), layer.filters) };
    el("li")
        .tip(tip)
        .with(el("span").class("who").say(layer.layer.to_string()))
        .with(bar)
        .with(el("span").class("size").say(size))
}

fn table(plan: &PrunePlan, reasons: &[Reason]) -> Table {
    let head = ["Layer", "Channels", "Kept", "Kept, %"].into_iter().chain(reasons.iter().map(|r| r.words()));
    let number = |n: usize| Cell::number(Some(n as f64), |n| format!("{n}"));
    let row = |l: &LayerPlan| {
        let counts = counts(l);
        let share = 100.0 * l.kept.len() as f64 / l.filters.max(1) as f64;
        let mut row = vec![Cell::text(&l.place), number(l.filters), number(l.kept.len())];
        row.push(Cell::number(Some(share), |v| format!("{v:.0}")));
        row.extend(reasons.iter().map(|r| number(counts.get(r).copied().unwrap_or(0))));
        row
    };
    Table {
        caption: "Channels kept, and why those stay that score under the threshold".to_owned(),
        head: head.map(str::to_owned).collect(),
        rows: plan.layers.iter().map(row).collect(),
    }
}
