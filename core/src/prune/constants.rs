//! What a removed channel leaves behind: with gamma = 0 a filter gives act(beta) everywhere, and that constant
//! flows through sums, products, pools and routes to the convolutions that read it.

use super::{Means, PerFilter};
use crate::Network;
use crate::graph::{Activation, Convolution, Graph, Op, Source};

/// For every layer, what each output channel holds everywhere once its class is gone. Not a number where a channel
/// never can be constant (what the image or a reorg feeds).
pub type Constants = Vec<Vec<f64>>;

/// The constants of every channel, if every filter of convolution `layer` gave `value(layer, convolution)`.
pub fn propagate(graph: &Graph, value: impl Fn(usize, &Convolution) -> Vec<f64>) -> Constants {
    let image = vec![f64::NAN; graph.input.channels];
    let mut constants: Constants = Vec::with_capacity(graph.layers.len());
    for (i, layer) in graph.layers.iter().enumerate() {
        let read = |source: Source| source.layer().map_or(&image, |j| &constants[j]);
        let first = read(layer.inputs[0]);
        let product = |activation: &Activation| {
            let second = read(layer.inputs[1]);
            first.iter().zip(second).map(|(a, b)| activate(*activation, a * b)).collect()
        };
        let output: Vec<f64> = match &layer.op {
            Op::Convolution(c) => value(i, c),
            Op::Shortcut { activation } => {
                let mut sum = first.clone();
                for input in &layer.inputs[1..] {
                    sum.iter_mut().zip(read(*input)).for_each(|(s, v)| *s += v);
                }
                sum.into_iter().map(|v| activate(*activation, v)).collect()
            }
            Op::ScaleChannels { activation } | Op::Sam { activation } => product(activation),
            Op::Route { groups, group_id } => layer
                .inputs
                .iter()
                .flat_map(|&source| {
                    let all = read(source);
                    let width = all.len() / groups;
                    all[group_id * width..(group_id + 1) * width].iter().copied()
                })
                .collect(),
            Op::Reorg { .. } => vec![f64::NAN; layer.shape.channels],
            Op::MaxPool(_) | Op::Upsample { .. } | Op::AveragePool | Op::Dropout { .. } | Op::Yolo(_) => first.clone(),
        };
        constants.push(output);
    }
    constants
}

fn activate(activation: Activation, x: f64) -> f64 {
    if activation == Activation::Linear { x } else { f64::from(activation.apply(x as f32)) }
}

/// What stays of every channel of `network` when it goes, and the betas that make it so.
pub fn left_behind(network: &Network, means: Option<&Means>) -> Constants {
    let constants = stand_ins(network, means);
    propagate(&network.graph, |layer, _| constants[&layer].iter().map(|constant| f64::from(*constant)).collect())
}

/// What every filter gives once it goes, `[filters]` by convolution: its mean, as far as its activation reaches it, or
/// act(beta) without means.
pub fn stand_ins(network: &Network, means: Option<&Means>) -> PerFilter {
    let of = |(layer, c): (usize, &Convolution)| {
        let betas = constant_betas(network, layer, c.activation, means.and_then(|m| m.get(&layer)));
        (layer, betas.into_iter().map(|beta| c.activation.apply(beta)).collect())
    };
    network.graph.convolutions().map(of).collect()
}

/// The value of a channel all of whose producers have gamma = 0 and beta = 1: positive for every activation, sum
/// and product, so that a carrier can be divided by it.
pub fn carried(graph: &Graph) -> Constants {
    propagate(graph, |_, c| vec![f64::from(c.activation.apply(CARRIER_BETA)); c.filters])
}

/// Beta of a carrier's filters.
pub const CARRIER_BETA: f32 = 1.0;

/// For every filter of a layer the beta with which it gives its mean; its own beta without means.
pub fn constant_betas(network: &Network, layer: usize, act: Activation, means: Option<&Vec<f32>>) -> Vec<f32> {
    match means {
        Some(means) => means.iter().map(|mean| beta_for(act, *mean)).collect(),
        None => network.conv(layer).bias.clone(),
    }
}

/// The beta for which `activation` gives `mean`, or what in its range is nearest: bisection on the part from the
/// activation's minimum up, where it grows.
fn beta_for(activation: Activation, mean: f32) -> f32 {
    let (mut low, mut high) = match activation {
        Activation::Linear => return mean,
        Activation::Mish => (-1.192_43, mean.max(1.0) + 1.0),
        Activation::Swish => (-1.278_46, mean.max(1.0) + 1.0),
        Activation::HardSwish => (-1.5, mean.max(1.0) + 2.0),
        Activation::HardMish => (-1.0, mean.max(1.0)),
        Activation::Relu | Activation::Relu6 => (0.0, mean.max(0.0)),
        Activation::Leaky => (10.0 * mean.min(0.0), mean.max(0.0)),
        Activation::Hardtan => (-1.0, 1.0),
        Activation::Logistic | Activation::Tanh | Activation::Elu => (-20.0, mean.max(20.0)),
    };
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        if activation.apply(middle) < mean {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_beta_gives_the_mean_that_it_was_solved_for(which in 0..12usize, x in -4.0..9.0f32) {
            let activation = Activation::ALL[which];
            let mean = activation.apply(x);
            let again = activation.apply(beta_for(activation, mean));
            prop_assert!((again - mean).abs() < 1e-5 * mean.abs().max(1.0), "{} {mean} {again}", activation.name());
        }
    }

    #[test]
    fn a_mean_out_of_range_gives_the_nearest() {
        assert_eq!(beta_for(Activation::Relu, -3.0), 0.0);
        assert_eq!(Activation::Relu6.apply(beta_for(Activation::Relu6, 9.0)), 6.0);
        assert!(Activation::Mish.apply(beta_for(Activation::Mish, -1.0)) < -0.3);
    }
}
