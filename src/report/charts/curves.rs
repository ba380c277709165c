//! Training curves: loss by parts, accuracy and learning rate over all epochs of all stages.

use std::collections::BTreeSet;

use yoloslim_core::record::EpochRecord;

use crate::report::page::{Cell, Figure, Key, Shape, Table};
use crate::report::run::{Run, Training};
use crate::report::scale::rounded;
use crate::report::svg::{Plot, el, line, rect, text};
use crate::report::words;

const SIZE: (f64, f64) = (460.0, 270.0);

/// Reads a value of an epoch, where it was measured.
type Reading<'a> = dyn Fn(&EpochRecord) -> Option<f64> + 'a;

/// A line: what is read of each epoch.
struct Series<'a> {
    name: &'a str,
    class: &'static str,
    value: Box<Reading<'a>>,
}

/// The lines' colours, in order.
const CLASSES: [&str; 8] =
    ["series a", "series b", "series c", "series d", "series e", "series f", "series g", "series h"];

type Value = fn(&EpochRecord) -> Option<f64>;

const LOSS: [(&str, Value); 3] =
    [("box", |e| Some(e.loss.boxes)), ("objectness", |e| Some(e.loss.objectness)), ("class", |e| Some(e.loss.class))];
const ACCURACY: [(&str, Value); 2] =
    [("mAP@0.5", |e| e.map50.map(|v| v * 100.0)), ("mAP@0.5:0.95", |e| e.map.map(|v| v * 100.0))];
const ZEROS: [(&str, Value); 4] = [
    ("near zero", |e| Some(e.gammas.as_ref()?.near_zero * 100.0)),
    ("exactly zero", |e| Some(e.gammas.as_ref()?.zero * 100.0)),
    ("of those to be pruned, zero", |e| {
        e.sparsity.as_ref().map(|s| 100.0 * s.reached as f64 / s.targets.max(1) as f64)
    }),
    ("safe to prune", |e| Some(e.gammas.as_ref()?.safe * 100.0)),
];
const RATE: [(&str, Value); 1] = [("learning rate", |e| Some(e.learning_rate))];

