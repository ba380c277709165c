//! Cross-layer equalisation: the scales of channels moved from one convolution to the next, so that all channels of a
//! tensor fill its grid alike (Nagel et al. 2019, 'Data-free quantization through weight equalization and bias
//! correction', section 4.1).
//!
//! Exact where what lies between is positively homogeneous: `f(s x) = s f(x)` for `s > 0`, as leaky ReLU, ReLU, max
//! pooling and nearest upsampling are.

use std::collections::BTreeMap;

use crate::Network;
use crate::graph::{Activation, Convolution, Graph, Op};

/// Passes over all pairs; the scales of a chain of layers settle geometrically.
const PASSES: usize = 20;
/// Channels are scaled by no more than this and its inverse, in each pass.
const MOST: f32 = 1e4;

/// Two convolutions whose channels may be scaled: all that reads the first ends in the second alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The layer that makes the channels.
    pub first: usize,
    /// The layer that reads them.
    pub second: usize,
}

/// The pairs of a graph, in layer order.
#[must_use]
pub fn pairs(graph: &Graph) -> Vec<Pair> {
    let consumers = graph.consumers();
    let reader = |first: usize| {
        let mut layer = first;
        loop {
            let &[next] = consumers[layer].as_slice() else { return None };
            match &graph.layers[next].op {
                Op::Convolution(_) => return Some(Pair { first, second: next }),
                Op::MaxPool(_) | Op::Upsample { .. } | Op::Dropout { .. } => {}
                Op::Route { groups: 1, .. } if graph.layers[next].inputs.len() == 1 => {}
                _ => return None,
            }
            layer = next;
        }
    };
    let homogeneous =
        |c: &Convolution| matches!(c.activation, Activation::Linear | Activation::Leaky | Activation::Relu);
    graph.convolutions().filter(|(_, c)| homogeneous(c)).filter_map(|(first, _)| reader(first)).collect()
}

/// Equalises a net whose normalisation is folded. `activations` gives, for layers where it is known, the largest
/// magnitude of each output channel: then the channels' ranges are those, else those of the weights that make them.
/// With `filters_alone`, each filter's weights have a grid of their own: then depth-wise filters follow any scale, and
/// the ranges of what they read alone count.
///
/// # Panics
/// If a convolution of a pair still has its normalisation.
pub fn equalise(network: &mut Network, activations: &BTreeMap<usize, Vec<f32>>, filters_alone: bool) {
    let pairs = pairs(&network.graph);
    let mut activations = activations.clone();
    for _ in 0..PASSES {
        for pair in &pairs {
            let scales = scales(network, *pair, activations.get(&pair.first), filters_alone);
            apply(network, *pair, &scales);
            if let Some(largest) = activations.get_mut(&pair.first) {
                largest.iter_mut().zip(&scales).for_each(|(largest, scale)| *largest /= scale);
            }
        }
    }
}

/// What each channel is divided by so that its range in the first layer equals that in the second.
fn scales(network: &Network, pair: Pair, activations: Option<&Vec<f32>>, filters_alone: bool) -> Vec<f32> {
    let filters = network.conv(pair.first).bias.len();
    let made = match activations {
        Some(largest) => largest.clone(),
        None => {
            let kernel = &network.conv(pair.first).kernel;
            kernel.chunks((kernel.len() / filters.max(1)).max(1)).map(largest).collect()
        }
    };
    let mut read = vec![0.0f32; filters];
    each_tap_read(network, pair.second, |channel, weight| read[channel] = read[channel].max(weight.abs()));
    let depthwise = match network.graph.layers[pair.second].op {
        Op::Convolution(c) => c.is_depthwise(filters),
        _ => false,
    };
    if depthwise && filters_alone && activations.is_some() {
        // The square, for the root is taken below.
        read = made.iter().map(|made| 1.0 / made).collect();
    }
    // The overall scale of a tensor changes nothing on a grid that scales along, and stays.
    let usable = |range: f32| range.is_normal();
    let ratios: Vec<Option<f32>> = made
        .iter()
        .zip(&read)
        .map(|(made, read)| (usable(*made) && usable(*read)).then(|| (made / read).sqrt()))
        .collect();
    let known: Vec<f32> = ratios.iter().flatten().map(|ratio| ratio.ln()).collect();
    let mean = (known.iter().sum::<f32>() / known.len().max(1) as f32).exp();
    ratios.iter().map(|ratio| ratio.map_or(1.0, |ratio| (ratio / mean).clamp(1.0 / MOST, MOST))).collect()
}

fn apply(network: &mut Network, pair: Pair, scales: &[f32]) {
    let first = network.conv_mut(pair.first);
    assert!(first.norm.is_none(), "the normalisation is folded");
    let taps = (first.kernel.len() / scales.len().max(1)).max(1);
    for ((filter, bias), scale) in first.kernel.chunks_mut(taps).zip(&mut first.bias).zip(scales) {
        filter.iter_mut().for_each(|w| *w /= scale);
        *bias /= scale;
    }
    let (taps, groups) = reading(&network.graph, pair.second);
    let second = network.conv_mut(pair.second);
    let (filters, kept) = (second.bias.len() / groups, scales.len() / groups);
    for (at, kernel) in second.kernel.chunks_mut(taps).enumerate() {
        let scale = scales[at / kept / filters * kept + at % kept];
        kernel.iter_mut().for_each(|w| *w *= scale);
    }
}

