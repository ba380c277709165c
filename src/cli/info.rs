//! `info`: what a net is made of and what it costs.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use yoloslim::input_size::InputSize;
use yoloslim_core::graph::{Graph, Shape, Source};
use yoloslim_core::prune::channels::Channels;
use yoloslim_core::record::GammaSummary;
use yoloslim_core::{Network, Result, cost};

use super::layer_table::{kind, layer_table};
use super::net::{NetArgs, is_slim, warn_of_slips};
use super::origin;
use crate::term::{self, Next, Term, wrapped};

/// A share of channels that can go unnoticed from which on pruning is worth while.
const SPARSE: f64 = 0.3;

/// Show a net's layers, parameters, operations, residual groups and BN gammas
#[derive(Debug, Args)]
pub struct Info {
    /// Darknet .cfg file
    cfg: PathBuf,
    /// Its .weights file, for the gammas
    weights: Option<PathBuf>,
    /// Input size, 416 or 608x352 [default: the cfg's]
    #[arg(long, value_name = "N")]
    size: Option<InputSize>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// All that `--json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    input: Shape,
    classes: usize,
    layers: Vec<LayerSummary>,
    params: usize,
    bflops: f64,
    residual_groups: Vec<GroupSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gamma: Option<GammaSummary>,
}

#[derive(Debug, Serialize)]
struct LayerSummary {
    index: usize,
    kind: &'static str,
    /// Layers that it reads; none for the image.
    reads: Vec<Option<usize>>,
    input: Shape,
    output: Shape,
    params: usize,
    bflops: f64,
}

#[derive(Debug, Serialize)]
struct GroupSummary {
    members: Vec<usize>,
    width: usize,
}

impl Info {
    pub fn run(self, term: Term) -> Result<()> {
        let (cfg, mut graph) = Graph::read(&self.cfg)?;
        if let Some(size) = self.size {
            graph = graph.resized(&cfg, size.width, size.height).map_err(|e| e.inside(self.cfg.display()))?;
        }
        let network = match &self.weights {
            Some(weights) => Some(NetArgs { cfg: self.cfg.clone(), weights: weights.clone() }.read(term)?),
            None => {
                warn_of_slips(&self.cfg, &cfg, term);
                None
            }
        };
        let summary = summarise(&graph, network.as_ref());
        if self.json {
            return term::print_json(&summary);
        }
        term::print(&text(&graph, &summary))?;
        term.next(self.next(&summary));
        Ok(())
    }

    /// How fast it is; with weights, how good; and where its gammas are sparse, less of it.
    fn next(&self, summary: &Summary) -> Next {
        let Some(weights) = &self.weights else { return Next::new("bench infer").path(&self.cfg) };
        let sparse = summary.gamma.as_ref().is_some_and(|gamma| gamma.safe > SPARSE);
        match sparse && !is_slim(&self.cfg) {
            true => {
                let prune = Next::new("prune")
                    .path(&self.cfg)
                    .path(weights)
                    .data(origin::data(&self.cfg).as_deref())
                    .with("--target-flops 0.7");
                prune.output(origin::beside_net(&self.cfg, "slim"))
            }
            false => Next::new("eval").path(&self.cfg).path(weights).data(origin::data(&self.cfg).as_deref()),
        }
    }
}

fn summarise(graph: &Graph, network: Option<&Network>) -> Summary {
    let layer = |index: usize| LayerSummary {
        index,
        kind: kind(&graph.layers[index].op),
        reads: graph.layers[index].inputs.iter().map(|s: &Source| s.layer()).collect(),
        input: graph.input_shape(index),
        output: graph.layers[index].shape,
        params: cost::layer_parameters(graph, index),
        bflops: cost::layer_flops(graph, index) / 1e9,
    };
    let groups = Channels::of(graph).residual_groups();
    Summary {
        input: graph.input,
        classes: graph.classes(),
        layers: (0..graph.layers.len()).map(layer).collect(),
        params: cost::parameters(graph),
        bflops: cost::flops(graph) / 1e9,
        residual_groups: groups.into_iter().map(|g| GroupSummary { members: g.members, width: g.width }).collect(),
        gamma: network.and_then(|n| GammaSummary::of_net(&n.graph, n.gammas())),
    }
}

fn text(graph: &Graph, summary: &Summary) -> String {
    let mut out = layer_table(graph);
    // Writing to a String does not fail.
    let mut line = |text: String, indent: usize| {
        let _ = writeln!(out, "{}", wrapped(&text, indent));
    };
    line(format!("{} layers, {} parameters, {:.3} BFLOPs", summary.layers.len(), summary.params, summary.bflops), 0);
    if !summary.residual_groups.is_empty() {
        line("residual groups (convolutions that must keep the same channels):".to_owned(), 0);
    }
    for group in &summary.residual_groups {
        let members: Vec<_> = group.members.iter().map(usize::to_string).collect();
        line(format!("  width {:4}: {}", group.width, members.join(" ")), 14);
    }
    if let Some(g) = &summary.gamma {
        let [min, q1, median, q3, max] = g.quantiles;
        let share = |share: f64| format!("{:.1} %", 100.0 * share);
        let (near, zero) = (share(g.near_zero), share(g.zero));
        line(format!("|gamma|: min {min:.4}, quartiles {q1:.4} {median:.4} {q3:.4}, max {max:.4};"), 9);
        line(format!("         near zero {near}, zero {zero}, safe as --channels {:.3}", g.safe), 9);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::COLUMNS;
    use yoloslim::architectures::{Architecture, CfgOptions};

    #[test]
    fn everything_about_the_published_nets_fits_a_terminal() {
        let published = |architecture: Architecture, width, size| {
            let options = CfgOptions { classes: 80, width, size: (size, size), anchors: None };
            architecture.cfg(&options).unwrap()
        };
        for architecture in [Architecture::YoloV3, Architecture::YoloV3Spp, Architecture::YoloV4Tiny] {
            let graph = Graph::from_cfg(&published(architecture, 1.0, 1024)).unwrap();
            let text = text(&graph, &summarise(&graph, None));
            assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        }
        let network = Network::initialise(published(Architecture::YoloV3, 0.125, 96), 1).unwrap();
        let text = text(&network.graph, &summarise(&network.graph, Some(&network)));
        assert!(
            text.contains("safe as --channels") && text.lines().all(|line| line.chars().count() <= COLUMNS),
            "{text}"
        );
    }
}