fn series(named: &[(&'static str, Value)]) -> Vec<Series<'static>> {
    let one = |(&(name, value), class): (&(&'static str, Value), &'static str)| Series {
        name,
        class,
        value: Box::new(value),
    };
    named.iter().zip(CLASSES).map(one).collect()
}

/// What a teacher added to the loss, by the names of its parts.
fn distilled<'a>(trainings: &[Training<'a>]) -> Vec<Series<'a>> {
    let names: BTreeSet<&str> =
        trainings.iter().flat_map(|t| t.epochs).flat_map(|e| e.distilled.keys().map(String::as_str)).collect();
    let one = |(name, class): (&'a str, &'static str)| Series {
        name,
        class,
        value: Box::new(move |e: &EpochRecord| e.distilled.get(name).copied()),
    };
    names.into_iter().zip(CLASSES).map(one).collect()
}

/// The figures; those without any value are left out.
pub fn draw(run: &Run) -> Vec<Figure> {
    let trainings = run.trainings();
    let tenth = |v: f64| format!("{v:.1}");
    let rate = |v: f64| if v == 0.0 { "0".to_owned() } else { format!("{v:.1e}") };
    let figures = [
        figure(&trainings, ("loss", "Loss", "mean of an epoch"), &series(&LOSS), &|v| words::digits(v)),
        figure(&trainings, ("distillation", "What the teacher adds", "weighted loss"), &distilled(&trainings), &|v| {
            words::digits(v)
        }),
        figure(&trainings, ("map", "Accuracy on the validation images", "points"), &series(&ACCURACY), &tenth),
        figure(&trainings, ("zeros", "Channels whose γ is zero", "percent"), &series(&ZEROS), &tenth),
        figure(&trainings, ("learning-rate", "Learning rate", "of an epoch's last step"), &series(&RATE), &rate),
    ];
    figures.into_iter().flatten().collect()
}

fn figure(
    trainings: &[Training],
    (id, title, axis): (&str, &str, &str),
    series: &[Series],
    words: &dyn Fn(f64) -> String,
) -> Option<Figure> {
    let values = || trainings.iter().flat_map(|t| t.epochs).flat_map(|e| series.iter().filter_map(|s| (s.value)(e)));
    let most = values().fold(f64::NAN, f64::max);
    if most.is_nan() {
        return None;
    }
    let epochs: usize = trainings.iter().map(|t| t.planned.max(t.epochs.len())).sum();
    let mut plot = Plot::new(SIZE, [48.0, 44.0, 10.0, 40.0], (0.0, epochs as f64), rounded(0.0, most.max(1e-12), 5));
    plot.y_axis(axis, 5, |v| if id == "learning-rate" { words(v) } else { format!("{}", (v * 1e6).round() / 1e6) });
    let mut start = 0;
    for training in trainings {
        stage(&mut plot, training, start);
        for s in series {
            curve(&mut plot, training, start, s);
        }
        start += training.planned.max(training.epochs.len());
    }
    plot.x_axis("epochs of all stages", 6, |v| format!("{v:.0}"));
    hits(&mut plot, trainings, series, words);
    let label = format!("{title} over {epochs} epochs; the table below the chart has the numbers");
    Some(Figure {
        id: id.to_owned(),
        title: title.to_owned(),
        note: String::new(),
        drawing: plot.svg.finish(&label),
        legend: series.iter().map(|s| Key::new(s.class, s.name)).collect(),
        shape: Shape::Half,
        table: Some(table(trainings, title, series, words)),
    })
}

/// A rule where the stage begins, and its name if there is room.
fn stage(plot: &mut Plot, training: &Training, start: usize) {
    let (left, right) = (plot.x.at(start as f64), plot.x.at((start + training.planned.max(1)) as f64));
    let (bottom, top) = plot.y.to;
    if start > 0 {
        plot.svg.add(line((left, top - 18.0), (left, bottom)).class("stage-rule"));
    }
    if right - left > 7.0 * training.stage.len() as f64 {
        plot.svg.add(text((left + right) / 2.0, top - 8.0, "middle", training.stage).class("stage-name"));
    }
}

fn curve(plot: &mut Plot, training: &Training, start: usize, series: &Series) {
    let values = training.epochs.iter().filter_map(|e| Some(((start + e.epoch) as f64 + 0.5, (series.value)(e)?)));
    let points: Vec<(f64, f64)> = values.collect();
    if points.len() <= 24 {
        for (x, y) in &points {
            let (cx, cy) = (plot.x.at(*x), plot.y.at(*y));
            plot.svg.add(el("circle").num("cx", cx).num("cy", cy).num("r", 2.5).class(series.class));
        }
    }
    plot.polyline(points, series.class);
}

/// An invisible strip for each epoch, which tells its numbers.
fn hits(plot: &mut Plot, trainings: &[Training], series: &[Series], words: &dyn Fn(f64) -> String) {
    let (bottom, top) = plot.y.to;
    let width = plot.x.at(1.0) - plot.x.at(0.0);
    let mut start = 0;
    for training in trainings {
        for e in training.epochs {
            let values = series.iter().filter_map(|s| Some(format!("{} {}", s.name, words((s.value)(e)?))));
            let values: Vec<String> = values.collect();
            let tip =
                format!("{}, epoch {} of {}\n{}", training.stage, e.epoch + 1, training.planned, values.join("\n"));
            let left = plot.x.at((start + e.epoch) as f64);
            plot.svg.add(rect(left, top, width, bottom - top).class("hit").tip(tip));
        }
        start += training.planned.max(training.epochs.len());
    }
}

fn table(trainings: &[Training], title: &str, series: &[Series], words: &dyn Fn(f64) -> String) -> Table {
    let head = ["Stage", "Epoch"].into_iter().chain(series.iter().map(|s| s.name)).map(str::to_owned).collect();
    let rows = trainings.iter().flat_map(|t| t.epochs.iter().map(move |e| (t.stage, e)));
    let cells = |(stage, e): (&str, &EpochRecord)| {
        let mut row = vec![Cell::text(stage), Cell::number(Some(e.epoch as f64 + 1.0), |n| format!("{n}"))];
        row.extend(series.iter().map(|s| Cell::number((s.value)(e), words)));
        row
    };
    Table { caption: format!("{title} by epoch"), head, rows: rows.map(cells).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_teachers_loss_has_its_line() {
        let distilled = [("hint".to_owned(), 0.5), ("soft-targets".to_owned(), 1.5)].into();
        let epochs = [EpochRecord { distilled, ..EpochRecord::default() }];
        let taught = [Training { stage: "fine-tuned", epochs: &epochs, planned: 2 }];
        let names = |trainings: &[Training]| {
            super::distilled(trainings).iter().map(|s| (s.name.to_owned(), (s.value)(&epochs[0]))).collect::<Vec<_>>()
        };
        assert_eq!(names(&taught), [("hint".to_owned(), Some(0.5)), ("soft-targets".to_owned(), Some(1.5))]);
        assert!(names(&[]).is_empty());
    }
}
