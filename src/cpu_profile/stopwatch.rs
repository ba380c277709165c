//! The time of one layer as it is inside of a net: its input was just written by the layer before, while weights and maps of
//! others were read since the last image.

use std::time::Instant;

use rayon::prelude::*;
use yoloslim_core::darknet::Cfg;
use yoloslim_core::{Network, Result, cost};

use crate::model::Predictor;

/// Times the weights of a layer that are read before it is run again: those of other layers, in a net of many like it. So
/// small nets find theirs in a cache and large ones do not. Of maps, whose buffers are used again, as many as the layer has.
const OTHERS: usize = 20;
/// Numbers of others at most, 64 MB: more than a cache holds for one of many users of a machine.
const MOST: usize = 1 << 24;
/// Runs of a layer: no fewer, and no more.
const RUNS: std::ops::RangeInclusive<usize> = 4..=15;
/// Runs end after this many seconds.
const PATIENCE: f64 = 0.04;
/// Runs of a whole net.
const NET_RUNS: usize = 15;

/// Times layers.
pub struct Stopwatch {
    others: Vec<f32>,
}

impl Stopwatch {
    pub fn new() -> Self {
        Self { others: vec![0.5; MOST] }
    }

    /// The least time of layer `layer` of a net with random weights, in milliseconds, for what else a machine does only adds
    /// to it. Layers that inference would fuse into others are run by themselves.
    pub fn layer(&self, cfg: &str, layer: usize) -> Result<f64> {
        let mut net = Timed::new(cfg)?;
        net.layer(&self.others, layer); // Fills the buffers.
        let (start, mut runs, mut least) = (Instant::now(), 0, f64::INFINITY);
        while runs < *RUNS.start() || start.elapsed().as_secs_f64() < PATIENCE && runs < *RUNS.end() {
            (runs, least) = (runs + 1, least.min(net.layer(&self.others, layer)));
        }
        Ok(least * 1e3)
    }

    /// The median time of a whole net, image after image, as people time them.
    pub fn net(&self, cfg: &str) -> Result<f64> {
        let mut net = Timed::new(cfg)?;
        net.whole();
        let mut times = [0.0; NET_RUNS].map(|_| net.whole());
        times.sort_by(f64::total_cmp);
        Ok(times[NET_RUNS / 2] * 1e3)
    }

    /// How much longer the least time of a net is than that of another. They take turns, for a machine's speed changes.
    pub fn difference(&self, longer: &str, shorter: &str) -> Result<f64> {
        let [mut longer, mut shorter] = [Timed::new(longer)?, Timed::new(shorter)?];
        let runs = [0; NET_RUNS].map(|_| [longer.whole(), shorter.whole()]);
        let least = |net: usize| runs.iter().map(|run| run[net]).fold(f64::INFINITY, f64::min);
        Ok((least(0) - least(1)) * 1e3)
    }
}

/// A net to time.
struct Timed {
    predictor: Predictor,
    image: Vec<f32>,
    /// Numbers of others that are read before it.
    others: usize,
}

impl Timed {
    fn new(cfg: &str) -> Result<Self> {
        let network = Network::initialise(Cfg::parse(cfg.as_bytes())?, 0)?;
        let predictor = Predictor::new(&network);
        let image = vec![0.5; predictor.input().len()];
        let maps: usize = network.graph.layers.iter().map(|layer| layer.shape.len()).sum();
        let others = (OTHERS * cost::parameters(&network.graph) + maps).min(MOST);
        Ok(Self { predictor, image, others })
    }

    fn whole(&mut self) -> f64 {
        self.after(&[], |predictor, image| {
            let start = Instant::now();
            predictor.heads(image, 1);
            start.elapsed().as_secs_f64()
        })
    }

    fn layer(&mut self, others: &[f32], layer: usize) -> f64 {
        self.after(others, |predictor, image| {
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

    /// Runs the net after numbers of others were read, on threads that are awake as they are inside of a net.
    fn after(&mut self, others: &[f32], run: impl FnOnce(&mut Predictor, &[f32]) -> f64 + Send) -> f64 {
        yoloslim_kernels::awake(|| {
            let sum: f32 =
                others[..self.others.min(others.len())].par_chunks(4096).map(|part| part.iter().sum::<f32>()).sum();
            std::hint::black_box(sum);
            self.image.par_chunks_mut(4096).for_each(|part| part.fill(0.5));
            run(&mut self.predictor, &self.image)
        })
    }
}
