//! The time of one layer as it is inside of a net: its input was just written, its weights were not used since the last
//! image.

use std::time::Instant;

use rayon::prelude::*;
use yoloslim_core::darknet::Cfg;
use yoloslim_core::{Network, Result};

use crate::model::Predictor;

/// Numbers that are written between two runs, 4 MB, so that weights are no longer in the caches of a core. Layers of
/// small nets find theirs in the shared cache, so that is left alone: with 64 MB they are predicted 15 % too slow.
const FLUSHED: usize = 1 << 20;
/// Runs of a layer: no fewer, and no more.
const RUNS: std::ops::RangeInclusive<usize> = 3..=15;
/// Runs end after this many seconds.
const PATIENCE: f64 = 0.04;

/// Times layers.
pub struct Stopwatch {
    flushed: Vec<f32>,
}

impl Stopwatch {
    pub fn new() -> Self {
        Self { flushed: vec![0.0; FLUSHED] }
    }

    /// The median time of layer `layer` of a net with random weights, in milliseconds. Layers that inference would
    /// fuse into others are run by themselves.
    pub fn layer(&mut self, cfg: &str, layer: usize) -> Result<f64> {
        self.median(cfg, |predictor, image| {
            let (mut last, mut took) = (Instant::now(), 0.0);
            predictor.heads_observed(image, 1, &mut |index, _| {
                if index == layer {
                    took = last.elapsed().as_secs_f64();
                }
                last = Instant::now();
            });
            took
        })
    }

    /// The median time of the whole net.
    pub fn net(&mut self, cfg: &str) -> Result<f64> {
        self.median(cfg, |predictor, image| {
            let start = Instant::now();
            predictor.heads(image, 1);
            start.elapsed().as_secs_f64()
        })
    }

    fn median(&mut self, cfg: &str, mut run: impl FnMut(&mut Predictor, &[f32]) -> f64) -> Result<f64> {
        let network = Network::initialise(Cfg::parse(cfg.as_bytes())?, 0)?;
        let mut predictor = Predictor::new(&network);
        let mut image = vec![0.5; predictor.input().len()];
        run(&mut predictor, &image);
        let (start, mut times) = (Instant::now(), Vec::with_capacity(*RUNS.end()));
        let goes_on = |runs: usize| start.elapsed().as_secs_f64() < PATIENCE && runs < *RUNS.end();
        while times.len() < *RUNS.start() || goes_on(times.len()) {
            // By all threads, so that none has fallen asleep when the layer begins.
            self.flushed.par_chunks_mut(4096).for_each(|part| part.iter_mut().for_each(|v| *v += 1.0));
            image.par_chunks_mut(4096).for_each(|part| part.fill(0.5));
            times.push(run(&mut predictor, &image));
        }
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() / 2] * 1e3)
    }
}
