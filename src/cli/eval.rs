//! `eval`: how well a net finds the labelled objects of a data set.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use yoloslim::detect::{DetectOptions, Detector};
use yoloslim_core::Result;
use yoloslim_core::eval::Evaluation;
use yoloslim_core::labels::{self, Split};

use super::detect::share;
use super::net::{NetArgs, Size};
use crate::term::{self, Term};

/// Measure a net on labelled images: COCO and VOC metrics, by class and by object size
#[derive(Debug, Args)]
pub struct Eval {
    #[command(flatten)]
    net: NetArgs,
    /// Darknet .data, YOLO .yaml, COCO .json, or a folder of VOC or VisDrone
    #[arg(long, value_name = "D")]
    data: PathBuf,
    /// Part of the data set
    #[arg(long, default_value = "val")]
    split: Split,
    /// Input size, 416 or 608x352 [default: the cfg's]
    #[arg(long, value_name = "N")]
    size: Option<Size>,
    /// Least score of a detection that counts
    #[arg(long, default_value_t = 0.001, value_name = "F", value_parser = share::<f32>)]
    conf: f32,
    /// Of two boxes of a class that overlap more, the better one stays
    #[arg(long, default_value_t = 0.45, value_name = "F", value_parser = share::<f64>)]
    iou: f64,
    /// Images of a forward pass
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub fn run(self, term: Term) -> Result<()> {
        let network = self.net.read(term)?;
        let dataset = labels::load(&self.data, &self.split)?;
        labels::check_classes(&dataset, network.graph.classes()).map_err(|e| e.inside(self.data.display()))?;
        dataset.warnings.iter().for_each(|w| term.warn(w));
        let options =
            DetectOptions { conf: self.conf, iou: self.iou, size: self.size.map(Into::into), batch: self.batch.into() };
        let mut detector = Detector::new(&network, options).map_err(|e| e.inside(self.net.cfg.display()))?;
        let bar = term.progress(dataset.samples.len(), "evaluating");
        let evaluation = detector.evaluate_with(&dataset, &mut |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        if self.json { term::print_json(&evaluation) } else { term::print(&table(&evaluation)) }
    }
}

fn table(e: &Evaluation) -> String {
    let mut out = String::new();
    let width = e.classes.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(5);
    let mut row = |cells: [String; 7]| {
        let [name, rest @ ..] = cells;
        let rest: String = rest.iter().map(|c| format!(" {c:>8}")).collect();
        // Writing to a String does not fail.
        let _ = writeln!(out, "{name:<width$}{rest}");
    };
    row(["class", "labels", "AP", "AP50", "AP75", "small", "VOC07"].map(str::to_owned));
    for c in e.classes.iter().filter(|c| c.labels > 0) {
        let [ap, ap50, ap75, small, voc] = [c.ap, c.ap50, c.ap75, c.ap_small, c.voc2007_ap50].map(percent);
        row([c.name.clone(), c.labels.to_string(), ap, ap50, ap75, small, voc]);
    }
    let [map, map50, map75, small, voc] = [e.map, e.map50, e.map75, e.map_small, e.voc2007_map50].map(percent);
    row(["all".to_owned(), e.labels.to_string(), map, map50, map75, small, voc]);
    let [small, medium, large] = [e.map_small, e.map_medium, e.map_large].map(percent);
    let [few, all, voc] = [e.recall_1, e.recall_100, e.voc2010_map50].map(percent);
    let _ = writeln!(
        out,
        "{} images. mAP of small, medium, large objects: {small}, {medium}, {large}. Recall with 1 and 100 detections \
         an image: {few}, {all}. VOC2010 mAP50: {voc}. All in percent; - where there is no label.",
        e.images
    );
    out
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{:.2}", v * 100.0))
}
