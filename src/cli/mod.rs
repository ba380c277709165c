//! The command line: a file a sub-command and a file a group of options.

mod anchors;
mod bench;
mod classes;
mod completions;
mod demo;
mod detect;
mod distil_knobs;
mod eval;
mod examples;
mod export;
mod export_knobs;
mod find_rate;
mod heads;
mod inference;
mod info;
mod init;
mod interrupt;
mod knobs;
mod layer_table;
mod loss_knobs;
mod man;
mod measure_knobs;
mod net;
mod numbers;
mod origin;
mod profile;
mod prune;
mod prune_guard;
mod prune_knobs;
mod quantize;
mod quantize_report;
mod report;
mod sensitivity;
mod slim;
mod tensor_file;
mod together;
mod train;
mod train_progress;
mod version;

use std::time::Instant;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};
use yoloslim::device::Device;
use yoloslim::shell;
use yoloslim::workers::Workers;
use yoloslim_core::{Error, Result};

use crate::term::Term;

/// Slims Darknet YOLO detectors so that they run in real time on small chips.
///
/// From a .cfg and its .weights to a narrower, shallower pair of nearly the same accuracy.
#[derive(Debug, Parser)]
#[command(name = "yoloslim", version, long_version = version::long(), max_term_width = 110)]
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
    #[arg(long, global = true, value_name = "N", value_parser = numbers::count)]
    threads: Option<usize>,
    /// What computes: cpu; GPUs (cuda:N, vulkan:N, metal) are not supported yet
    #[arg(long, global = true, default_value_t, value_name = "DEVICE")]
    device: Device,
    /// No notes and no progress, only results, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say what runs on what, and how long it took
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(after_help = examples::INIT)]
    Init(init::Init),
    #[command(after_help = examples::INFO)]
    Info(info::Info),
    #[command(after_help = examples::DETECT)]
    Detect(detect::Detect),
    #[command(after_help = examples::HEADS)]
    Heads(heads::Heads),
    #[command(after_help = examples::EVAL)]
    Eval(eval::Eval),
    #[command(after_help = examples::TRAIN)]
    Train(train::Train),
    #[command(after_help = examples::SLIM)]
    Slim(slim::Slim),
    #[command(after_help = examples::DEMO)]
    Demo(demo::Demo),
    #[command(after_help = examples::PRUNE)]
    Prune(prune::Prune),
    #[command(after_help = examples::SENSITIVITY)]
    Sensitivity(sensitivity::SensitivityCommand),
    #[command(after_help = examples::QUANTIZE)]
    Quantize(quantize::Quantize),
    #[command(after_help = examples::PROFILE)]
    Profile(profile::ProfileCommand),
    Export(export::Export),
    Report(report::Report),
    #[command(after_help = examples::ANCHORS)]
    Anchors(anchors::Anchors),
    #[command(after_help = examples::BENCH)]
    Bench(bench::Bench),
    #[command(after_help = examples::COMPLETIONS)]
    Completions(completions::Completions),
    #[command(after_help = examples::MAN)]
    Man(man::Man),
}

impl Cli {
    /// What was typed. Where nobody can make sense of it, says why and ends the process.
    pub fn read() -> Self {
        Self::try_parse().unwrap_or_else(|error| naming_what_was_typed(error, &shell::typed()).exit())
    }

    /// Does what was asked.
    pub fn run(self) -> Result<()> {
        let term = Term { quiet: self.global.quiet, verbose: self.global.verbose, silent: false };
        if let Err(cause) = self.command.check() {
            Self::command().error(ErrorKind::ArgumentConflict, cause).exit();
        }
        self.global.device.require()?;
        start_threads(self.global.threads, term)?;
        if !matches!(self.command, Command::Train(_) | Command::Slim(_)) {
            Workers::require_one()?;
        }
        let (threads, kernels) = (rayon::current_num_threads(), yoloslim_kernels::cpu_path());
        term.detail(format!("{threads} threads, kernels for {kernels}"));
        if let Some(wanted) =
            std::env::var_os("YOLOSLIM_CPU_PATH").filter(|w| !kernels.starts_with(&*w.to_string_lossy()))
        {
            term.warn(format!("YOLOSLIM_CPU_PATH={}: not on this processor; {kernels} is used", wanted.display()));
        }
        let start = Instant::now();
        let done = self.command.run(term);
        term.detail(format!("{:.2} s", start.elapsed().as_secs_f64()));
        done
    }
}

/// A conflict with a group of options names all of them; of these the ones that were typed are meant.
fn naming_what_was_typed(mut error: clap::Error, words: &[String]) -> clap::Error {
    let Some(ContextValue::Strings(names)) = error.get(ContextKind::PriorArg) else { return error };
    if error.kind() != ErrorKind::ArgumentConflict {
        return error;
    }
    let is_typed = |name: &&String| {
        let Some(long) = name.split_whitespace().next().filter(|word| word.starts_with("--")) else {
            // Of several files the first is always there.
            return name.as_str() == "[CFG]";
        };
        let is_it = |word: &String| {
            word == long || word.starts_with(&format!("{long}=")) || (long == "--output" && word.starts_with("-o"))
        };
        words.iter().any(is_it)
    };
    let named: Vec<String> = names.iter().filter(is_typed).cloned().collect();
    if !named.is_empty() {
        error.insert(ContextKind::PriorArg, ContextValue::Strings(named));
    }
    error
}

