//! `profile`: how long nets take on a device, predicted layer by layer.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde::Serialize;
use yoloslim::cpu_profile;
use yoloslim::input_size::InputSize;
use yoloslim_core::cost::profile::{self, Device, Measured, Profile, TimedNet};
use yoloslim_core::graph::Graph;
use yoloslim_core::{Result, files, path_text};

use super::examples;
use super::layer_table::kind;
use super::origin;
use crate::term::{self, Next, Term};

/// Predict how long nets take on a device, layer by layer
#[derive(Debug, Args)]
pub struct ProfileCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show how long each layer of a net takes, or the profile itself
    Show(Show),
    /// Fit a chip's clock use, overhead and bandwidth to nets that you timed on it
    Fit(Fit),
    /// Time layers of all kinds on this machine
    Measure(Measure),
}

#[derive(Debug, Args)]
#[command(after_help = examples::PROFILE_SHOW)]
struct Show {
    /// hi3519a, hi3559a, cpu (by cpu.toml) or the path of a profile
    profile: String,
    /// Darknet .cfg file; without, the profile is printed
    cfg: Option<PathBuf>,
    /// Input size, 416 or 608x352 [default: the cfg's]
    #[arg(long, value_name = "N")]
    size: Option<InputSize>,
    /// Print one JSON document
    #[arg(long, requires = "cfg")]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = examples::PROFILE_FIT)]
struct Fit {
    /// hi3519a, hi3559a or the path of a profile
    profile: String,
    /// Nets and the milliseconds that they took: yolov3.cfg=140 yolov3-tiny.cfg=32
    #[arg(long, required = true, num_args = 1.., value_name = "CFG=MS")]
    measured: Vec<Timing>,
    /// The fitted profile, a new file
    #[arg(short, long, value_name = "TOML")]
    output: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = examples::PROFILE_MEASURE)]
struct Measure {
    /// The profile, a new file
    #[arg(short, long, default_value = Profile::CPU_FILE, value_name = "TOML")]
    output: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// All that `measure --json` prints.
#[derive(Debug, Serialize)]
struct MeasureSummary<'a> {
    #[serde(serialize_with = "path_text::one")]
    profile: &'a Path,
    name: &'a str,
    /// Layers that were timed.
    points: usize,
}

/// `CFG=MS`.
#[derive(Debug, Clone)]
struct Timing {
    cfg: PathBuf,
    ms: f64,
}

impl FromStr for Timing {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts = text.rsplit_once('=').and_then(|(cfg, ms)| Some((cfg, ms.parse::<f64>().ok()?)));
        match parts {
            Some((cfg, ms)) if !cfg.is_empty() && ms.is_finite() && ms > 0.0 => Ok(Self { cfg: cfg.into(), ms }),
            _ => Err("give a cfg and its milliseconds, such as yolov3.cfg=140".to_owned()),
        }
    }
}

impl ProfileCommand {
    pub fn run(self, term: Term) -> Result<()> {
        match self.what {
            What::Show(show) => show.run(term),
            What::Fit(fit) => fit.run(term),
            What::Measure(measure) => measure.run(term),
        }
    }
}

/// Says so when nobody has measured the device, or when it was measured as another machine than this is now.
pub fn warn_if_uncalibrated(profile: &Profile, term: Term) {
    if let Device::Measured(measured) = &profile.device {
        measured_elsewhere(measured, yoloslim_kernels::cpu_path(), rayon::current_num_threads())
            .iter()
            .for_each(|difference| term.warn(format!("{}: {difference}", profile.name)));
    }
    let name = &profile.name;
    if let (Device::Measured(_), false) = (&profile.device, profile.calibrated) {
        term.warn(format!("{name} was measured while the machine did something else too: measure it again"));
    } else if !profile.calibrated {
        term.warn(format!(
            "{name} is uncalibrated: its milliseconds compare nets, but no device was measured; time some nets on yours \
             and run yoloslim profile fit"
        ));
    }
}

/// In what a measured machine differs from one that has these kernels and threads.
fn measured_elsewhere(measured: &Measured, kernels: &str, threads: usize) -> Option<String> {
    if measured.processor == kernels && measured.threads == threads {
        return None;
    }
    let (then, by) = (&measured.processor, measured.threads);
    Some(format!(
        "was measured with kernels for {then} on {by} threads, and this run has {kernels} on {threads}: its milliseconds \
         are another machine's; run yoloslim profile measure -o cpu-{threads}.toml --threads {threads}, and name that file"
    ))
}

/// All that `show --json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    profile: String,
    calibrated: bool,
    width: usize,
    height: usize,
    ms: f64,
    layers: Vec<LayerSummary>,
}

#[derive(Debug, Serialize)]
struct LayerSummary {
    index: usize,
    kind: &'static str,
    ms: f64,
}

impl Show {
    fn run(self, term: Term) -> Result<()> {
        let profile = Profile::find(&self.profile)?;
        let Some(path) = &self.cfg else {
            term::print(&profile.to_toml()?)?;
            term.next(Next::new("profile show").path(&self.profile).path("CFG"));
            return Ok(());
        };
        let (cfg, mut graph) = Graph::read(path)?;
        if let Some(size) = self.size {
            graph = graph.resized(&cfg, size.width, size.height).map_err(|e| e.inside(path.display()))?;
        }
        warn_if_uncalibrated(&profile, term);
        let summary = summarise(&profile, &graph);
        if self.json {
            return term::print_json(&summary);
        }
        term::print(&table(&graph, &summary))?;
        term.next(self.next(path, summary.ms));
        Ok(())
    }

