//! Each rule on a net small enough to see through.

use std::collections::BTreeMap;

use super::budgets::wide_net;
use crate::Network;
use crate::darknet::Cfg;
use crate::prune::{
    Criterion, Evidence, Groups, Join, LeftBehind, Normalise, PROOF_TOLERANCE, PruneOptions, PrunePlan, Reason, Target,
    WhyNot, apply, max_relative_difference, plan,
};
use crate::reference;

/// `[convolutional]` with normalisation.
pub(super) fn conv(filters: usize, size: usize, more: &str) -> String {
    format!("[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize={size}\npad=1\nactivation=leaky\n{more}")
}

const HEAD: &str = "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nmask=0\nanchors=4,4\nclasses=1\n";

/// A net of `layers` and a head, the gammas of some layers given, all betas zero (so that nothing is left behind).
pub(super) fn net(layers: &str, gammas: &[(usize, &[f32])]) -> Network {
    let text = format!("[net]\nwidth=8\nheight=8\n{layers}{HEAD}");
    let mut network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 3).unwrap();
    for (layer, values) in gammas {
        network.conv_mut(*layer).norm.as_mut().unwrap().gamma.copy_from_slice(values);
    }
    network
}

/// Raw gammas, so that what is worth more can be seen from them.
pub(super) fn options(share: f64) -> PruneOptions {
    let normalise = Some(Normalise::None);
    PruneOptions { target: Target::Channels(share), min_keep: 0.0, normalise, ..PruneOptions::default() }
}

fn kept(plan: &PrunePlan) -> Vec<(usize, Vec<usize>)> {
    plan.layers.iter().map(|l| (l.layer, l.kept.clone())).collect()
}

/// Applies a plan, proves it, and gives the difference in cfg text.
pub(super) fn proven(network: &Network, plan: &PrunePlan) -> Network {
    let pruned = apply(network, plan).unwrap();
    let image: Vec<f32> = (0..network.graph.input.len()).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
    let (a, b) = (reference::run(&pruned.masked, &image), reference::run(&pruned.compact, &image));
    assert!(max_relative_difference(&a, &b) <= PROOF_TOLERANCE);
    pruned.compact
}

#[test]
fn a_net_without_gammas_is_no_net_with_nothing_to_prune() {
    let plain = conv(4, 1, "").replace("batch_normalize=1\n", "");
    let network = net(&(plain.clone() + &plain), &[]);
    for target in [Target::Channels(0.5), Target::Flops(0.3)] {
        let by_gamma = PruneOptions { target, ..options(0.5) };
        let refused = plan(&network, &by_gamma, &Evidence::default()).unwrap_err().to_string();
        assert!(refused.starts_with("score gamma: no channel that may go has such a score"), "{refused}");
        let by_norm = PruneOptions { score: Criterion::L1, ..by_gamma };
        assert!(plan(&network, &by_norm, &Evidence::default()).unwrap().after.params < network.parameters());
    }
    assert!(plan(&network, &options(0.0), &Evidence::default()).is_ok());
}

#[test]
fn joins_differ_in_whose_score_counts_and_frozen_groups_stay() {
    // A stage of two members, 0 and 2, and a free layer 1 between them.
    let layers =
        format!("{}{}{}[shortcut]\nfrom=-3\nactivation=linear\n", conv(4, 1, ""), conv(4, 1, ""), conv(4, 1, ""));
    let network =
        net(&layers, &[(0, &[0.9, 0.1, 0.2, 0.8]), (1, &[0.3, 0.5, 0.6, 0.7]), (2, &[0.05, 0.95, 0.15, 0.04])]);
    let cases = [
        // Max: stage 0.9, 0.95, 0.2, 0.8.
        (Groups::Together, Join::Max, 0.25, vec![0, 1, 3], vec![1, 2, 3]),
        // Leader: stage 0.9, 0.1, 0.2, 0.8.
        (Groups::Together, Join::Leader, 0.25, vec![0, 3], vec![0, 1, 2, 3]),
        // Mean: stage 0.475, 0.525, 0.175, 0.42.
        (Groups::Together, Join::Mean, 0.4, vec![0, 1], vec![1, 2, 3]),
        // Sum: stage 0.95, 1.05, 0.35, 0.84.
        (Groups::Together, Join::Sum, 0.5, vec![0, 1, 3], vec![3]),
        // Frozen: only layer 1 may lose anything.
        (Groups::Frozen, Join::Max, 0.5, vec![0, 1, 2, 3], vec![2, 3]),
    ];
    for (groups, join, share, stage, free) in cases {
        let plan = plan(&network, &PruneOptions { groups, join, ..options(share) }, &Evidence::default()).unwrap();
        let wanted = [(0, stage.clone()), (1, free), (2, stage), (4, (0..6).collect())];
        assert_eq!(kept(&plan), wanted, "{groups:?} {join:?}");
        proven(&network, &plan);
    }
    let frozen =
        plan(&network, &PruneOptions { groups: Groups::Frozen, ..options(0.5) }, &Evidence::default()).unwrap();
    assert_eq!(frozen.layers[0].stays, BTreeMap::from([(Reason::Frozen, vec![0, 1, 2, 3])]));
    assert_eq!(frozen.layers[3].stays, BTreeMap::from([(Reason::ProtectedHead, (0..6).collect())]));
}

