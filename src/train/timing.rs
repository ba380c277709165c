//! How long a training step takes.

use std::time::Instant;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use yoloslim_core::{Network, Result};

use super::options::TrainOptions;
use super::trainer::Trainer;
use crate::data::{Batch, Target, require_detector};
use crate::workers::Workers;

/// Objects on every random image.
const OBJECTS: usize = 8;
/// Steps that fill buffers and caches and don't count.
const WARM_UP: usize = 2;

/// The seconds of each of `steps` whole training steps (forward, loss, backward, update) as `options` tell, on a random
/// batch of images of `width` x `height` pixels, in order; `progress` is told after every step.
///
/// # Errors
/// A net without heads, or that does not read RGB images, as training would refuse it; options out of range; a size that does not fit the net.
pub fn time_steps(
    network: Network,
    options: &TrainOptions,
    (width, height): (usize, usize),
    steps: usize,
    progress: &mut dyn FnMut(),
) -> Result<Vec<f64>> {
    require_detector(&network.graph)?;
    let classes = network.graph.classes();
    options.check()?;
    let mut trainer = Trainer::new(network, options, steps + WARM_UP, &Workers::alone());
    let batch = random_batch(options.batch, width, height, classes);
    let mut times = Vec::with_capacity(steps + WARM_UP);
    for _ in 0..steps + WARM_UP {
        let batch = batch.clone();
        let start = Instant::now();
        trainer.step(batch, false)?;
        times.push(start.elapsed().as_secs_f64());
        progress();
    }
    Ok(times.split_off(WARM_UP))
}

fn random_batch(count: usize, width: usize, height: usize, classes: usize) -> Batch {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let images = (0..count * height * width * 3).map(|_| rng.random()).collect();
    let targets = (0..count * OBJECTS)
        .map(|i| Target {
            image: i / OBJECTS,
            class: rng.random_range(0..classes),
            cx: rng.random(),
            cy: rng.random(),
            w: rng.random_range(0.02..0.5),
            h: rng.random_range(0.02..0.5),
        })
        .collect();
    Batch {
        images,
        count,
        whole: count,
        first: 0,
        width,
        height,
        targets,
        ignored: Vec::new(),
        indices: (0..count).collect(),
    }
}