    /// A net of half the time, where the weights lie beside the cfg; else the time on this machine.
    fn next(&self, cfg: &Path, ms: f64) -> Next {
        let weights = cfg.with_extension("weights");
        if !weights.is_file() {
            return Next::new("bench infer").path(cfg);
        }
        let prune = Next::new("prune").path(cfg).path(weights).data(origin::data(cfg).as_deref());
        let prune = prune.with(&format!("--target-latency {:.3} --profile", ms / 2.0)).path(&self.profile);
        prune.output(origin::beside_net(cfg, "slim"))
    }
}

fn summarise(profile: &Profile, graph: &Graph) -> Summary {
    let layer =
        |index: usize| LayerSummary { index, kind: kind(&graph.layers[index].op), ms: profile.layer_ms(graph, index) };
    Summary {
        profile: profile.name.clone(),
        calibrated: profile.calibrated,
        width: graph.input.width,
        height: graph.input.height,
        ms: profile.milliseconds(graph),
        layers: (0..graph.layers.len()).map(layer).collect(),
    }
}

fn table(graph: &Graph, summary: &Summary) -> String {
    let mut out = format!("{:>5} {:<9}{:>17}{:>10}{:>8}\n", "layer", "", "output", "ms", "share");
    for layer in &summary.layers {
        let shape = graph.layers[layer.index].shape;
        let output = format!("{} x {} x {}", shape.width, shape.height, shape.channels);
        let share = 100.0 * layer.ms / summary.ms;
        let _ = writeln!(out, "{:>5} {:<9}{output:>17}{:>10.3}{share:>7.1}%", layer.index, layer.kind, layer.ms);
    }
    let state = if summary.calibrated { "" } else { " (uncalibrated)" };
    out + &format!("{:.2} ms an image on {}{state}\n", summary.ms, summary.profile)
}

/// All that `fit --json` prints.
#[derive(Debug, Serialize)]
struct FitSummary<'a> {
    #[serde(serialize_with = "path_text::one")]
    profile: &'a Path,
    fitted: &'a [&'static str],
    kept: &'a [&'static str],
    nets: &'a [TimedNet],
}

impl Fit {
    fn run(self, term: Term) -> Result<()> {
        files::require_absent(&self.output)?;
        let start = Profile::find(&self.profile)?;
        let net = |timing: &Timing| -> Result<(String, Graph, f64)> {
            Ok((timing.cfg.display().to_string(), Graph::read(&timing.cfg)?.1, timing.ms))
        };
        let nets = self.measured.iter().map(net).collect::<Result<Vec<_>>>()?;
        let found = profile::fit(&start, &nets)?;
        files::write_whole(&self.output, found.profile.to_toml()?.as_bytes())?;
        if !found.kept.is_empty() {
            let kept = found.kept.join(" and ");
            term.note(format!("the timed nets do not tell everything: {kept} stayed as in {}", self.profile));
        }
        if !found.profile.calibrated {
            term.warn(format!(
                "some times are more than {:.0} % off, so the profile stays marked as uncalibrated: check the milliseconds, or time \
                 nets that are more alike what will run",
                100.0 * profile::TOLERANCE
            ));
        }
        let (profile, timed) = (&self.output, &found.profile.timed);
        if self.json {
            return term::print_json(&FitSummary { profile, fitted: &found.fitted, kept: &found.kept, nets: timed });
        }
        term::print(&residuals(timed))?;
        term.note(format!("fitted {}", found.fitted.join(", ")));
        term.wrote(profile.display());
        term.next(Next::new("profile show").path(profile).path(&self.measured[0].cfg));
        Ok(())
    }
}

fn residuals(timed: &[TimedNet]) -> String {
    let mut out = format!("{:>12}{:>12}{:>8}  net\n", "measured ms", "predicted", "error");
    for t in timed {
        let error = 100.0 * (t.predicted_ms / t.measured_ms - 1.0);
        let net: Vec<char> = t.net.chars().rev().take(46).collect();
        let net: String = net.into_iter().rev().collect();
        let _ = writeln!(out, "{:>12.2}{:>12.2}{error:>+7.1}%  {net}", t.measured_ms, t.predicted_ms);
    }
    out
}

impl Measure {
    fn run(self, term: Term) -> Result<()> {
        files::require_absent(&self.output)?;
        files::require_writable(&self.output)?;
        let bar = term.progress(cpu_profile::points(), "timing layers");
        let profile = cpu_profile::measure(&mut || bar.inc());
        bar.finish_and_clear();
        let profile = profile?;
        files::write_whole(&self.output, profile.to_toml()?.as_bytes())?;
        if !profile.calibrated {
            term.warn(format!(
                "whole nets take more than {:.0} % longer or shorter than the profile predicts, so it is marked as uncalibrated: \
                 measure again while the machine does nothing else",
                100.0 * profile::TOLERANCE
            ));
        }
        if self.json {
            let points = cpu_profile::points();
            return term::print_json(&MeasureSummary { profile: &self.output, name: &profile.name, points });
        }
        term::print(&residuals(&profile.timed))?;
        term.wrote(format!("{}; --profile {0} prunes by it", self.output.display()));
        term.next(Next::new("profile show").path(&self.output).path("CFG"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_profile_of_another_machine_or_thread_count_says_so() {
        let (activation_ns, tables) = (BTreeMap::new(), BTreeMap::new());
        let measured = Measured { processor: "AVX2".to_owned(), threads: 4, activation_ns, tables };
        assert_eq!(measured_elsewhere(&measured, "AVX2", 4), None);
        assert!(measured_elsewhere(&measured, "AVX2", 2).unwrap().contains("4 threads, and this run has AVX2 on 2"));
        assert!(measured_elsewhere(&measured, "NEON", 4).unwrap().contains("kernels for AVX2"));
    }
}
