//! How long one image takes. Other work on the machine only ever adds time, so that the least of several runs is the figure.

use std::time::Instant;

use yoloslim_core::Network;

use super::Predictor;

/// Forward passes that are timed; the first, which fills the buffers, is not.
const RUNS: usize = 7;

/// The time of one image's forward pass on this machine, in seconds, of each of some networks. They take turns, so that they
/// can be compared on a machine whose speed changes.
#[must_use]
pub fn time_in_turn(networks: &[Network]) -> Vec<f64> {
    let ready = |network| {
        let mut predictor = Predictor::new(network);
        let image = vec![0.5; predictor.input().len()];
        predictor.heads(&image, 1);
        (predictor, image)
    };
    let mut predictors: Vec<_> = networks.iter().map(ready).collect();
    let mut least = vec![f64::INFINITY; networks.len()];
    for _ in 0..RUNS {
        for ((predictor, image), least) in predictors.iter_mut().zip(&mut least) {
            let start = Instant::now();
            predictor.heads(image, 1);
            *least = least.min(start.elapsed().as_secs_f64());
        }
    }
    least
}

/// The time of each layer in one image's forward pass on this machine, in seconds; 0 for a layer that only
/// passes a map on, or whose work is done together with another's and counted there.
#[must_use]
pub fn time_layers(network: &Network) -> Vec<f64> {
    let mut predictor = Predictor::new(network);
    let image = vec![0.5; predictor.input().len()];
    predictor.heads(&image, 1);
    let mut least = vec![f64::INFINITY; network.graph.layers.len()];
    for _ in 0..RUNS {
        let mut last = Instant::now();
        predictor.heads_stepwise(&image, 1, &mut |layer| {
            least[layer] = least[layer].min(last.elapsed().as_secs_f64());
            last = Instant::now();
        });
    }
    least.into_iter().map(|time| if time.is_finite() { time } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use yoloslim_core::darknet::Cfg;

    use super::*;

    #[test]
    fn every_network_and_every_layer_that_works_takes_time() {
        let cfg = "[net]\nwidth=32\nheight=32\n[convolutional]\nfilters=8\nsize=3\nactivation=leaky\n[dropout]\nprobability=.5\n";
        let network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let times = time_in_turn(&[network.clone(), network.clone()]);
        assert!(times.len() == 2 && times.iter().all(|time| *time > 0.0 && time.is_finite()), "{times:?}");
        let layers = time_layers(&network);
        assert!(layers[0] > 0.0 && layers[1] == 0.0, "{layers:?}");
    }
}
