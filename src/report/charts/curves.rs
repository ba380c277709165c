//! Training curves: loss by parts, accuracy and learning rate over all epochs of all stages.

use yoloslim_core::record::EpochRecord;

use crate::report::page::{Cell, Figure, Key, Shape, Table};
use crate::report::run::{Run, Training};
use crate::report::scale::rounded;
use crate::report::svg::{Plot, el, line, rect, text};
use crate::report::words;

const SIZE: (f64, f64) = (460.0, 270.0);

/// A value of each epoch, where it was measured.
struct Series {
    name: &'static str,
    class: &'static str,
    value: fn(&EpochRecord) -> Option<f64>,
}

const LOSS: [Series; 3] = [
    Series { name: "box", class: "series a", value: |e| Some(e.loss.boxes) },
    Series { name: "objectness", class: "series b", value: |e| Some(e.loss.objectness) },
    Series { name: "class", class: "series c", value: |e| Some(e.loss.class) },
];
const ACCURACY: [Series; 2] = [
    Series { name: "mAP@0.5", class: "series a", value: |e| e.map50.map(|v| v * 100.0) },
    Series { name: "mAP@0.5:0.95", class: "series b", value: |e| e.map.map(|v| v * 100.0) },
];
const ZEROS: [Series; 3] = [
    Series { name: "near zero", class: "series a", value: |e| Some(e.gammas.as_ref()?.near_zero * 100.0) },
    Series { name: "exactly zero", class: "series b", value: |e| Some(e.gammas.as_ref()?.zero * 100.0) },
    Series {
        name: "of those to be pruned, zero",
        class: "series c",
        value: |e| e.sparsity.as_ref().map(|s| 100.0 * s.reached as f64 / s.targets.max(1) as f64),
    },
];
const RATE: [Series; 1] = [Series { name: "learning rate", class: "series a", value: |e| Some(e.learning_rate) }];

/// The figures; those without any value are left out.
pub fn draw(run: &Run) -> Vec<Figure> {
    let trainings = run.trainings();
    let rate = |v: f64| if v == 0.0 { "0".to_owned() } else { format!("{v:.1e}") };
    let figures = [
        figure(&trainings, ("loss", "Loss", "mean of an epoch"), &LOSS, &|v| words::digits(v)),
        figure(&trainings, ("map", "Accuracy on the validation images", "points"), &ACCURACY, &|v| format!("{v:.1}")),
        figure(&trainings, ("zeros", "Channels whose γ is zero", "percent"), &ZEROS, &|v| format!("{v:.1}")),
        figure(&trainings, ("learning-rate", "Learning rate", "of an epoch's last step"), &RATE, &rate),
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