#[test]
fn gammas_of_another_scale_are_no_worse_for_it() {
    let gammas: [f32; 4] = [0.1, 0.2, 0.8, 0.9];
    let large = gammas.map(|gamma| gamma * 50.0);
    let network = net(&(conv(4, 1, "") + &conv(4, 1, "")), &[(0, &gammas), (1, &large)]);
    for (normalise, wanted) in [(None, [vec![2, 3], vec![2, 3]]), (Some(Normalise::None), [vec![3], vec![0, 1, 2, 3]])]
    {
        let plan = plan(&network, &PruneOptions { normalise, ..options(0.5) }, &Evidence::default()).unwrap();
        assert_eq!([0, 1].map(|layer| plan.layers[layer].kept.clone()), wanted, "{normalise:?}");
    }
}

#[test]
fn a_layer_keeps_its_floor_by_its_best_filters() {
    let network = net(&(conv(4, 1, "") + &conv(4, 1, "")), &[(0, &[0.1, 0.2, 0.4, 0.3]), (1, &[5.0; 4])]);
    for (min_keep, wanted) in [(0.0, vec![2]), (0.5, vec![2, 3]), (0.8, vec![1, 2, 3])] {
        let plan = plan(&network, &PruneOptions { min_keep, ..options(0.5) }, &Evidence::default()).unwrap();
        assert_eq!(plan.layers[0].kept, wanted, "{min_keep}");
        assert_eq!(plan.layers[0].stays[&Reason::Floor], wanted, "{min_keep}");
    }
}

#[test]
fn the_parts_of_a_grouped_route_stay_equally_wide() {
    let layers = conv(6, 1, "") + "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" + &conv(4, 1, "");
    let network = net(&layers, &[(0, &[0.1, 0.2, 0.3, 0.9, 0.8, 0.15]), (2, &[5.0; 4])]);
    let plan = plan(&network, &options(0.4), &Evidence::default()).unwrap();
    // 0.1, 0.15, 0.2 and 0.3 are low; the first half gets back as many as the second keeps.
    assert_eq!(plan.layers[0].kept, [1, 2, 3, 4]);
    assert_eq!(plan.layers[0].stays[&Reason::Balance], [1, 2]);
    assert_eq!(proven(&network, &plan).graph.layers[1].shape.channels, 2);
}

#[test]
fn the_groups_of_a_convolution_stay_equally_wide_on_both_sides() {
    let layers = conv(8, 1, "") + &conv(4, 3, "groups=2\n");
    let network = net(&layers, &[(0, &[0.1, 0.2, 0.9, 0.9, 0.9, 0.9, 0.9, 0.3]), (1, &[0.9, 0.9, 0.15, 0.8])]);
    let plan = plan(&network, &options(0.34), &Evidence::default()).unwrap();
    // Low: 0.1, 0.2, 0.3 of the first layer and 0.15 of the second.
    assert_eq!(plan.layers[0].kept, [1, 2, 3, 4, 5, 6]);
    assert_eq!(plan.layers[1].kept, [0, 1, 2, 3]);
    assert_eq!(plan.layers[1].stays[&Reason::Balance], [2]);
    proven(&network, &plan);
}

#[test]
fn a_depthwise_convolution_follows_its_input_and_counts_for_the_union() {
    let layers = conv(4, 1, "") + &conv(4, 3, "groups=4\n") + &conv(4, 1, "");
    let network = net(&layers, &[(0, &[0.1, 0.2, 0.1, 0.9]), (1, &[0.1, 0.1, 0.7, 0.9]), (2, &[5.0; 4])]);
    let plan = plan(&network, &options(0.25), &Evidence::default()).unwrap();
    assert_eq!((&plan.layers[0].kept, &plan.layers[1].kept), (&vec![2, 3], &vec![2, 3]));
    let compact = proven(&network, &plan);
    let text = compact.cfg.to_string();
    assert!(text.contains("groups=2") && !text.contains("groups=4"), "{text}");
}

