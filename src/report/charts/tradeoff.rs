//! Accuracy against cost, the stages as points.

use yoloslim_core::record::StageRecord;

use crate::report::page::{Figure, Shape};
use crate::report::run::Run;
use crate::report::scale::rounded;
use crate::report::svg::{Plot, el, text};
use crate::report::words;

/// A stage's name, its cost and its accuracy in points.
struct Point<'a> {
    name: &'a str,
    cost: f64,
    accuracy: f64,
    /// Whether this is what the run came to: a last step may have been given up.
    result: bool,
}

/// Accuracy over operations and over the time of an image.
pub fn draw(run: &Run) -> Vec<Figure> {
    let points = |cost: fn(&StageRecord) -> Option<f64>| -> Vec<Point> {
        run.record
            .stages
            .iter()
            .filter_map(|s| {
                let accuracy = s.evaluation.as_ref()?.map50? * 100.0;
                let result = run.record.result().is_some_and(|result| result.name == s.name);
                Some(Point { name: &s.name, cost: cost(s)?, accuracy, result })
            })
            .collect()
    };
    let figures = [
        figure("tradeoff-flops", "Accuracy over operations", "BFLOPs an image", &points(|s| Some(s.bflops))),
        figure("tradeoff-latency", "Accuracy over time", "ms an image on this CPU", &points(|s| s.milliseconds)),
    ];
    figures.into_iter().flatten().collect()
}

fn figure(id: &str, title: &str, axis: &str, points: &[Point]) -> Option<Figure> {
    if points.len() < 2 {
        return None;
    }
    let range = |value: fn(&Point) -> f64| {
        let values = || points.iter().map(value);
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    };
    let (low, high) = range(|p| p.accuracy);
    let accuracies = rounded((low - 1.0).max(0.0), (high + 1.0).min(100.0), 5);
    let costs = rounded(0.0, range(|p| p.cost).1 * 1.08, 5);
    let mut plot = Plot::new((460.0, 290.0), [40.0, 34.0, 16.0, 42.0], costs, accuracies);
    plot.y_axis("mAP@0.5", 5, |v| format!("{v:.0}"));
    plot.x_axis(axis, 5, |v| format!("{}", (v * 100.0).round() / 100.0));
    plot.polyline(points.iter().map(|p| (p.cost, p.accuracy)), "way");
    let mut labels: Vec<(f64, f64)> = Vec::new();
    for (i, p) in points.iter().enumerate() {
        let (x, y) = (plot.x.at(p.cost), plot.y.at(p.accuracy));
        let class = match i {
            0 => "point was",
            _ if p.result => "point is",
            _ => "point between",
        };
        let tip = format!("{}\nmAP@0.5 {}\n{} {axis}", p.name, words::digits(p.accuracy), words::digits(p.cost));
        plot.svg.add(el("circle").num("cx", x).num("cy", y).num("r", 6.0).class(class).tip(tip));
        let (dx, anchor) = if x > 300.0 { (-9.0, "end") } else { (9.0, "start") };
        // Above its point, or below it where it would cover one before.
        let mut at = y - 9.0;
        while labels.iter().any(|(lx, ly)| (lx - x).abs() < 90.0 && (ly - at).abs() < 13.0) {
            at += 13.0;
        }
        labels.push((x, at));
        plot.svg.add(text(x + dx, at, anchor, p.name).class("label"));
    }
    let (first, last) = (&points[0], points.iter().find(|p| p.result).unwrap_or(&points[points.len() - 1]));
    let label = format!(
        "{title}: from {} at {} {axis} to {} at {} {axis}",
        words::digits(first.accuracy),
        words::digits(first.cost),
        words::digits(last.accuracy),
        words::digits(last.cost)
    );
    Some(Figure {
        id: id.to_owned(),
        title: title.to_owned(),
        note: "Up and to the left is better. The line goes from stage to stage.".to_owned(),
        drawing: plot.svg.finish(&label),
        legend: Vec::new(),
        shape: Shape::Half,
        table: None,
    })
}
