//! `init`: a new cfg of a published architecture.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use yoloslim::anchors::{label_sizes, refine};
use yoloslim::architectures::{Architecture, CfgOptions, MOST_CLASSES, STRIDE, WIDTHS};
use yoloslim::input_size::InputSize;
use yoloslim_core::graph::Graph;
use yoloslim_core::labels::{self, Split, check_classes};
use yoloslim_core::{Error, Network, Result, cost, files, path_text};

use super::anchors::clustered;
use crate::term::{self, Next, Term, beside};

/// Write the cfg of a published architecture, for other classes, widths and sizes
#[derive(Debug, Args)]
pub struct Init {
    /// The architecture
    arch: Arch,
    /// Number of classes [default: the data set's]
    #[arg(long, value_name = "N", required_unless_present = "data", value_parser = classes)]
    classes: Option<usize>,
    /// Data set to cluster the anchors from: .data, .yaml, .json, or a folder
    #[arg(long, value_name = "D")]
    data: Option<PathBuf>,
    /// Generations to breed the clustered anchors further, as `anchors --refine` does
    #[arg(long, default_value_t = 0, value_name = "N", requires = "data")]
    refine: usize,
    /// Multiplies all channel counts but the heads', to multiples of 8
    #[arg(long, default_value_t = 1.0, value_name = "F", value_parser = width)]
    width: f64,
    /// Input size, 416 or 608x352
    #[arg(long, default_value = "416", value_name = "N", value_parser = size)]
    size: InputSize,
    /// Write random weights here as well
    #[arg(long, value_name = "WEIGHTS")]
    random_weights: Option<PathBuf>,
    /// What the random weights come from
    #[arg(long, default_value_t = 0, value_name = "N", requires = "random_weights")]
    seed: u64,
    /// The .cfg to write
    #[arg(short, long, value_name = "CFG")]
    output: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// All that `--json` prints.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    #[serde(serialize_with = "path_text::one")]
    cfg: &'a Path,
    #[serde(serialize_with = "path_text::option")]
    weights: Option<&'a Path>,
    layers: usize,
    classes: usize,
    params: usize,
    bflops: f64,
}

/// The architectures by the names of their published cfgs.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Arch {
    #[value(name = "yolov3")]
    YoloV3,
    #[value(name = "yolov3-spp")]
    YoloV3Spp,
    #[value(name = "yolov3-tiny")]
    YoloV3Tiny,
    #[value(name = "yolov4")]
    YoloV4,
    #[value(name = "yolov4-tiny")]
    YoloV4Tiny,
}

impl From<Arch> for Architecture {
    fn from(arch: Arch) -> Self {
        match arch {
            Arch::YoloV3 => Self::YoloV3,
            Arch::YoloV3Spp => Self::YoloV3Spp,
            Arch::YoloV3Tiny => Self::YoloV3Tiny,
            Arch::YoloV4 => Self::YoloV4,
            Arch::YoloV4Tiny => Self::YoloV4Tiny,
        }
    }
}

impl Init {
    pub fn run(self, term: Term) -> Result<()> {
        for path in [Some(&self.output), self.random_weights.as_ref()].into_iter().flatten() {
            files::require_absent(path)?;
        }
        if let Some(weights) = &self.random_weights {
            files::require_apart(&self.output, weights).map_err(|e| e.inside("--random-weights"))?;
        }
        let architecture = Architecture::from(self.arch);
        let options = self.options(architecture, term)?;
        let network = Network::initialise(architecture.cfg(&options)?, self.seed)?;
        if let Some(weights) = &self.random_weights {
            files::write_whole(weights, &network.to_weights_file().to_bytes())?;
        }
        files::write_whole(&self.output, &network.cfg.to_bytes())?;
        let graph = &network.graph;
        if self.json {
            return term::print_json(&Summary {
                cfg: &self.output,
                weights: self.random_weights.as_deref(),
                layers: graph.layers.len(),
                classes: graph.classes(),
                params: cost::parameters(graph),
                bflops: cost::flops(graph) / 1e9,
            });
        }
        term.wrote(format!("{}: {}", self.output.display(), describe(graph)));
        if let Some(weights) = &self.random_weights {
            term.wrote(format!("{}, random", weights.display()));
        }
        let next = Next::new("train").path(&self.output).data(self.data.as_deref());
        term.next(next.output(beside(&self.output, "base")));
        Ok(())
    }

    fn options(&self, architecture: Architecture, term: Term) -> Result<CfgOptions> {
        let size = (self.size.width, self.size.height);
        let options = |classes, anchors| CfgOptions { classes, width: self.width, size, anchors };
        let Some(data) = &self.data else { return Ok(options(self.classes.unwrap_or_default(), None)) };
        let dataset = labels::load(data, &Split::Train)?;
        dataset.warnings.iter().for_each(|w| term.warn(w));
        if let Some(classes) = self.classes {
            check_classes(&dataset, classes).map_err(|_| {
                let cause = format!("{classes}, but {} has {}", data.display(), dataset.names.len());
                Error::at("--classes", cause).fix("leave --classes out: the data set tells")
            })?;
        }
        let sizes = label_sizes(&dataset, size.0, size.1);
        let anchors = clustered(&sizes, architecture.anchor_count(), term).map_err(|e| e.inside(data.display()))?;
        let anchors = refine(&sizes, &anchors, self.refine);
        term.note(format!("anchors from {} labels, mean IoU {:.3}", sizes.len(), anchors.mean_iou));
        let rounded = anchors.sizes.iter().map(|a| a.map(|v| v.round().max(1.0))).collect();
        Ok(options(dataset.names.len(), Some(rounded)))
    }
}

/// As many classes as an architecture can have.
fn classes(text: &str) -> std::result::Result<usize, String> {
    let in_range = |n: &usize| (1..=MOST_CLASSES).contains(n);
    text.parse().ok().filter(in_range).ok_or_else(|| format!("give a whole number from 1 to {MOST_CLASSES}"))
}

fn width(text: &str) -> std::result::Result<f64, String> {
    let wrong = || format!("give a number from {} to {}", WIDTHS.start(), WIDTHS.end());
    text.parse().ok().filter(|v| WIDTHS.contains(v)).ok_or_else(wrong)
}

/// A size that the coarsest head divides into whole cells.
fn size(text: &str) -> std::result::Result<InputSize, String> {
    let size: InputSize = text.parse()?;
    if size.width.is_multiple_of(STRIDE) && size.height.is_multiple_of(STRIDE) {
        return Ok(size);
    }
    Err(format!("give multiples of {STRIDE}, such as 416 or 608x352"))
}

fn describe(graph: &Graph) -> String {
    let (params, bflops) = (cost::parameters(graph), cost::flops(graph) / 1e9);
    format!("{} layers, {} classes, {params} parameters, {bflops:.3} BFLOPs", graph.layers.len(), graph.classes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_end_where_the_architectures_do() {
        assert_eq!(
            ["0", "1", "32768", "32769", "99999999"].map(|t| classes(t).is_ok()),
            [false, true, true, false, false]
        );
        assert_eq!(["0.01", "0.05", "16", "17", "NaN"].map(|t| width(t).is_ok()), [false, true, true, false, false]);
        assert_eq!(
            ["100", "416", "608x352", "608x350", "0"].map(|t| size(t).is_ok()),
            [false, true, true, false, false]
        );
    }
}