#[test]
fn one_carrier_serves_all_padded_readers_and_only_where_constants_show() {
    // Layer 0 is read by two padded convolutions (through a pool and a route); the last one reads without padding.
    let layers = conv(6, 1, "")
        + &conv(3, 3, "")
        + "[route]\nlayers=0\n[maxpool]\nsize=3\nstride=1\n"
        + &conv(3, 3, "")
        + "[route]\nlayers=-1,1\n";
    let mut network = net(&layers, &[(0, &[0.1, 0.2, 0.3, 0.15, 5.0, 5.0]), (1, &[5.0; 3]), (4, &[5.0; 3])]);
    let without = plan(&network, &options(0.34), &Evidence::default()).unwrap();
    assert_eq!((without.layers[0].kept.as_slice(), without.layers[0].carriers.len()), (&[4, 5][..], 0));
    network.conv_mut(0).bias.fill(0.7);
    let with = plan(&network, &options(0.34), &Evidence::default()).unwrap();
    // The one that is worth least gives itself up.
    assert_eq!((with.layers[0].kept.as_slice(), with.layers[0].carriers.as_slice()), (&[0, 4, 5][..], &[0][..]));
    proven(&network, &with);
    // What one channel leaves behind needs no carrier: the channel itself can stay for the same price.
    let one = plan(&network, &options(0.1), &Evidence::default()).unwrap();
    assert_eq!((one.layers[0].kept.len(), one.layers[0].carriers.len()), (6, 0));
    assert_eq!(one.layers[0].stays[&Reason::CarriesConstants], [0]);
}

/// Four blocks of forms that occur in trained nets, around a stage of width 4.
pub(super) fn residual_net() -> Network {
    let layers = [
        conv(4, 3, ""),                                                                // 0
        conv(2, 1, "") + &conv(4, 3, "") + "[shortcut]\nfrom=-3\nactivation=linear\n", // 1 2 3
        conv(4, 1, "")
            + &conv(4, 3, "groups=4\n")
            + &conv(4, 1, "")
            + "[dropout]\n[shortcut]\nfrom=-5\nactivation=linear\n", // 4 .. 8
        conv(2, 1, "") + &conv(4, 3, "") + "[shortcut]\nfrom=8\nactivation=leaky\n",   // 9 10 11
        conv(2, 1, "") + &conv(4, 3, "") + "[shortcut]\nfrom=-3\nactivation=linear\n", // 12 13 14
        "[route]\nlayers=3,13\n".to_owned(),                                           // 15
    ];
    net(&layers.concat(), &[(2, &[0.5; 4]), (6, &[0.2; 4]), (10, &[0.1; 4]), (13, &[0.1; 4])])
}

#[test]
fn residual_blocks_of_any_form_go_by_their_score_and_references_are_mended() {
    let mut network = residual_net();
    super::random_net::randomise(&mut network, &mut rand::SeedableRng::seed_from_u64(1));
    for (layer, gamma) in [(2, 0.5), (6, 0.2), (10, 0.1), (13, 0.1)] {
        network.conv_mut(layer).norm.as_mut().unwrap().gamma.fill(gamma);
    }
    let plan = plan(&network, &PruneOptions { layers: 1, ..options(0.0) }, &Evidence::default()).unwrap();
    let verdicts: Vec<_> = plan.blocks.iter().map(|b| (b.shortcut, b.stays)).collect();
    let wanted = [
        (3, Some(WhyNot::NotAmongLowest)),
        (8, None),
        (11, Some(WhyNot::Activation)),
        (14, Some(WhyNot::ReadElsewhere)),
    ];
    assert_eq!(verdicts, wanted);
    assert_eq!(plan.blocks[1].layers, [4, 5, 6, 7, 8]);
    let compact = proven(&network, &plan);
    assert_eq!(compact.cfg.layers().len(), network.cfg.layers().len() - 5);
    assert_eq!(compact.cfg.layers()[6].get("from"), Some("3"));
    assert_eq!(compact.cfg.layers()[10].get("layers"), Some("3,8"));
    assert_eq!(compact.cfg.layers()[9].get("from"), Some("-3"));
    let both = super::super::plan(&network, &PruneOptions { layers: 2, ..options(0.5) }, &Evidence::default()).unwrap();
    let compact = proven(&network, &both);
    assert_eq!(compact.cfg.layers()[7].get("layers"), Some("0,5"));
    let message =
        super::super::plan(&network, &PruneOptions { layers: 3, ..options(0.0) }, &Evidence::default()).unwrap_err();
    assert_eq!(message.to_string(), "layers: 3 residual blocks should go, but only 2 can; ask for 2 or fewer");
}

