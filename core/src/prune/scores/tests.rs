//! What holds for each score, and for what is joined from them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::darknet::Cfg;
use crate::network::BatchNorm;
use crate::prune::tests::random_net::{random_net, some_evidence};

/// Three filters of four weights.
fn weights(kernel: [f32; 12], gamma: Option<[f32; 3]>) -> ConvWeights {
    let norm = |gamma: [f32; 3]| BatchNorm { gamma: gamma.to_vec(), mean: vec![0.5; 3], variance: vec![4.0; 3] };
    ConvWeights { bias: vec![7.0; 3], norm: gamma.map(norm), kernel: kernel.to_vec() }
}

const KERNEL: [f32; 12] = [3.0, 0.0, -4.0, 0.0, 1.0, 1.0, -1.0, 1.0, 0.0, 0.0, 0.0, 2.0];

#[test]
fn each_score_is_its_formula() {
    let with = weights(KERNEL, Some([-2.0, 0.5, 0.0]));
    assert_eq!(gamma::scores(&with).unwrap(), [2.0, 0.5, 0.0]);
    assert_eq!(gamma_norm::scores(&with), [10.0, 1.0, 0.0]);
    assert_eq!(l1::scores(&with), [7.0, 4.0, 2.0]);
    assert_eq!(l2::scores(&with), [5.0, 2.0, 2.0]);
    let measured = BTreeMap::from([(4, vec![1.0, -3.0, 5.0])]);
    assert_eq!(taylor::scores(&measured, 4).unwrap(), [1.0, 3.0, 5.0]);
    assert_eq!(taylor::scores(&measured, 5), None);
    assert_eq!(deviation::scores(&with, &BTreeMap::from([(4, vec![1.0, 3.0, 5.0])]), 4).unwrap(), [2.0, 1.5, 0.0]);
    let distances = [15.0f32, 29.0, 4.0].map(f32::sqrt);
    let wanted = [distances[0] + distances[1], distances[0] + distances[2], distances[1] + distances[2]];
    for (score, wanted) in geometric_median::scores(&with).into_iter().zip(wanted) {
        assert!((score - wanted).abs() < 1e-5, "{score} {wanted}");
    }
}

#[test]
fn without_normalisation_gamma_counts_as_one_or_the_filter_has_no_score() {
    let without = weights(KERNEL, None);
    assert_eq!(gamma::scores(&without), None);
    assert_eq!(gamma_norm::scores(&without), l2::scores(&without));
    let measured = BTreeMap::from([(0, vec![1.0, 3.0, 5.0])]);
    assert_eq!(deviation::scores(&without, &measured, 0).unwrap(), [1.0, 3.0, 5.0]);
}

