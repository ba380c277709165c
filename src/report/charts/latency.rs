//! How long each layer takes, before and after: as chips' profiles predict it, and as this machine was timed.

use yoloslim_core::cost::profile::Profile;
use yoloslim_core::graph::Graph;

use crate::report::lineage::{kind, lineage};
use crate::report::page::{Cell, Figure, Key, Shape, Table};
use crate::report::run::Run;
use crate::report::scale::rounded;
use crate::report::svg::{Plot, rect};
use crate::report::words;

/// Milliseconds of every layer of the first net, before and after.
struct Times {
    id: String,
    title: String,
    note: String,
    before: Vec<f64>,
    after: Option<Vec<f64>>,
}

/// A figure for each device.
pub fn draw(run: &Run) -> Vec<Figure> {
    let (Some(first), after) = run.graphs() else { return Vec::new() };
    let after = after.and_then(|after| Some((after, lineage(first, after, &run.plans)?)));
    let places = |times: &dyn Fn(usize) -> f64, lineage: &[Option<usize>]| -> Vec<f64> {
        lineage.iter().map(|new| new.map_or(0.0, times)).collect()
    };
    let built_in = Profile::BUILT_IN.iter().filter_map(|(name, _)| Some((*name, Profile::find(name).ok()?)));
    let own = run.profiles.iter().map(|profile| ("own", profile.clone()));
    let predicted = built_in.chain(own).enumerate().map(|(number, (name, profile))| Times {
        // Two profiles of one name may have been pruned by.
        id: if name == "own" { format!("latency-own-{number}") } else { format!("latency-{name}") },
        title: if name == "own" { format!("{} (--profile)", profile.name) } else { profile.name.clone() },
        note: match profile.calibrated {
            true => "Predicted by a profile that was fitted to the device.".to_owned(),
            false => "Predicted from data sheets: not fitted to a device, so good for comparing layers, less for \
                      absolute times."
                .to_owned(),
        },
        before: (0..first.layers.len()).map(|layer| profile.layer_ms(first, layer)).collect(),
        after: after.as_ref().map(|(graph, lineage)| places(&|layer| profile.layer_ms(graph, layer), lineage)),
    });
    let figures = predicted.chain(measured(run, first, after.as_ref().map(|(_, lineage)| lineage.as_slice())));
    figures.filter_map(|times| figure(first, &times)).collect()
}

/// What this machine was timed at, where the record has it.
fn measured(run: &Run, first: &Graph, lineage: Option<&[Option<usize>]>) -> Option<Times> {
    let before = run.first().map(|s| s.layer_milliseconds.clone()).filter(|ms| ms.len() == first.layers.len())?;
    let last = run.last().map(|s| s.layer_milliseconds.as_slice()).unwrap_or_default();
    let after = lineage.filter(|_| !last.is_empty());
    Some(Times {
        id: "latency-measured".to_owned(),
        title: "this machine's CPU".to_owned(),
        note: "Measured: the median of several images. What a layer does on the way for another counts as its own."
            .to_owned(),
        after: after.map(|l| l.iter().map(|new| new.and_then(|i| last.get(i)).copied().unwrap_or(0.0)).collect()),
        before,
    })
}

fn figure(graph: &Graph, times: &Times) -> Option<Figure> {
    let none = Vec::new();
    let after = times.after.as_ref().unwrap_or(&none);
    let most = times.before.iter().chain(after).copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let layers = times.before.len();
    let width = (56.0 + 11.0 * layers as f64).max(1000.0);
    let mut plot = Plot::new((width, 210.0), [48.0, 30.0, 8.0, 40.0], (0.0, layers as f64), rounded(0.0, most, 4));
    plot.y_axis("ms", 4, |v| format!("{}", (v * 1e4).round() / 1e4));
    plot.x_axis("layer", 20, |v| format!("{v:.0}"));
    let (bottom, top) = plot.y.to;
    let place = plot.x.at(1.0) - plot.x.at(0.0);
    for (layer, before) in times.before.iter().copied().enumerate() {
        let (x, now) = (plot.x.at(layer as f64), after.get(layer).copied());
        let mut bar = |from: f64, share: f64, ms: f64, class: &str| {
            let y = plot.y.at(ms);
            plot.svg.add(rect(x + place * from, y, place * share, bottom - y).class(class));
        };
        bar(0.06, 0.42, before, "key was");
        now.iter().for_each(|ms| bar(0.5, 0.42, *ms, "key is"));
        let mut tip = format!("layer {layer}: {}\n{} ms", kind(&graph.layers[layer].op), words::digits(before));
        if let Some(now) = now {
            tip.push_str(&format!(" → {} ms", words::digits(now)));
        }
        plot.svg.add(rect(x, top, place, bottom - top).class("hit").tip(tip));
    }
    let total = |ms: &[f64]| words::digits(ms.iter().sum());
    let sum = match &times.after {
        Some(after) => format!("{} → {} ms an image", total(&times.before), total(after)),
        None => format!("{} ms an image", total(&times.before)),
    };
    let keys = std::iter::once(Key::new("was", "baseline"));
    Some(Figure {
        id: times.id.clone(),
        title: format!("{}: {sum}", times.title),
        note: times.note.clone(),
        drawing: plot.svg.finish(&format!("Milliseconds of each layer on {}: {sum}", times.title)),
        legend: keys.chain(times.after.iter().map(|_| Key::new("is", "result"))).collect(),
        shape: Shape::Zoomed,
        table: Some(table(graph, times)),
    })
}

fn table(graph: &Graph, times: &Times) -> Table {
    let row = |(layer, before): (usize, &f64)| {
        let after = times.after.as_ref().and_then(|after| after.get(layer)).copied();
        let name = format!("{layer} {}", kind(&graph.layers[layer].op));
        let ms = |value| Cell::number(value, |ms| format!("{ms:.4}"));
        vec![Cell::text(name), ms(Some(*before)), ms(after), ms(after.map(|a| before - a))]
    };
    Table {
        caption: format!("Milliseconds of each layer, {}", times.title),
        head: ["Layer", "Baseline", "Result", "Saved"].map(str::to_owned).to_vec(),
        rows: times.before.iter().enumerate().map(row).collect(),
    }
}
