//! Average precision by class and by object size, baseline and result.

use yoloslim_core::eval::{ClassResult, Evaluation};

use crate::report::page::{Cell, Figure, Key, Shape, Table};
use crate::report::run::Run;
use crate::report::scale::Scale;
use crate::report::svg::{Svg, el, line, text};
use crate::report::words;

/// A name and two shares: of the baseline and of the result.
struct Row {
    name: String,
    before: Option<f64>,
    after: Option<f64>,
}

/// By class and by size.
pub fn draw(run: &Run) -> Vec<Figure> {
    let Some(before) = run.first().and_then(|s| s.evaluation.as_ref()) else { return Vec::new() };
    let after = run.last().and_then(|s| s.evaluation.as_ref());
    let classes: Vec<(&ClassResult, Option<&ClassResult>)> = (before.classes.iter())
        .map(|c| (c, after.and_then(|e| e.classes.iter().find(|other| other.name == c.name))))
        .collect();
    let mut rows: Vec<Row> = classes
        .iter()
        .map(|(b, a)| Row { name: b.name.clone(), before: b.ap50, after: a.and_then(|a| a.ap50) })
        .collect();
    let change = |r: &Row| r.after.zip(r.before).map_or(f64::INFINITY, |(a, b)| a - b);
    rows.sort_by(|a, b| change(a).total_cmp(&change(b)));
    let size = |name: &str, figure: fn(&Evaluation) -> Option<f64>| Row {
        name: name.to_owned(),
        before: figure(before),
        after: after.and_then(figure),
    };
    let sizes = [
        size("all", |e| e.map),
        size("small, under 32²", |e| e.map_small),
        size("medium, to 96²", |e| e.map_medium),
        size("large, over 96²", |e| e.map_large),
    ];
    let both = after.is_some();
    let by_class = figure("ap-by-class", "AP@0.5 by class", "The largest loss is first.", &rows, both);
    let by_size = figure("ap-by-size", "mAP@0.5:0.95 by object size", "Sizes in pixels of the image.", &sizes, both);
    let by_class = by_class.map(|f| Figure { table: Some(table(&classes)), ..f });
    by_class.into_iter().chain(by_size).collect()
}

fn figure(id: &str, title: &str, note: &str, rows: &[Row], both: bool) -> Option<Figure> {
    let rows: Vec<&Row> = rows.iter().filter(|r| r.before.is_some() || r.after.is_some()).collect();
    if rows.is_empty() {
        return None;
    }
    let x = Scale::new((0.0, 1.0), (140.0, 404.0));
    let bottom = 10.0 + 24.0 * rows.len() as f64;
    let mut svg = Svg::new(460.0, bottom + 24.0);
    for tick in x.ticks(4) {
        svg.add(line((x.at(tick), 4.0), (x.at(tick), bottom)).class("grid"));
        svg.add(text(x.at(tick), bottom + 17.0, "middle", format!("{:.0}", tick * 100.0)).class("tick"));
    }
    for (i, row) in rows.iter().enumerate() {
        let y = 22.0 + 24.0 * i as f64;
        svg.add(text(132.0, y + 4.0, "end", shortened(&row.name)));
        let mut tip = row.name.clone();
        if let Some((b, a)) = row.before.zip(row.after) {
            svg.add(line((x.at(b), y), (x.at(a), y)).class("between"));
            svg.add(text(458.0, y + 4.0, "end", words::difference(a - b)).class(if a < b { "loss" } else { "gain" }));
        }
        let mut dot = |value: Option<f64>, class: &str, radius: f64, name: &str| {
            let Some(value) = value else { return };
            tip.push_str(&format!("\n{name} {}", words::points(value)));
            svg.add(el("circle").num("cx", x.at(value)).num("cy", y).num("r", radius).class(class));
        };
        dot(row.before, "point was", 5.0, "baseline");
        dot(row.after, "point is", 5.0, "result");
        svg.add(crate::report::svg::rect(0.0, y - 12.0, 460.0, 24.0).class("hit").tip(tip));
    }
    let result = both.then(|| Key::new("is", "result"));
    Some(Figure {
        id: id.to_owned(),
        title: title.to_owned(),
        note: if both { note.to_owned() } else { String::new() },
        drawing: svg.finish(&format!("{title}, baseline and result, {} rows", rows.len())),
        legend: std::iter::once(Key::new("was", "baseline")).chain(result).collect(),
        shape: Shape::Half,
        table: None,
    })
}

/// A name short enough to stand before its row.
fn shortened(name: &str) -> String {
    if name.chars().count() <= 19 { name.to_owned() } else { name.chars().take(18).chain(['…']).collect() }
}

fn table(classes: &[(&ClassResult, Option<&ClassResult>)]) -> Table {
    let head = [
        "Class",
        "Labels",
        "AP@0.5",
        "was",
        "Change",
        "AP",
        "was",
        "AP@0.5 small",
        "was",
        "Precision",
        "Recall",
        "at score",
    ];
    let row = |(before, after): &(&ClassResult, Option<&ClassResult>)| {
        let now = after.unwrap_or(before);
        let share = |value: Option<f64>| Cell::number(value, words::points);
        let was = |figure: fn(&ClassResult) -> Option<f64>| share(after.and_then(|_| figure(before)));
        let change = after.and_then(|a| Some(a.ap50? - before.ap50?));
        vec![
            Cell::text(&now.name),
            Cell::number(Some(now.labels as f64), |n| format!("{n}")),
            share(now.ap50),
            was(|c| c.ap50),
            Cell::number(change, words::difference),
            share(now.ap),
            was(|c| c.ap),
            share(now.ap50_small),
            was(|c| c.ap50_small),
            share(now.best_f1.map(|p| p.precision)),
            share(now.best_f1.map(|p| p.recall)),
            Cell::number(now.best_f1.map(|p| f64::from(p.score)), |s| format!("{s:.2}")),
        ]
    };
    Table {
        caption: "Classes, times a hundred. Precision and recall where F1 is best.".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: classes.iter().map(row).collect(),
    }
}
