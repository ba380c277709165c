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
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            predictor.heads(&image, 1);
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}
