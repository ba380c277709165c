//! Running a [`Network`](yoloslim_core::Network) on the CPU: inference with folded normalisation, and training
//! with its backward pass, both on the kernels of `yoloslim-kernels`.
//!
//! Maps are NHWC between layers; parameters are one flat vector, so that optimiser, EMA, clipping and checkpoints
//! are one line each.

mod backward;
mod change;
mod dropout;
mod forward;
mod fusion;
mod kernels;
mod layout;
mod pool;
mod predictor;
mod product;
mod program;
mod rounding;
mod segments;
mod shared_norm;
mod tape;
mod timing;
mod train_forward;
mod train_net;

pub use backward::Watch;
pub use change::RelativeChange;
pub use dropout::Drops;
pub(crate) use kernels::activation;
pub use layout::{ConvSlots, Layout};
pub use predictor::{Engine, HeadMap, Predictor};
pub use rounding::{Ends, Rounding};
pub use tape::Tape;
pub use timing::{time_in_turn, time_layers};
pub use train_net::TrainNet;

#[cfg(test)]
mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};
    use yoloslim_core::Network;
    use yoloslim_core::darknet::Cfg;

    use super::fusion::Fusion;
    use super::program::Program;
    use super::*;

    /// Every layer kind, with residual, depth-wise, grouped and dilated convolutions.
    const EVERYTHING: &str = "[net]\nwidth=16\nheight=16\n\
        [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
        [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\ngroups=8\nactivation=mish\n\
        [convolutional]\nfilters=8\nsize=1\nactivation=swish\n\
        [shortcut]\nfrom=-3\nactivation=tanh\n\
        [route]\nlayers=-1\ngroups=2\ngroup_id=1\n\
        [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\ndilation=2\ngroups=2\nactivation=linear\n\
        [shortcut]\nfrom=-3,-2\nactivation=linear\n\
        [maxpool]\nsize=2\nstride=1\n\
        [maxpool]\nsize=3\nstride=2\n\
        [convolutional]\nbatch_normalize=1\nfilters=8\nsize=1\nactivation=logistic\n\
        [dropout]\nprobability=0.5\n\
        [avgpool]\n\
        [scale_channels]\nfrom=-3\nactivation=linear\n\
        [sam]\nfrom=-4\n\
        [upsample]\nstride=2\n\
        [route]\nlayers=-1,7\n\
        [reorg]\nstride=2\n\
        [convolutional]\nfilters=7\nsize=1\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n\
        [route]\nlayers=-4\n\
        [convolutional]\nfilters=7\nsize=3\npad=1\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=2,2\nclasses=2\n";

    fn network() -> Network {
        Network::initialise(Cfg::parse(EVERYTHING.as_bytes()).unwrap(), 3).unwrap()
    }

    fn noise(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    /// A linear function of the heads, whose gradient with respect to them is `slopes`.
    fn objective(net: &mut TrainNet, images: &[f32], slopes: &[Vec<f32>]) -> f64 {
        let (maps, _) = net.forward(images.to_vec(), 2, 16, 16).unwrap();
        let products = maps.iter().zip(slopes).flat_map(|(m, s)| m.values.iter().zip(s));
        products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn the_gradient_of_every_layer_kind_agrees_with_finite_differences() {
        let mut net = TrainNet::new(network());
        net.set_drops(Some(Drops::new(5, 1, 0)));
        let images = noise(2 * 3 * 256, 1);
        let (maps, tape) = net.forward(images.clone(), 2, 16, 16).unwrap();
        let slopes: Vec<_> = maps.iter().enumerate().map(|(i, m)| noise(m.values.len(), 10 + i as u64)).collect();
        let heads = maps.into_iter().zip(&slopes).map(|(m, s)| HeadMap { values: s.clone(), ..m }).collect();
        let mut gradient = vec![0.0; net.layout().parameters()];
        net.backward(tape, heads, &mut gradient);
        // Small, for max pooling has kinks that a long step crosses.
        const STEP: f32 = 2e-4;
        let start = net.parameters().to_vec();
        for slots in net.layout().clone().convolutions() {
            for range in
                [Some(slots.kernel.clone()), Some(slots.bias.clone()), slots.gamma.clone()].into_iter().flatten()
            {
                let direction = noise(range.len(), slots.layer as u64);
                let mut along = |step: f32| {
                    net.parameters_mut().copy_from_slice(&start);
                    net.parameters_mut()[range.clone()].iter_mut().zip(&direction).for_each(|(p, d)| *p += step * d);
                    objective(&mut net, &images, &slopes)
                };
                let difference = (along(STEP) - along(-STEP)) / f64::from(2.0 * STEP);
                let slope: f64 =
                    gradient[range.clone()].iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
                let scale = gradient[range.clone()].iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
                let (layer, error) = (slots.layer, (slope - difference).abs());
                assert!(scale > 0.0, "layer {layer} has a gradient");
                assert!(error < 0.02 * scale + 1e-3, "layer {layer}: {slope} against {difference}, norm {scale}");
            }
        }
    }

    /// The gradients of a fixed linear function of the heads after two steps, and the running statistics.
    fn two_steps(network: Network, segments: usize) -> (Vec<f32>, Vec<f32>) {
        let mut net = TrainNet::with_segments(network, segments);
        net.set_drops(Some(Drops::new(5, 1, 0)));
        let mut gradient = vec![0.0; net.layout().parameters()];
        for step in 0..2 {
            let (maps, tape) = net.forward(noise(2 * 3 * 256, step), 2, 16, 16).unwrap();
            let slope = |(i, m): (usize, HeadMap)| HeadMap { values: noise(m.values.len(), 10 + i as u64), ..m };
            let heads = maps.into_iter().enumerate().map(slope).collect();
            net.backward(tape, heads, &mut gradient);
        }
        (gradient, net.statistics().to_vec())
    }

    #[test]
    fn segments_change_no_bit_of_gradients_and_statistics() {
        let expected = two_steps(network(), 1);
        assert!(expected.0.iter().any(|g| *g != 0.0));
        for segments in [2, 3, 5, 8, 100] {
            assert!(two_steps(network(), segments) == expected, "{segments} segments");
        }
    }

    /// Compares the heads of a net of 16 by 16 pixels with those of the slow oracle.
    fn assert_like_the_oracle(network: &Network) {
        let image = noise(3 * 256, 5);
        let mut nhwc = vec![0.0; image.len()];
        yoloslim_kernels::nchw_to_nhwc(1, 3, 16, 16, &image, &mut nhwc);
        let heads: Vec<_> = Predictor::new(network).heads(&nhwc, 1).iter().map(HeadMap::to_nchw).collect();
        let oracle = yoloslim_core::reference::run(network, &image);
        assert!(yoloslim_core::prune::max_relative_difference(&oracle, &heads) < 1e-5);
    }

    #[test]
    fn inference_computes_what_the_slow_oracle_does() {
        assert_like_the_oracle(&network());
    }

    #[test]
    fn a_map_that_is_upsampled_on_the_way_lives_until_then_whoever_else_reads_it() {
        let conv = "[convolutional]\nfilters=8\nsize=1\nactivation=leaky\n";
        let more = "[upsample]\nstride=2\n[route]\nlayers=1\n";
        for (between, routed) in [("", "2,0"), (more, "2,5,0")] {
            let cfg = format!(
                "[net]\nwidth=16\nheight=16\n{conv}[convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
                 [upsample]\nstride=2\n[route]\nlayers=1\n{conv}{between}[route]\nlayers={routed}\n\
                 [convolutional]\nfilters=7\nsize=1\nactivation=linear\n[yolo]\nmask=0\nanchors=4,4\nclasses=2\n"
            );
            assert_like_the_oracle(&Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 3).unwrap());
        }
    }

    #[test]
    fn segments_change_nothing_where_a_head_reads_a_pool() {
        let cfg = "[net]\nwidth=16\nheight=16\n\
            [convolutional]\nbatch_normalize=1\nfilters=7\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
            [convolutional]\nfilters=7\nsize=1\nactivation=linear\n\
            [maxpool]\nsize=2\nstride=1\n\
            [yolo]\nmask=0\nanchors=8,8\nclasses=2\n\
            [route]\nlayers=0\n\
            [convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\npad=1\nactivation=leaky\n\
            [convolutional]\nfilters=7\nsize=1\nactivation=linear\n\
            [yolo]\nmask=0\nanchors=8,8\nclasses=2\n";
        let network = || Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 3).unwrap();
        let expected = two_steps(network(), 1);
        for segments in 2..=8 {
            assert!(two_steps(network(), segments) == expected, "{segments} segments");
        }
    }

    #[test]
    fn fused_layers_change_nothing_but_the_maps_that_are_written() {
        const RESIDUALS: &str = "[net]\nwidth=16\nheight=16\n\
            [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n\
            [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n\
            [shortcut]\nfrom=-2\nactivation=linear\n\
            [convolutional]\nfilters=8\nsize=1\ngroups=8\nactivation=mish\n\
            [shortcut]\nfrom=-2\nactivation=linear\n\
            [convolutional]\nfilters=8\nsize=1\nactivation=leaky\n\
            [shortcut]\nfrom=-2\nactivation=leaky\n\
            [convolutional]\nfilters=6\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
            [upsample]\nstride=2\n\
            [route]\nlayers=-1,-4,-1\n\
            [route]\nlayers=-3\n\
            [upsample]\nstride=2\n\
            [route]\nlayers=-1,4\n\
            [convolutional]\nfilters=7\nsize=1\nactivation=linear\n\
            [shortcut]\nfrom=-1\nactivation=linear\n\
            [yolo]\nmask=0\nanchors=4,4\nclasses=2\n";
        let network = Network::initialise(Cfg::parse(RESIDUALS.as_bytes()).unwrap(), 3).unwrap();
        let mut predictor = Predictor::new(&network);
        let fusion = Fusion::new(&network.graph, &Program::new(&network.graph));
        let fused: Vec<usize> = (0..network.graph.layers.len()).filter(|&l| fusion.done_elsewhere(l)).collect();
        assert_eq!(fused, [2, 4, 11], "the leaky shortcut, the upsampling read twice and the doubled head stay");
        let images = noise(2 * 3 * 256, 5);
        let plain = predictor.heads_observed(&images, 2, &mut |_, _| {});
        for _ in 0..2 {
            let fused = predictor.heads(&images, 2);
            assert!(plain[0].values.iter().zip(&fused[0].values).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }

    #[test]
    fn convolutions_pool_their_maps_where_nobody_else_reads_them() {
        // Max poolings with and without padding, of a map with an odd side, of one read twice, of one that does not rise.
        const POOLED: &str = "[net]\nwidth=48\nheight=40\n\
            [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n\
            [maxpool]\nsize=2\nstride=2\n\
            [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=relu\n\
            [maxpool]\nsize=2\nstride=2\npadding=0\n\
            [convolutional]\nfilters=8\nsize=1\nactivation=linear\n\
            [maxpool]\nsize=2\nstride=2\n\
            [convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n\
            [maxpool]\nsize=2\nstride=2\n\
            [route]\nlayers=1\n\
            [convolutional]\nfilters=8\nsize=3\npad=1\nactivation=mish\n\
            [maxpool]\nsize=2\nstride=2\n\
            [convolutional]\nfilters=7\nsize=1\nactivation=linear\n\
            [yolo]\nmask=0\nanchors=4,4\nclasses=2\n\
            [route]\nlayers=-2\n\
            [maxpool]\nsize=2\nstride=2\n";
        let network = Network::initialise(Cfg::parse(POOLED.as_bytes()).unwrap(), 3).unwrap();
        let mut predictor = Predictor::with_size(&network, (48, 40), 2).unwrap();
        let fusion = Fusion::new(&network.graph, &Program::new(&network.graph));
        let layers = network.graph.layers.len();
        let fused: Vec<usize> = (0..layers).filter(|&l| fusion.done_elsewhere(l)).collect();
        assert_eq!(fused, [1, 3, 5], "an odd side, a map that is a head and an activation that falls stay");
        let images = noise(2 * 3 * 48 * 40, 5);
        let mut plain = vec![Vec::new(); layers];
        let heads = predictor.heads_observed(&images, 2, &mut |layer, map| plain[layer] = map.to_vec());
        let alike = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        for asked in [vec![], vec![0], vec![1], vec![2, 3], (0..layers - 1).filter(|l| !plain[*l].is_empty()).collect()]
        {
            let (fused, maps) = predictor.heads_with(&images, 2, &asked);
            assert!(alike(&fused[0].values, &heads[0].values), "{asked:?}");
            for (layer, map) in asked.iter().zip(&maps) {
                assert!(alike(&map.values, &plain[*layer]), "layer {layer} of {asked:?}");
            }
        }
    }

    #[test]
    fn a_net_without_heads_may_end_in_a_layer_that_passes_a_map_on() {
        for last in ["[dropout]\nprobability=.5\n", "[route]\nlayers=-1\n"] {
            let cfg =
                format!("[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=4\nsize=1\nactivation=linear\n{last}");
            let network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 3).unwrap();
            let heads = Predictor::new(&network).heads(&noise(8 * 8 * 3, 1), 1);
            assert_eq!((heads.len(), heads[0].values.len()), (1, 8 * 8 * 4));
        }
    }

    #[test]
    fn the_gradient_of_a_loss_on_inner_maps_agrees_with_finite_differences_in_any_number_of_segments() {
        let images = noise(2 * 3 * 256, 1);
        let asked = [1, 3, 4, 10, 15];
        for segments in [1, 4] {
            let mut net = TrainNet::with_segments(network(), segments);
            net.set_drops(Some(Drops::new(5, 1, 0)));
            let forward = |net: &mut TrainNet| {
                let (heads, mut tape) = net.forward(images.clone(), 2, 16, 16).unwrap();
                let maps = asked.map(|layer| net.map(layer, &mut tape).to_vec());
                (heads, tape, maps)
            };
            let (heads, tape, maps) = forward(&mut net);
            let slopes: Vec<Vec<f32>> = maps.iter().enumerate().map(|(i, m)| noise(m.len(), 30 + i as u64)).collect();
            let heads = heads.into_iter().map(|h| HeadMap { values: vec![0.0; h.values.len()], ..h }).collect();
            let mut gradient = vec![0.0; net.layout().parameters()];
            let features = asked.into_iter().zip(slopes.clone()).collect();
            net.backward_watched(tape, heads, features, &mut gradient, &mut ());
            let start = net.parameters().to_vec();
            let direction = noise(start.len(), 50);
            let mut along = |step: f32| -> f64 {
                let moved = start.iter().zip(&direction).map(|(p, d)| p + step * d);
                *net.parameters_mut() = moved.collect();
                let (_, _, maps) = forward(&mut net);
                let products = maps.iter().flatten().zip(slopes.iter().flatten());
                products.map(|(m, s)| f64::from(*m) * f64::from(*s)).sum()
            };
            let difference = (along(1e-4) - along(-1e-4)) / 2e-4;
            let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let norm = gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
            assert!((slope - difference).abs() < 0.02 * norm, "{segments}: {slope} against {difference}, norm {norm}");
        }
    }

    #[test]
    fn no_step_leaves_more_memory_behind_than_the_one_before() {
        for segments in [1, 4] {
            let mut net = TrainNet::with_segments(network(), segments);
            let mut gradient = vec![0.0; net.layout().parameters()];
            let mut held = Vec::new();
            for step in 0..6 {
                let (heads, mut tape) = net.forward(noise(2 * 3 * 256, step), 2, 16, 16).unwrap();
                let features = [1, 4, 10].map(|layer| (layer, net.map(layer, &mut tape).to_vec())).into();
                net.backward_watched(tape, heads, features, &mut gradient, &mut ());
                held.push((net.pool.held(), net.places.held()));
            }
            assert!(held[5] == held[1], "{segments} segments: {held:?}");
        }
    }

    #[test]
    fn inner_maps_of_inference_are_those_that_every_layer_shows() {
        let network = network();
        let images = noise(2 * 3 * 256, 5);
        let asked = [0, 3, 6, 10, 14, 15, 18];
        let (heads, maps) = Predictor::new(&network).heads_with(&images, 2, &asked);
        let mut shown = std::collections::BTreeMap::new();
        let plain = Predictor::new(&network).heads_observed(&images, 2, &mut |layer, map| {
            shown.insert(layer, map.to_vec());
        });
        for (layer, map) in asked.into_iter().zip(maps) {
            // Dropout and the head pass on what the layer before them gives.
            let expected = &shown[&if let 10 | 18 = layer { layer - 1 } else { layer }];
            assert!(
                map.values.len() == expected.len()
                    && map.values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6),
                "{layer}"
            );
        }
        let values = |heads: &[HeadMap]| heads.iter().flat_map(|h| h.values.clone()).collect::<Vec<_>>();
        assert!(values(&heads).iter().zip(values(&plain)).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn a_network_comes_back_from_its_flat_parameters() {
        let network = network();
        let net = TrainNet::new(network.clone());
        assert_eq!(net.to_network(net.parameters(), net.statistics()), network);
    }
}
