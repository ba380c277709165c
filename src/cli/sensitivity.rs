//! `sensitivity`: how much accuracy each part of a net costs when it is pruned alone.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use yoloslim::evidence::{self, Measuring};
use yoloslim::new_folder::NewFolder;
use yoloslim::search::{Judge, Sensitivity, measure_sensitivity, require_objects};
use yoloslim_core::eval::NEXT_TO_NOTHING;
use yoloslim_core::labels::{self, Split};
use yoloslim_core::prune::{self, Criterion, Evidence, PruneOptions};
use yoloslim_core::{Error, Network, Result, files};

use super::net::NetArgs;
use super::numbers::count;
use super::origin;
use super::prune_knobs::PruneKnobs;
use crate::term::{self, COLUMNS, Next, Term};

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
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = count)]
    images: usize,
    /// Shares of a group's channels to try
    #[arg(long, default_value = "0.25,0.5,0.75", value_delimiter = ',', value_name = "F,..")]
    ratios: Vec<f64>,
    #[command(flatten)]
    knobs: PruneKnobs,
    /// Print one JSON document
    #[arg(long, help_heading = "Options")]
    json: bool,
}

impl SensitivityCommand {
    /// Fails where numbers are out of range, or an option would be of no effect.
    pub fn check(&self) -> Result<()> {
        let options = self.knobs.over(PruneOptions::default());
        options.check()?;
        if options.score == Criterion::Sensitivity {
            return Err(Error::at("--score sensitivity", "that is what this command measures")
                .fix("give the score that each part is pruned by, gamma say"));
        }
        for ratio in &self.ratios {
            PruneOptions { target: prune::Target::Channels(*ratio), ..PruneOptions::default() }.check()?;
        }
        Ok(())
    }

    pub fn run(self, term: Term) -> Result<()> {
        let options = self.knobs.over(PruneOptions::default());
        let folder = NewFolder::begin(&self.output)?;
        let network = self.net.read(term)?;
        let dataset = labels::load(&self.data, &self.split)?;
        dataset.warnings.iter().for_each(|warning| term.warn(warning));
        labels::check_classes(&dataset, network.graph.classes()).map_err(|e| e.inside(self.data.display()))?;
        require_objects(&dataset, "sensitivity").map_err(|e| e.inside(self.data.display()))?;
        // What can't be planned fails here, not after all was measured.
        prune::rehearse(&network, &options, true)?;
        let measuring = Measuring { images: self.images, threads: rayon::current_num_threads() };
        let gradients = options.score.needs_gradients().then_some(options.left_behind);
        let bar = term.progress(self.images.min(dataset.samples.len()), "calibrating");
        let mut shown = |done| bar.set_position(done as u64);
        let evidence = evidence::measure(&network, &dataset, gradients, measuring, &mut shown)?;
        bar.finish_and_clear();
        let judge = Judge::new(&dataset, self.images);
        let bar = term.progress(1, "pruning each part");
        let mut accuracy = |slim: &Network| judge.accuracy_reestimated(slim);
        let mut progress = |done: usize, total: usize| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        };
        let measured = measure_sensitivity(&network, &options, &evidence, &self.ratios, &mut accuracy, &mut progress)?;
        bar.finish_and_clear();
        if measured.accuracy < NEXT_TO_NOTHING {
            term.warn("the net finds next to nothing on these images, so that losing parts of it costs nothing: train it first");
        }
        let by_it = Evidence { factors: Some(measured.factors()), blocks: Some(measured.block_effects()), ..evidence };
        measured.save(&folder.path().join("sensitivity.json"))?;
        let table = table(&network, &measured);
        files::write_whole(&folder.path().join("sensitivity.txt"), table.as_bytes())?;
        let plan = prune::plan(&network, &options, &by_it).and_then(|plan| plan.save(&folder.path().join("plan.json")));
        folder.finish()?;
        plan?;
        if self.json {
            return term::print_json(&measured);
        }
        term::print(&table)?;
        let out = self.output.display();
        term.wrote(format!("sensitivity.json, this table as sensitivity.txt, and plan.json to {out}"));
        let prune = Next::new("prune").path(&self.net.cfg).path(&self.net.weights).data(Some(&self.data));
        term.next(
            prune.with("--plan").path(self.output.join("plan.json")).output(origin::beside_net(&self.net.cfg, "slim")),
        );
        Ok(())
    }
}

/// Ratios that fit a terminal side by side.
const SIDE_BY_SIDE: usize = 5;

fn table(network: &Network, measured: &Sensitivity) -> String {
    let mut out = format!("mAP@0.5 {:.4}; lost when a part is pruned alone:\n", measured.accuracy);
    // Writing to a String does not fail.
    let mut line = |text: String| {
        let _ = writeln!(out, "{}", text.trim_end());
    };
    for (part, ratios) in measured.ratios.chunks(SIDE_BY_SIDE).enumerate() {
        let width = (COLUMNS - 9 - 8 * ratios.len()).min(34);
        let heads: String = ratios.iter().map(|ratio| format!("{:>6.0} %", ratio * 100.0)).collect();
        line(format!("{:<width$} {:>8}{heads}", "layers", "channels"));
        for group in &measured.groups {
            let losses = group.losses.iter().skip(part * SIDE_BY_SIDE).take(SIDE_BY_SIDE);
            let losses: String = losses.map(|loss| format!("{loss:>8.4}")).collect();
            line(format!("{:<width$} {:>8}{losses}", layers(&group.layers, width), group.channels));
        }
    }
    for block in &measured.blocks {
        let place = &network.graph.layers[block.shortcut].place;
        line(format!("without the block of {place:<22}{:>8.4}", block.loss));
    }
    out
}

/// The layers' numbers, those in the middle left out where there is no room for all.
fn layers(layers: &[usize], width: usize) -> String {
    let mut words: Vec<String> = layers.iter().map(usize::to_string).collect();
    while words.len() > 2 && words.join(" ").len() > width {
        let keep = words.iter().position(|word| word == "..").unwrap_or(words.len() - 1);
        words.splice(keep - 1..words.len() - 1, ["..".to_owned()]);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim::architectures::{Architecture, CfgOptions};
    use yoloslim::search::{BlockSensitivity, GroupSensitivity};

    #[test]
    fn the_table_fits_a_terminal_whatever_is_tied_and_tried() {
        let options = CfgOptions { classes: 2, width: 0.125, size: (96, 96), anchors: None };
        let network = Network::initialise(Architecture::YoloV3.cfg(&options).unwrap(), 1).unwrap();
        for tried in [1, 3, 5, 7] {
            let group = |layers: Vec<usize>| GroupSensitivity {
                layers,
                place: String::new(),
                channels: 1024,
                losses: vec![-0.1234; tried],
            };
            let groups = vec![group(vec![0]), group((37..62).step_by(3).collect())];
            let blocks = vec![BlockSensitivity { shortcut: 61, loss: 0.5 }];
            let measured =
                Sensitivity { fingerprint: String::new(), accuracy: 0.5, ratios: vec![0.25; tried], groups, blocks };
            let table = table(&network, &measured);
            assert!(table.lines().all(|line| line.chars().count() <= COLUMNS), "{table}");
            assert_eq!(table.matches("-0.1234").count(), 2 * tried);
            assert!(table.contains(" .. 61") || table.contains("37 40 43 46 49 52 55 58 61"), "{table}");
        }
    }
}
