//! The command line: one file a sub-command.

mod anchors;
mod bench;
mod completions;
mod demo;
mod detect;
mod eval;
mod export;
mod export_knobs;
mod heads;
mod info;
mod init;
mod knobs;
mod layer_table;
mod net;
mod profile;
mod prune;
mod prune_knobs;
mod sensitivity;
mod slim;
mod tensor_file;
mod together;
mod train;
mod train_progress;

use std::num::NonZeroUsize;

use clap::{Args, Parser, Subcommand};
use yoloslim::device::Device;
use yoloslim::workers::Workers;
use yoloslim_core::{Error, Result};

use crate::term::Term;

/// Slims Darknet YOLO detectors so that they run in real time on small chips.
///
/// From a .cfg and its .weights to a narrower, shallower pair of nearly the same accuracy.
#[derive(Debug, Parser)]
#[command(name = "yoloslim", version, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every sub-command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// Threads to use [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// cpu, cuda:N, vulkan:N or metal, where the build has it
    #[arg(long, global = true, default_value_t, value_name = "DEVICE")]
    device: Device,
    /// No notes and no progress, only results, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Info(info::Info),
    Detect(detect::Detect),
    Heads(heads::Heads),
    Eval(eval::Eval),
    Train(train::Train),
    Slim(slim::Slim),
    Demo(demo::Demo),
    Prune(prune::Prune),
    Sensitivity(sensitivity::SensitivityCommand),
    Profile(profile::ProfileCommand),
    Export(export::Export),
    Anchors(anchors::Anchors),
    Bench(bench::Bench),
    Completions(completions::Completions),
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result<()> {
        let term = Term { quiet: self.global.quiet, silent: false };
        self.global.device.require()?;
        start_threads(self.global.threads)?;
        if !matches!(self.command, Command::Train(_) | Command::Slim(_)) {
            Workers::require_one()?;
        }
        match self.command {
            Command::Init(command) => command.run(term),
            Command::Info(command) => command.run(term),
            Command::Detect(command) => command.run(term),
            Command::Heads(command) => command.run(term),
            Command::Eval(command) => command.run(term),
            Command::Train(command) => together::run(term, |term, workers| command.run(term, workers)),
            Command::Slim(command) => together::run(term, |term, workers| command.run(term, workers)),
            Command::Demo(command) => command.run(term),
            Command::Prune(command) => command.run(term),
            Command::Sensitivity(command) => command.run(term),
            Command::Profile(command) => command.run(term),
            Command::Export(command) => command.run(term),
            Command::Anchors(command) => command.run(term),
            Command::Bench(command) => command.run(term),
            Command::Completions(command) => command.run(),
        }
    }
}

/// All parallel work runs in rayon's global pool, so that one number bounds it.
fn start_threads(threads: Option<NonZeroUsize>) -> Result<()> {
    let number = threads.map_or(0, NonZeroUsize::get);
    rayon::ThreadPoolBuilder::new()
        .num_threads(number)
        .build_global()
        .map_err(|e| Error::at("--threads", e).fix("give fewer threads"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }
}
