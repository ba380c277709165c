//! `report.html`: one file without outside references that shows what a run won and lost, from its records alone.

mod charts;
mod lineage;
mod page;
mod repeat;
mod run;
mod scale;
mod summary;
mod svg;
mod watch;
mod words;

use std::path::{Path, PathBuf};

use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;
use yoloslim_core::{Error, Result, files};

use yoloslim_core::eval::NEXT_TO_NOTHING;

use page::{Section, Table};
use repeat::Repeat;
use run::Run;
use summary::Tile;
pub use watch::Server;

/// The report's name in a run's folder.
pub const REPORT: &str = "report.html";

/// All that the template reads.
#[derive(Serialize)]
struct Page<'a> {
    name: String,
    watched: bool,
    style: &'static str,
    script: &'static str,
    version: &'a str,
    complete: bool,
    running: Option<Under<'a>>,
    verdict: String,
    tiles: Vec<Tile>,
    stages: Table,
    notes: &'a [String],
    sections: Vec<Section>,
    repeat: Repeat,
}

/// The stage under way.
#[derive(Serialize)]
struct Under<'a> {
    name: &'a str,
    done: usize,
    planned: usize,
}

/// A run in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Whether all of its stages are done.
    pub complete: bool,
    /// What was won and what was lost.
    pub verdict: String,
    /// Whether the last net is no detector.
    pub detects_next_to_nothing: bool,
}

/// What the report of the run in `folder` says first.
///
/// # Errors
/// A folder without a record of a run.
pub fn summary(folder: &Path) -> Result<Summary> {
    let run = Run::read(folder)?;
    let map50 = run.record.result().and_then(|stage| stage.evaluation.as_ref()?.map50);
    Ok(Summary {
        complete: run.complete,
        verdict: summary::verdict(&run),
        detects_next_to_nothing: map50.is_some_and(|map50| map50 < NEXT_TO_NOTHING),
    })
}

/// The report of the run in `folder`, as HTML.
///
/// # Errors
/// A folder without a record of a run.
pub fn render(folder: &Path) -> Result<String> {
    page_of(folder, false)
}

/// The page; one that is `watched` asks its server for newer ones.
fn page_of(folder: &Path, watched: bool) -> Result<String> {
    let run = Run::read(folder)?;
    let mut templates = Environment::new();
    let broken = |e: minijinja::Error| Error::at("the report's template", format!("{e:#}"));
    templates.add_template("report.html", include_str!("template.html")).map_err(broken)?;
    let page = Page {
        name: name(folder),
        watched,
        style: include_str!("style.css"),
        script: include_str!("script.js"),
        version: &run.record.version,
        complete: run.complete,
        running: run.record.running.as_ref().map(|r| Under { name: &r.name, done: r.epochs.len(), planned: r.planned }),
        verdict: summary::verdict(&run),
        tiles: summary::tiles(&run),
        stages: summary::stage_table(&run),
        notes: &run.notes,
        sections: sections(&run),
        repeat: repeat::repeat(&run),
    };
    templates.get_template("report.html").and_then(|t| t.render(Serde(&page))).map_err(broken)
}

/// Writes the report into the run's folder, in place of an older one; gives its path.
///
/// # Errors
/// As [`render`]; a folder that can't be written.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let path = folder.join(REPORT);
    files::write_whole(&path, render(folder)?.as_bytes())?;
    Ok(path)
}

/// The run's name: its folder's, with that above it where it is just called `run`.
fn name(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let part = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match (part(&absolute), absolute.parent().map(part)) {
        (own, Some(above)) if own == "run" => format!("{above}/{own}"),
        (own, _) => own,
    }
}

fn sections(run: &Run) -> Vec<Section> {
    let section =
        |id, title, lead: &str, figures| Section { id, title, lead: lead.to_owned(), legend: vec![], figures };
    let gammas = charts::gamma_map::draw(run).into_iter().chain(charts::gamma_ridges::draw(run)).collect();
    let detections = Section {
        legend: charts::detections::legend(),
        ..section(
            "detections",
            "Detections",
            "Images of the validation split, with all detections of a score of at least 0.25.",
            charts::detections::draw(run),
        )
    };
    let all = [
        section("tradeoff", "Accuracy and cost", "", charts::tradeoff::draw(run)),
        section("accuracy", "Classes and sizes", "", charts::accuracy::draw(run)),
        detections,
        section("network", "The net", "", charts::network::draw(run).into_iter().collect()),
        section("channels", "Channels", "", charts::channels::draw(run)),
        section(
            "sparsity",
            "Sparsity",
            "The penalty draws the scales γ of batch normalisation to zero where pruning will cut: the more of them \
             are zero, the less the cut hurts.",
            gammas,
        ),
        section("training", "Training", "", charts::curves::draw(run)),
        section("latency", "Time by layer", "", charts::latency::draw(run)),
    ];
    all.into_iter().filter(|s| !s.figures.is_empty()).collect()
}
