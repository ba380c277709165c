//! Numbers rounded in the forward pass of training, as a quantised net rounds them. The backward pass takes rounding for
//! the identity within a grid (the straight-through estimator: Bengio, Léonard and Courville, arXiv:1308.3432; Jacob et
//! al. 2018, 'Quantization and training of neural networks for efficient integer-arithmetic-only inference'), and for
//! a constant at its ends: what lies beyond the grid does not move what is computed.

/// The smallest and the largest value of a grid.
pub type Ends = (f32, f32);

/// What rounds a net's numbers.
pub trait Rounding: Send + Sync {
    /// Rounds input images.
    fn images(&self, images: &mut [f32]);

    /// Rounds the kernel `[filters, ..]` and the biases `[filters]` of a convolution.
    fn weights(&self, layer: usize, kernel: &mut [f32], bias: &mut [f32]);

    /// Rounds what a layer gives before its activation function.
    fn before(&self, layer: usize, map: &mut [f32]);

    /// Rounds a layer's output.
    fn after(&self, layer: usize, map: &mut [f32]);

    /// The ends of the grid of [`Rounding::before`]; none where nothing is rounded.
    fn before_range(&self, layer: usize) -> Option<Ends>;

    /// The ends of the grid of [`Rounding::after`]; none where nothing is rounded.
    fn after_range(&self, layer: usize) -> Option<Ends>;
}

/// Takes the gradient away from numbers at an end of their grid.
pub(super) fn stop_at_ends(rounded: &[f32], ends: Option<Ends>, gradient: &mut [f32]) {
    let Some((low, high)) = ends else { return };
    for (slope, value) in gradient.iter_mut().zip(rounded) {
        if *value <= low || *value >= high {
            *slope = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HeadMap, TrainNet};
    use std::sync::Arc;
    use yoloslim_core::Network;
    use yoloslim_core::darknet::Cfg;

    /// Leaky and linear convolutions, a sum, a pool and a concatenation.
    const CFG: &str = "[net]\nwidth=8\nheight=8\n\
        [convolutional]\nfilters=6\nsize=3\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=6\nsize=3\npad=1\nactivation=linear\n\
        [shortcut]\nfrom=-2\nactivation=leaky\n\
        [maxpool]\nsize=2\nstride=1\n\
        [convolutional]\nfilters=6\nactivation=leaky\n\
        [route]\nlayers=-1,1\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n";

    /// A grid without steps: what finite differences can follow.
    struct Ended {
        told: bool,
    }

    const BEFORE: Ends = (-0.3, 0.4);
    const AFTER: Ends = (-0.02, 0.3);

    fn clamp(map: &mut [f32], (low, high): Ends) {
        map.iter_mut().for_each(|v| *v = v.clamp(low, high));
    }

    impl Rounding for Ended {
        fn images(&self, _: &mut [f32]) {}

        fn weights(&self, _: usize, _: &mut [f32], _: &mut [f32]) {}

        fn before(&self, _: usize, map: &mut [f32]) {
            clamp(map, BEFORE);
        }

        fn after(&self, layer: usize, map: &mut [f32]) {
            self.after_grid(layer).into_iter().for_each(|ends| clamp(map, ends));
        }

        fn before_range(&self, _: usize) -> Option<Ends> {
            self.told.then_some(BEFORE)
        }

        fn after_range(&self, layer: usize) -> Option<Ends> {
            self.after_grid(layer).filter(|_| self.told)
        }
    }

    impl Ended {
        /// All but the pool and the head have one.
        fn after_grid(&self, layer: usize) -> Option<Ends> {
            [0, 1, 2, 4, 5].contains(&layer).then_some(AFTER)
        }
    }

    fn noise(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    /// The slope along a direction of all parameters: by the backward pass and by finite differences.
    fn slopes(told: bool, segments: usize) -> (f64, f64, f64) {
        let network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 2).unwrap();
        let mut net = TrainNet::with_segments(network, segments);
        net.set_rounding(Arc::new(Ended { told }));
        let images = noise(2 * 3 * 64, 1);
        let (maps, tape) = net.forward(images.clone(), 2, 8, 8).unwrap();
        let wanted = noise(maps[0].values.len(), 2);
        let heads = maps.into_iter().map(|m| HeadMap { values: wanted.clone(), ..m }).collect();
        let mut gradient = vec![0.0; net.layout().parameters()];
        net.backward(tape, heads, &mut gradient);
        let start = net.parameters().to_vec();
        let direction = noise(start.len(), 3);
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let mut along = |step: f32| {
            *net.parameters_mut() = start.iter().zip(&direction).map(|(p, d)| p + step * d).collect();
            product(&net.forward(images.clone(), 2, 8, 8).unwrap().0[0].values, &wanted)
        };
        let difference = (along(1e-4) - along(-1e-4)) / 2e-4;
        (product(&gradient, &direction), difference, product(&gradient, &gradient).sqrt())
    }

    #[test]
    fn gradients_end_where_grids_do() {
        for segments in [1, 3] {
            let (slope, difference, norm) = slopes(true, segments);
            assert!((slope - difference).abs() < 0.02 * norm, "{segments}: {slope} against {difference}, norm {norm}");
        }
        let (slope, difference, norm) = slopes(false, 1);
        assert!((slope - difference).abs() > 0.1 * norm, "ends not told: {slope} against {difference}, norm {norm}");
    }
}
