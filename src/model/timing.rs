//! How long one image takes.

use std::time::Instant;

use yoloslim_core::Network;

use super::Predictor;

/// Forward passes that are timed; the first, which fills the buffers, is not.
const RUNS: usize = 7;

/// The median time of one image's forward pass on this machine, in seconds.
#[must_use]
pub fn time_one_image(network: &Network) -> f64 {
    let mut predictor = Predictor::new(network);
    let image = vec![0.5; predictor.input().len()];
    predictor.heads(&image, 1);
    let times = (0..RUNS).map(|_| {
        let start = Instant::now();
        predictor.heads(&image, 1);
        start.elapsed().as_secs_f64()
    });
    median(times.collect())
}

/// The median time of each layer in one image's forward pass on this machine, in seconds; 0 for a layer that only
/// passes a map on, or whose work is done together with another's and counted there.
#[must_use]
pub fn time_layers(network: &Network) -> Vec<f64> {
    let mut predictor = Predictor::new(network);
    let image = vec![0.5; predictor.input().len()];
    predictor.heads(&image, 1);
    let mut times = vec![Vec::new(); network.graph.layers.len()];
    for _ in 0..RUNS {
        let mut last = Instant::now();
        predictor.heads_stepwise(&image, 1, &mut |layer| {
            times[layer].push(last.elapsed().as_secs_f64());
            last = Instant::now();
        });
    }
    times.into_iter().map(median).collect()
}

/// The middle one of some times; 0 of none.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}