impl Command {
    /// What was typed in vain, which the parser by itself can't know.
    fn check(&self) -> std::result::Result<(), String> {
        match self {
            Self::Train(command) => command.check(),
            Self::Slim(command) => command.check(),
            Self::Prune(command) => command.check().map_err(|e| e.to_string()),
            Self::Sensitivity(command) => command.check().map_err(|e| e.to_string()),
            Self::Quantize(command) => command.check().map_err(|e| e.to_string()),
            Self::Export(command) => command.check().map_err(|e| e.to_string()),
            _ => Ok(()),
        }
    }

    fn run(self, term: Term) -> Result<()> {
        match self {
            Self::Init(command) => command.run(term),
            Self::Info(command) => command.run(term),
            Self::Detect(command) => command.run(term),
            Self::Heads(command) => command.run(term),
            Self::Eval(command) => command.run(term),
            Self::Train(command) => together::run(term, |term, workers| command.run(term, workers)),
            Self::Slim(command) => together::run(term, |term, workers| command.run(term, workers)),
            Self::Demo(command) => command.run(term),
            Self::Prune(command) => command.run(term),
            Self::Sensitivity(command) => command.run(term),
            Self::Quantize(command) => command.run(term),
            Self::Profile(command) => command.run(term),
            Self::Export(command) => command.run(term),
            Self::Report(command) => command.run(term),
            Self::Anchors(command) => command.run(term),
            Self::Bench(command) => command.run(term),
            Self::Completions(command) => command.run(),
            Self::Man(command) => command.run(term),
        }
    }
}

/// All parallel work runs in rayon's global pool, so that one number bounds it.
fn start_threads(wanted: Option<usize>, term: Term) -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    // Threads that share a processor wait for each other in every layer.
    if wanted.is_some_and(|wanted| wanted > processors) {
        term.warn(format!("--threads: more than there are processors, so as many as those are used, {processors}"));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(wanted.map_or(0, |wanted| wanted.min(processors)))
        .build_global()
        .map_err(|e| Error::at("--threads", e).fix("give fewer threads"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_names_what_was_typed_and_nothing_else() {
        let line = "yoloslim slim --resume run --batch 4 -o other";
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = Cli::try_parse_from(&words).unwrap_err();
        let message = naming_what_was_typed(error, &words).to_string();
        let told: Vec<&str> = message.lines().filter_map(|line| line.strip_prefix("  --")).collect();
        assert_eq!(told, ["batch <N>", "output <RUN>"], "{message}");
    }

    #[test]
    fn the_help_of_every_command_has_two_examples_that_are_command_lines() {
        for command in &man::with_nested(&Cli::command())[1..] {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().filter(|l| l.starts_with("  yoloslim ")).collect();
            assert!(examples.len() >= 2, "{} has {} examples", command.get_name(), examples.len());
            for example in examples {
                let parsed = Cli::try_parse_from(example.split_whitespace());
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    /// The command lines of a page: what its indented blocks and its quotations in backticks hold, but for those with an
    /// ellipsis or alternatives, and for a command's bare name.
    fn command_lines(page: &str) -> Vec<String> {
        let joined = page.replace("\\\n", " ");
        let indented =
            joined.lines().filter(|l| l.starts_with("    yoloslim ")).map(|l| l.split(" # ").next().unwrap_or(l));
        let quoted = joined.split('`').skip(1).step_by(2).filter(|words| words.starts_with("yoloslim "));
        let is_left_out = |word: &str| word.ends_with("..") && !word.ends_with("/..");
        let whole = |line: &&str| !line.split(' ').any(is_left_out) && !line.contains(['|', '$']) && !is_a_name(line);
        indented.chain(quoted).filter(whole).map(str::to_owned).collect()
    }

    fn is_a_name(line: &str) -> bool {
        line.chars().all(|c| c.is_ascii_lowercase() || c == ' ')
    }

    #[test]
    fn every_command_of_the_documents_is_one() {
        let pages = [
            include_str!("../../README.md"),
            include_str!("../../docs/guide.md"),
            include_str!("../../docs/from-the-reference-projects.md"),
            include_str!("../../docs/results.md"),
            include_str!("../../docs/results/bccd.md"),
            include_str!("../../docs/results/choices.md"),
            include_str!("../../docs/results/facemask.md"),
        ];
        for page in pages {
            let lines = command_lines(page);
            assert!(lines.len() >= 3, "{lines:?}");
            for line in lines {
                let parsed = Cli::try_parse_from(line.split_whitespace());
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn what_is_mistyped_is_answered_with_what_was_meant() {
        for (typed, meant) in [("prnue", "prune"), ("prune a b --target-flop 0.5 -o d", "--target-flops")] {
            let error = Cli::try_parse_from(["yoloslim"].into_iter().chain(typed.split(' '))).unwrap_err();
            assert!(error.to_string().contains(meant), "{error}");
        }
    }

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }
}
