//! `anchors`: anchor boxes that fit a data set.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use yoloslim::anchors::{self, label_sizes, recall, refine};
use yoloslim::input_size::InputSize;
use yoloslim::train::LossOptions;
use yoloslim_core::Result;
use yoloslim_core::labels::{self, Split};

use super::numbers::count;
use crate::term::{self, Next, Term};

/// Cluster a data set's boxes into anchors
#[derive(Debug, Args)]
pub struct Anchors {
    /// Darknet .data, YOLO .yaml, COCO .json, or a folder of VOC, VisDrone or COCO
    #[arg(long, value_name = "D")]
    data: PathBuf,
    /// Part of the data set
    #[arg(long, default_value = "train")]
    split: Split,
    /// Number of anchors
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = count)]
    count: usize,
    /// Input size, 416 or 608x352
    #[arg(long, default_value = "416", value_name = "N")]
    size: InputSize,
    /// Generations to breed the clustered anchors further for a larger mean IoU, 1000 say
    #[arg(long, default_value_t = 0, value_name = "N")]
    refine: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Summary {
    /// Width and height of each, in pixels of the net's input.
    anchors: Vec<[f32; 2]>,
    labels: usize,
    mean_iou: f64,
    best_possible_recall: f64,
    /// Share of the labels that overlap an anchor by more than training's `anchor_iou`.
    recall_at_anchor_iou: f64,
}

impl Anchors {
    pub fn run(self, term: Term) -> Result<()> {
        let dataset = labels::load(&self.data, &self.split)?;
        dataset.warnings.iter().for_each(|w| term.warn(w));
        let sizes = label_sizes(&dataset, self.size.width, self.size.height);
        let found = clustered(&sizes, self.count, term).map_err(|e| e.inside(self.data.display()))?;
        let found = refine(&sizes, &found, self.refine);
        let iou = LossOptions::default().anchor_iou;
        let recall_at_anchor_iou = recall(&sizes, &found, f64::from(iou));
        if self.json {
            return term::print_json(&Summary {
                anchors: found.sizes,
                labels: sizes.len(),
                mean_iou: found.mean_iou,
                best_possible_recall: found.best_possible_recall,
                recall_at_anchor_iou,
            });
        }
        let list: Vec<_> = found.sizes.iter().map(|[w, h]| format!("{:.0},{:.0}", w.max(1.0), h.max(1.0))).collect();
        term::print(&format!("anchors = {}\n", list.join(", ")))?;
        term.note(format!(
            "{} labels; mean IoU with the best anchor {:.3}; {:.1} % of the labels are within 4 times an anchor's sides, \
             {:.1} % overlap one by more than {iou}",
            sizes.len(),
            found.mean_iou,
            100.0 * found.best_possible_recall,
            100.0 * recall_at_anchor_iou
        ));
        // `init` finds the same ones again, where there is such a net.
        let net = match (self.count, &self.split) {
            (6, Split::Train) => "init yolov3-tiny",
            (9, Split::Train) => "init yolov3",
            _ => {
                term.note("write them into the [yolo] sections of a cfg, with masks that share them among its heads");
                return Ok(());
            }
        };
        let refine = if self.refine > 0 { format!(" --refine {}", self.refine) } else { String::new() };
        let next = Next::new(net).data(Some(&self.data)).with(&format!("--size {}{refine}", self.size));
        term.next(next.output("my.cfg"));
        Ok(())
    }
}

/// Anchors that fit, found under the user's eyes.
pub fn clustered(sizes: &[[f64; 2]], count: usize, term: Term) -> Result<anchors::Anchors> {
    let mut works = term.works();
    let found = anchors::cluster_with(sizes, count, &mut |done, of| works.show("clustering", done, of));
    works.finish();
    found
}