#[test]
fn what_has_two_equal_filters_nearest_to_all_gives_those_the_lowest_median_score() {
    let mut kernel = vec![0.0; 6 * 20];
    kernel.iter_mut().enumerate().for_each(|(i, w)| *w = ((i * 53) % 31) as f32 / 31.0 - 0.5);
    // The second filter once more as the fourth, and both at the middle of the others.
    for tap in 0..20 {
        let middle = [0, 2, 4, 5].map(|f: usize| kernel[f * 20 + tap]).iter().sum::<f32>() / 4.0;
        (kernel[20 + tap], kernel[60 + tap]) = (middle, middle);
    }
    let weights = ConvWeights { bias: vec![0.0; 6], norm: None, kernel };
    let scores = geometric_median::scores(&weights);
    assert_eq!(scores[1], scores[3]);
    assert!([0, 2, 4, 5].iter().all(|f: &usize| scores[*f] > scores[1]), "{scores:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn norms_and_distances_grow_with_the_kernel_and_ignore_its_sign(
        kernel in prop::array::uniform12(-3.0..3.0f32),
        scale in 0.1..9.0f32,
    ) {
        let scaled = weights(kernel.map(|w| -scale * w), Some([1.0, 2.0, 3.0]));
        let plain = weights(kernel, Some([1.0, 2.0, 3.0]));
        for score in [l1::scores, l2::scores, geometric_median::scores, gamma_norm::scores] {
            for (a, b) in score(&plain).into_iter().zip(score(&scaled)) {
                prop_assert!((a * scale - b).abs() <= 1e-4 * b.max(1e-3), "{a} {b}");
            }
        }
        prop_assert_eq!(gamma::scores(&plain), gamma::scores(&scaled));
    }

    /// The rule of the peers, said once more in the plainest way: the threshold is over the best gamma of each class.
    #[test]
    fn gamma_and_max_is_the_union_over_the_largest_gammas(seed in any::<u64>(), steps in 1..12usize) {
        let network = random_net(seed, steps);
        let channels = Channels::of(&network.graph);
        let options = PruneOptions { normalise: Some(Normalise::None), ..PruneOptions::default() };
        let scores = Scores::of(&network, &channels, &options, &Evidence::default());
        for (class, score) in channels.classes.iter().zip(&scores.by_class) {
            let norm = |p: &super::super::channels::Filter| network.conv(p.layer).norm.as_ref();
            let gammas: Option<Vec<f32>> =
                class.producers.iter().map(|p| norm(p).map(|n| n.gamma[p.filter].abs())).collect();
            let best = gammas.and_then(|g| g.into_iter().max_by(f32::total_cmp));
            match (class.protected, best) {
                (Some(reason), _) => prop_assert_eq!(*score, Err(reason)),
                (None, Some(best)) => prop_assert_eq!(score.as_ref().unwrap().0, best),
                (None, None) => prop_assert_eq!(*score, Err(Reason::NoScore)),
            }
        }
    }

    #[test]
    fn every_score_ranks_every_net_and_normalised_ones_no_longer_know_a_layers_scale(
        seed in any::<u64>(), steps in 1..12usize, which in 0..Criterion::ALL.len(), layer in any::<prop::sample::Index>(),
    ) {
        let network = random_net(seed, steps);
        let channels = Channels::of(&network.graph);
        let evidence = some_evidence(&network);
        let score = Criterion::ALL[which];
        let options = PruneOptions { score, normalise: Some(Normalise::Layer), ..PruneOptions::default() };
        let plain = Scores::of(&network, &channels, &options, &evidence);
        prop_assert!(plain.candidates.iter().all(|c| c.score.is_finite() && c.score >= 0.0));
        let convolutions: Vec<usize> = network.graph.convolutions().map(|(i, _)| i).collect();
        let mut scaled = network.clone();
        let weights = scaled.conv_mut(convolutions[layer.index(convolutions.len())]);
        weights.kernel.iter_mut().for_each(|w| *w *= 8.0);
        if let Some(norm) = &mut weights.norm {
            norm.gamma.iter_mut().for_each(|g| *g *= 0.5);
        }
        let scaled = Scores::of(&scaled, &channels, &options, &evidence);
        for (a, b) in plain.candidates.iter().zip(&scaled.candidates) {
            prop_assert!((a.score - b.score).abs() <= 1e-3 * a.score.max(1e-3), "{score:?} {a:?} {b:?}");
        }
    }
}

#[test]
fn among_equal_scores_every_layer_loses_the_same_share() {
    let conv = |n: usize| format!("[convolutional]\nbatch_normalize=1\nfilters={n}\nactivation=leaky\n");
    let text = format!("[net]\nwidth=8\nheight=8\n{}{}{}", conv(4), conv(8), conv(2));
    let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
    let channels = Channels::of(&network.graph);
    let scores = Scores::of(&network, &channels, &PruneOptions::default(), &Evidence::default());
    let first_half = scores.candidates[..6].iter();
    let layers: Vec<usize> = first_half.map(|c| channels.classes[c.class].producers[0].layer).collect();
    assert_eq!(layers.iter().filter(|l| **l == 0).count(), 2);
    assert_eq!(layers.iter().filter(|l| **l == 1).count(), 4);
    assert_eq!(scores.by_class[0], Err(Reason::Image));
}
