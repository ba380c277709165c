//! `eval`: how well a net finds the labelled objects of a data set.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use yoloslim::detect::Detector;
use yoloslim_core::Result;
use yoloslim_core::eval::Evaluation;
use yoloslim_core::labels::{self, Split};

use super::classes::ClassArgs;
use super::detect::warn_of_other_classes;
use super::inference::InferenceArgs;
use super::net::{LEARNT, NetArgs, is_slim};
use super::numbers::share;
use super::origin;
use crate::term::{self, Next, Term, cut, wrapped};

/// Measure a net on labelled images: COCO and VOC metrics, by class and by object size
#[derive(Debug, Args)]
pub struct Eval {
    #[command(flatten)]
    net: NetArgs,
    /// Darknet .data, YOLO .yaml, COCO .json, or a folder of VOC, VisDrone or COCO
    #[arg(long, value_name = "D")]
    data: PathBuf,
    /// Part of the data set
    #[arg(long, default_value = "val")]
    split: Split,
    /// Least score of a detection that counts
    #[arg(long, default_value_t = 0.001, value_name = "F", value_parser = share::<f32>)]
    conf: f32,
    #[command(flatten)]
    inference: InferenceArgs,
    /// Images of a forward pass
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    #[command(flatten)]
    classes: ClassArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub fn run(self, term: Term) -> Result<()> {
        let network = self.net.read(term)?;
        let mut dataset = labels::load(&self.data, &self.split)?;
        labels::check_classes(&dataset, network.graph.classes()).map_err(|e| e.inside(self.data.display()))?;
        dataset.warnings.iter().for_each(|w| term.warn(w));
        warn_of_other_classes(&self.net.cfg, &dataset.names, term);
        if let Some(chosen) = self.classes.among(&dataset.names)? {
            // A class without labels counts for nothing.
            dataset.samples.iter_mut().for_each(|sample| sample.objects.retain(|o| chosen.contains(&o.class)));
        }
        let options = self.inference.options(self.conf, self.batch.into());
        let mut detector = Detector::new(&network, options).map_err(|e| e.inside(self.net.cfg.display()))?;
        let bar = term.progress(dataset.samples.len(), "evaluating");
        let evaluation = detector.evaluate_with(&dataset, &mut |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        if self.json {
            return term::print_json(&evaluation);
        }
        term::print(&table(&evaluation))?;
        term.next(self.next(evaluation.map50));
        Ok(())
    }

    /// A net that has learnt little is trained, one that is slim goes to its runtime, another is slimmed.
    fn next(&self, map50: Option<f64>) -> Next {
        let NetArgs { cfg, weights } = &self.net;
        if map50.is_some_and(|map50| map50 < LEARNT) {
            let train = Next::new("train").path(cfg).path(weights).data(Some(&self.data));
            return train.output(origin::beside_net(cfg, "more"));
        }
        if is_slim(cfg) {
            return Next::new("export")
                .path(cfg)
                .path(weights)
                .with("--format onnx")
                .output(origin::beside_net(cfg, "onnx"));
        }
        let slim = Next::new("slim").path(cfg).path(weights).data(Some(&self.data)).with("--baseline-epochs 0");
        slim.output(origin::beside_net(cfg, "run"))
    }
}

/// The most characters of a class name: six figures fit beside it.
const NAME: usize = 26;

fn table(e: &Evaluation) -> String {
    let mut out = String::new();
    let width = e.classes.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).clamp(5, NAME);
    let mut row = |name: &str, cells: [String; 6]| {
        let cells: String = cells.iter().map(|c| format!(" {c:>8}")).collect();
        // Writing to a String does not fail.
        let _ = writeln!(out, "{:<width$}{cells}", cut(name, NAME));
    };
    row("class", ["labels", "AP", "AP50", "AP75", "small", "VOC07"].map(str::to_owned));
    for c in e.classes.iter().filter(|c| c.labels > 0) {
        let [ap, ap50, ap75, small, voc] = [c.ap, c.ap50, c.ap75, c.ap_small, c.voc2007_ap50].map(score);
        row(&c.name, [c.labels.to_string(), ap, ap50, ap75, small, voc]);
    }
    let [map, map50, map75, small, voc] = [e.map, e.map50, e.map75, e.map_small, e.voc2007_map50].map(score);
    row("all", [e.labels.to_string(), map, map50, map75, small, voc]);
    let [small, medium, large] = [e.map_small, e.map_medium, e.map_large].map(score);
    let [few, all, voc] = [e.recall_1, e.recall_100, e.voc2010_map50].map(score);
    let more = format!(
        "{} images. mAP of small, medium, large objects: {small}, {medium}, {large}. Recall with 1 and 100 detections \
         an image: {few}, {all}. VOC2010 mAP50: {voc}. - where there is no label.",
        e.images
    );
    out + &wrapped(&more, 0) + "\n"
}

/// As in the tables of runs: a share, not a percentage.
fn score(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::COLUMNS;
    use yoloslim_core::eval::evaluate;
    use yoloslim_core::labels::{Dataset, Object, Sample};

    #[test]
    fn the_table_fits_a_terminal_whatever_classes_are_called() {
        let names = vec!["excavator with a very long arm".to_owned(), "cat".to_owned()];
        let bbox = yoloslim_core::boxes::BBox::from_corner(0.0, 0.0, 9.0, 9.0);
        let object = |class| Object { class, bbox, area: 81.0, difficult: false, crowd: false };
        let objects = (0..2).map(object).collect();
        let samples = vec![Sample { image: "a.jpg".into(), width: 9, height: 9, objects }];
        let table = table(&evaluate(&Dataset { names, samples, warnings: vec![] }, &[vec![]]));
        assert!(table.lines().all(|line| line.chars().count() <= COLUMNS), "{table}");
        assert!(table.contains("excavator with a very lon…"), "{table}");
    }
}