#[test]
fn means_or_what_else_was_asked_for_take_the_place_of_removed_channels() {
    let mut network = net(&(conv(4, 1, "") + &conv(4, 1, "")), &[(0, &[0.1, 5.0, 5.0, 5.0]), (1, &[5.0; 4])]);
    network.conv_mut(0).bias[0] = 0.5;
    let means = BTreeMap::from([(0, vec![0.75, 0.0, 0.0, 0.0])]);
    let evidence = Evidence { means: Some(means), ..Evidence::default() };
    for (left_behind, beta) in [(LeftBehind::Means, 0.75), (LeftBehind::Beta, 0.5), (LeftBehind::Nothing, 0.0)] {
        let plan = plan(&network, &PruneOptions { left_behind, ..options(0.13) }, &evidence).unwrap();
        let masked = apply(&network, &plan).unwrap().masked;
        assert!((masked.conv(0).bias[0] - beta).abs() < 1e-6, "{left_behind:?}");
        assert_eq!(masked.conv(0).norm.as_ref().unwrap().gamma, [0.0, 5.0, 5.0, 5.0]);
        proven(&network, &plan);
    }
    let borders = Some(BTreeMap::from([(0, vec![0.25, 0.0, 0.0, 0.0])]));
    let deviations = Some(BTreeMap::from([(0, vec![0.25, 0.0, 0.0, 0.0])]));
    let told = plan(&network, &options(0.13), &Evidence { borders, deviations, ..evidence }).unwrap();
    assert_eq!((told.layers[0].border_gap, told.layers[1].border_gap, told.border_gap()), (Some(2.0), None, Some(2.0)));
    assert!(told.to_string().contains("2.00 deviations from its mean at the border"), "{told}");
    let wrong = Evidence { means: Some(BTreeMap::from([(0, vec![0.75])])), ..Evidence::default() };
    let message = super::super::plan(&network, &options(0.13), &wrong).unwrap_err().to_string();
    assert!(message.contains("means of layer #0: 1 numbers for 4 filters"), "{message}");
}

#[test]
fn the_table_has_every_layer_and_what_is_won() {
    let plan = plan(&residual_net(), &PruneOptions { layers: 1, ..options(0.3) }, &Evidence::default()).unwrap();
    let text = plan.to_string();
    assert!(
        text.contains("goes with its residual block") && text.contains("residual blocks that go: 1 of 4"),
        "{text}"
    );
    assert!(text.contains("6 feed a head") && text.contains("BFLOPs"), "{text}");
    assert_eq!(text.lines().take_while(|l| !l.is_empty()).count(), 1 + plan.layers.len());
}

#[test]
fn a_score_that_goes_by_data_is_refused_without() {
    let cases = [
        (Criterion::Taylor, "gradients"),
        (Criterion::TaylorMean, "gradients"),
        (Criterion::Deviation, "activations"),
        (Criterion::Sensitivity, "the accuracy that groups cost"),
    ];
    for (score, wanted) in cases {
        let options = PruneOptions { score, ..options(0.5) };
        let message = plan(&wide_net(), &options, &Evidence::default()).unwrap_err().to_string();
        assert!(message.starts_with(&format!("score {}: goes by {wanted}", score.name())), "{message}");
    }
}

#[test]
fn a_score_chooses_by_what_it_was_given() {
    let network = net(&(conv(4, 1, "") + &conv(4, 1, "")), &[(0, &[0.1, 0.2, 0.3, 0.4]), (1, &[5.0; 4])]);
    let measured = BTreeMap::from([(0, vec![4.0, 1.0, 3.0, 2.0]), (1, vec![9.0; 4]), (2, vec![9.0; 6])]);
    let to_means = BTreeMap::from([(0, vec![1.0, 4.0, 3.0, 2.0]), (1, vec![9.0; 4]), (2, vec![9.0; 6])]);
    let (deviations, taylor) = (Some(measured.clone()), Some(measured));
    let evidence = Evidence { deviations, taylor, taylor_mean: Some(to_means), ..Evidence::default() };
    // Deviation weighs by gamma: 0.4, 0.2, 0.9, 0.8.
    let cases: [(Criterion, &[usize]); 4] = [
        (Criterion::Gamma, &[2, 3]),
        (Criterion::Taylor, &[0, 2]),
        (Criterion::TaylorMean, &[1, 2]),
        (Criterion::Deviation, &[2, 3]),
    ];
    for (score, wanted) in cases {
        let plan = plan(&network, &PruneOptions { score, ..options(0.25) }, &evidence).unwrap();
        assert_eq!(plan.layers[0].kept, wanted, "{score:?}");
        proven(&network, &plan);
    }
}
