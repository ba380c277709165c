//! `sensitivity`: how much accuracy each part of a net costs when it is pruned alone.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use yoloslim::evidence::{self, Measuring};
use yoloslim::new_folder::NewFolder;
use yoloslim::search::{Judge, Sensitivity, measure_sensitivity};
use yoloslim_core::labels::{self, Split};
use yoloslim_core::prune::{self, Criterion, Evidence, PruneOptions};
use yoloslim_core::{Network, Result, files};

use super::net::NetArgs;
use super::prune_knobs::PruneKnobs;
use crate::term::{self, Term};

/// Prune each group of tied convolutions, and each residual block, alone at several ratios; measure what accuracy it costs
#[derive(Debug, Args)]
#[command(name = "sensitivity")]
pub struct SensitivityCommand {
    #[command(flatten)]
    net: NetArgs,
    /// Data set
    #[arg(long, value_name = "D")]
    data: PathBuf,
    /// Folder for sensitivity.json, its table as sensitivity.txt and a plan.json made by it, new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Images to measure on; not those of val unless you say so, for what is chosen by them can't be reported on them
    #[arg(long, default_value = "train", value_name = "SPLIT")]
    split: Split,
    /// How many of them
    #[arg(long, default_value_t = 64, value_name = "N")]
    images: usize,
    /// Shares of a group's channels to try
    #[arg(long, default_value = "0.25,0.5,0.75", value_delimiter = ',', value_name = "F,..")]
    ratios: Vec<f64>,
    #[command(flatten)]
    knobs: PruneKnobs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl SensitivityCommand {
    pub fn run(self, term: Term) -> Result<()> {
        let options = self.knobs.over(PruneOptions::default());
        options.check()?;
        for ratio in &self.ratios {
            PruneOptions { target: prune::Target::Channels(*ratio), ..PruneOptions::default() }.check()?;
        }
        let folder = NewFolder::begin(&self.output)?;
        let network = self.net.read(term)?;
        let dataset = labels::load(&self.data, &self.split)?;
        labels::check_classes(&dataset, network.graph.classes()).map_err(|e| e.inside(self.data.display()))?;
        let measuring = Measuring { images: self.images, threads: rayon::current_num_threads() };
        let gradients = options.score == Criterion::Taylor;
        let evidence = evidence::measure(&network, &dataset, gradients, measuring, &mut |_| {})?;
        let judge = Judge::new(&dataset, self.images);
        let bar = term.progress(1, "pruning each part");
        let mut accuracy = |slim: &Network| judge.accuracy_reestimated(slim);
        let mut progress = |done: usize, total: usize| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        };
        let measured = measure_sensitivity(&network, &options, &evidence, &self.ratios, &mut accuracy, &mut progress)?;
        bar.finish_and_clear();
        let by_it = Evidence { factors: Some(measured.factors()), blocks: Some(measured.block_effects()), ..evidence };
        let plan = prune::plan(&network, &options, &by_it)?;
        measured.save(&folder.path().join("sensitivity.json"))?;
        plan.save(&folder.path().join("plan.json"))?;
        let table = table(&network, &measured);
        files::write_whole(&folder.path().join("sensitivity.txt"), table.as_bytes())?;
        folder.finish()?;
        if self.json {
            return term::print_json(&measured);
        }
        term::print(&table)?;
        let (cfg, weights, out) = (self.net.cfg.display(), self.net.weights.display(), self.output.display());
        let data = self.data.display();
        term.note(format!("wrote sensitivity.json, this table as sensitivity.txt, and plan.json to {out}"));
        term.note(format!("next: yoloslim prune {cfg} {weights} --plan {out}/plan.json --data {data} -o SLIM"));
        Ok(())
    }
}

fn table(network: &Network, measured: &Sensitivity) -> String {
    let mut out = format!("mAP@0.5 {:.4}; lost when a part is pruned alone:\n", measured.accuracy);
    // Writing to a String does not fail.
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    let ratios: Vec<String> = measured.ratios.iter().map(|ratio| format!("{:>6.0} %", ratio * 100.0)).collect();
    line(format!("{:<34} {:>8} {}", "layers", "channels", ratios.join(" ")));
    for group in &measured.groups {
        let mut layers: Vec<String> = group.layers.iter().map(usize::to_string).collect();
        if layers.len() > 6 {
            layers.splice(5..layers.len() - 1, ["..".to_owned()]);
        }
        let losses: Vec<String> = group.losses.iter().map(|loss| format!("{loss:>8.4}")).collect();
        line(format!("{:<34} {:>8} {}", layers.join(" "), group.channels, losses.join(" ")));
    }
    for block in &measured.blocks {
        let place = &network.graph.layers[block.shortcut].place;
        line(format!("block of {place:<25} {:>8} {:>8.4}", "", block.loss));
    }
    out
}
