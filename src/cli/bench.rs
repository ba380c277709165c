//! `bench`: how long inference and training take on this machine, on random data.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Subcommand};
use serde::Serialize;
use yoloslim::input_size::InputSize;
use yoloslim::model::Predictor;
use yoloslim::train::{TrainOptions, time_steps};
use yoloslim_core::{Network, Result, path_text};

use super::examples;
use super::origin;
use crate::term::{self, Next, Term, beside, wrapped};

/// Time a net on random data
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Time forward passes
    #[command(after_help = examples::BENCH_INFER)]
    Infer(Knobs),
    /// Time whole training steps: forward, loss, backward, update
    #[command(after_help = examples::BENCH_TRAIN)]
    Train(TrainKnobs),
}

#[derive(Debug, Args)]
struct TrainKnobs {
    #[command(flatten)]
    knobs: Knobs,
    /// Segments to divide the net into: less memory, longer steps
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    segments: u16,
}

#[derive(Debug, Args)]
struct Knobs {
    /// Darknet .cfg file; weights are random
    cfg: PathBuf,
    /// Input size, 416 or 608x352 [default: the cfg's]
    #[arg(long, value_name = "N")]
    size: Option<InputSize>,
    /// Images of a step
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Steps to time, after two that warm up
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// All that `--json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    what: &'static str,
    #[serde(serialize_with = "path_text::one")]
    cfg: PathBuf,
    width: usize,
    height: usize,
    batch: usize,
    steps: usize,
    threads: usize,
    s_min: f64,
    s_median: f64,
    images_per_s: f64,
}

impl Bench {
    pub fn run(self, term: Term) -> Result<()> {
        match self.what {
            What::Infer(knobs) => infer(knobs, term),
            What::Train(knobs) => train(knobs, term),
        }
    }
}

fn infer(knobs: Knobs, term: Term) -> Result<()> {
    let network = Network::random(&knobs.cfg, 0)?;
    let (own, batch) = (network.graph.input, usize::from(knobs.batch));
    let size = knobs.size.map_or((own.width, own.height), Into::into);
    let mut predictor = Predictor::with_size(&network, size, batch).map_err(|e| e.inside(knobs.cfg.display()))?;
    let input = predictor.input();
    let images = noise(batch * input.len());
    let times = time(knobs.steps.into(), term, || {
        predictor.heads(&images, batch);
    });
    let next = Next::new("profile show hi3519a").path(&knobs.cfg);
    knobs.report("infer", (input.width, input.height), &times, next, term)
}

fn train(TrainKnobs { knobs, segments }: TrainKnobs, term: Term) -> Result<()> {
    let network = Network::random(&knobs.cfg, 0)?;
    let input = network.graph.input;
    let size = knobs.size.map_or((input.width, input.height), Into::into);
    let steps = usize::from(knobs.steps);
    let bar = term.progress(steps + 2, "timing");
    let options = TrainOptions { batch: knobs.batch.into(), segments: segments.into(), ..TrainOptions::default() };
    let times = time_steps(network, &options, size, steps, &mut || bar.inc());
    bar.finish_and_clear();
    let mut times = times.map_err(|e| e.inside(knobs.cfg.display()))?;
    times.sort_by(f64::total_cmp);
    let next = Next::new("train")
        .path(&knobs.cfg)
        .data(origin::data(&knobs.cfg).as_deref())
        .output(beside(&knobs.cfg, "base"));
    knobs.report("train", size, &times, next, term)
}

/// Numbers of 0 to 1 without a pattern (a multiplicative congruential generator).
fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..len).map(|_| next()).collect()
}

/// The seconds of each step, ascending. The first two steps fill buffers and caches and don't count.
fn time(steps: usize, term: Term, mut step: impl FnMut()) -> Vec<f64> {
    let bar = term.progress(steps + 2, "timing");
    let mut times = Vec::with_capacity(steps + 2);
    for _ in 0..steps + 2 {
        let start = Instant::now();
        step();
        times.push(start.elapsed().as_secs_f64());
        bar.inc();
    }
    bar.finish_and_clear();
    times.drain(..2);
    times.sort_by(f64::total_cmp);
    times
}

impl Knobs {
    fn report(
        self,
        what: &'static str,
        (width, height): (usize, usize),
        times: &[f64],
        next: Next,
        term: Term,
    ) -> Result<()> {
        let (s_min, s_median) = (times[0], times[times.len() / 2]);
        let batch = usize::from(self.batch);
        let summary = Summary {
            what,
            cfg: self.cfg,
            width,
            height,
            batch,
            steps: times.len(),
            threads: rayon::current_num_threads(),
            s_min,
            s_median,
            images_per_s: batch as f64 / s_median,
        };
        if self.json {
            return term::print_json(&summary);
        }
        let text = format!(
            "{what}: {:.1} ms a step at the median, {:.1} ms at least, {:.2} images/s ({width}x{height}, batch {batch}, \
             {} threads)",
            s_median * 1e3,
            s_min * 1e3,
            summary.images_per_s,
            summary.threads
        );
        term::print(&(wrapped(&text, 2) + "\n"))?;
        term.next(next);
        Ok(())
    }
}