/// Calls `see` with the input channel and the value of each weight of a convolution.
fn each_tap_read(network: &Network, layer: usize, mut see: impl FnMut(usize, f32)) {
    let (taps, groups) = reading(&network.graph, layer);
    let weights = network.conv(layer);
    let filters = weights.bias.len() / groups;
    let kept = network.graph.input_shape(layer).channels / groups;
    for (at, kernel) in weights.kernel.chunks(taps).enumerate() {
        let channel = at / kept / filters * kept + at % kept;
        kernel.iter().for_each(|w| see(channel, *w));
    }
}

/// A convolution's taps for each pair of channels, and its groups.
fn reading(graph: &Graph, layer: usize) -> (usize, usize) {
    match graph.layers[layer].op {
        Op::Convolution(c) => (c.size * c.size, c.groups),
        _ => unreachable!("{} is no convolution", graph.layers[layer].place),
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Cfg;
    use crate::reference;
    use proptest::prelude::*;

    /// Grouped, depth-wise and plain convolutions, a pool and an upsampling between; a shortcut, a route, a head and a
    /// mish that must stop it.
    const CFG: &str = "[net]\nwidth=8\nheight=8\n\
        [convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n\
        [maxpool]\nsize=2\nstride=2\n\
        [convolutional]\nfilters=8\nsize=3\npad=1\ngroups=8\nactivation=relu\n\
        [upsample]\nstride=2\n\
        [convolutional]\nfilters=6\ngroups=2\nactivation=linear\n\
        [convolutional]\nfilters=6\nactivation=mish\n\
        [convolutional]\nfilters=6\nactivation=leaky\n\
        [shortcut]\nfrom=-2\nactivation=leaky\n\
        [convolutional]\nfilters=6\nactivation=leaky\n\
        [route]\nlayers=-1,-2\n\
        [convolutional]\nfilters=4\nactivation=leaky\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n";

    fn network(seed: u64) -> Network {
        let mut network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), seed).unwrap();
        for (layer, weights) in network.weights.iter_mut().enumerate() {
            let Some(weights) = weights else { continue };
            let taps = weights.kernel.len() / weights.bias.len();
            for (filter, kernel) in weights.kernel.chunks_mut(taps).enumerate() {
                kernel.iter_mut().for_each(|w| *w *= 4f32.powi((filter * 7 + layer) as i32 % 5 - 2));
            }
            weights.bias.iter_mut().enumerate().for_each(|(i, b)| *b = (i as f32 - 2.0) / 9.0);
        }
        // A dead filter.
        network.conv_mut(0).kernel[..27].fill(0.0);
        network
    }

    #[test]
    fn pairs_have_one_reader_and_a_homogeneous_way_between() {
        let found: Vec<_> = pairs(&network(1).graph).iter().map(|p| (p.first, p.second)).collect();
        assert_eq!(found, [(0, 2), (2, 4), (4, 5), (10, 11)]);
    }

    #[test]
    fn ranges_of_both_layers_agree_afterwards_and_known_activations_count_for_the_first() {
        let mut even = network(1);
        equalise(&mut even, &BTreeMap::new(), false);
        let ranges = |network: &Network| -> Vec<f32> {
            let made = network.conv(10).kernel.chunks(12).map(largest);
            let mut read = vec![0.0f32; 4];
            each_tap_read(network, 11, |channel, w| read[channel] = read[channel].max(w.abs()));
            made.zip(read).map(|(made, read)| made / read).collect()
        };
        let ratios = ranges(&even);
        assert!(ratios.iter().all(|r| (r / ratios[0] - 1.0).abs() < 1e-3), "{ratios:?}");
        assert!(ranges(&network(1)).iter().any(|r| (r / ranges(&network(1))[0] - 1.0).abs() > 0.5));
        let mut by_activation = network(1);
        equalise(&mut by_activation, &BTreeMap::from([(10, vec![1.0, 1.0, 1.0, 16.0])]), false);
        assert_ne!(by_activation.conv(10), even.conv(10));
    }

    #[test]
    fn what_a_depthwise_filter_of_its_own_grid_reads_gets_one_range() {
        let mut even = network(1);
        let known = BTreeMap::from([(0, (1..=8).map(|i| i as f32).collect::<Vec<_>>())]);
        equalise(&mut even, &known, true);
        let scale = |channel: usize| network(1).conv(0).bias[channel] / even.conv(0).bias[channel];
        for channel in [1, 3, 4, 5, 6, 7] {
            let ratio = scale(channel) / scale(1);
            assert!((ratio - (channel + 1) as f32 / 2.0).abs() < 1e-3, "channel {channel}: {ratio}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn the_net_computes_the_same(seed in 0u64..1000) {
            let whole = network(seed);
            let mut even = whole.clone();
            equalise(&mut even, &BTreeMap::new(), false);
            prop_assert_ne!(&even, &whole);
            let image: Vec<f32> = (0..192).map(|i| ((i * 37 + seed as usize) % 64) as f32 / 64.0).collect();
            let (before, after) = (reference::run(&whole, &image), reference::run(&even, &image));
            // Rounding alone: 2e-5 at most over all of these seeds.
            prop_assert!(crate::prune::max_relative_difference(&before, &after) < 5e-5);
        }
    }
}
