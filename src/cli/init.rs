//! `init`: a new cfg of a published architecture.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use yoloslim::anchors::{label_sizes, refine};
use yoloslim::architectures::{Architecture, CfgOptions};
use yoloslim::input_size::InputSize;
use yoloslim_core::graph::Graph;
use yoloslim_core::labels::{self, Split, check_classes};
use yoloslim_core::{Error, Network, Result, cost, files};

use super::anchors::clustered;
use super::numbers::{count, positive};
use crate::term::{self, Next, Term, beside};

/// Write the cfg of a published architecture, for other classes, widths and sizes
#[derive(Debug, Args)]
pub struct Init {
    /// The architecture
    arch: Arch,
    /// Number of classes [default: the data set's]
    #[arg(long, value_name = "N", required_unless_present = "data", value_parser = count)]
    classes: Option<usize>,
    /// Data set to cluster the anchors from: .data, .yaml, .json, or a folder
    #[arg(long, value_name = "D")]
    data: Option<PathBuf>,
    /// Generations to breed the clustered anchors further, as `anchors --refine` does
    #[arg(long, default_value_t = 0, value_name = "N", requires = "data")]
    refine: usize,
    /// Multiplies all channel counts but the heads', to multiples of 8
    #[arg(long, default_value_t = 1.0, value_name = "F", value_parser = positive)]
    width: f64,
    /// Input size, 416 or 608x352
    #[arg(long, default_value = "416", value_name = "N")]
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
    cfg: &'a Path,
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

fn describe(graph: &Graph) -> String {
    let (params, bflops) = (cost::parameters(graph), cost::flops(graph) / 1e9);
    format!("{} layers, {} classes, {params} parameters, {bflops:.3} BFLOPs", graph.layers.len(), graph.classes())
}
