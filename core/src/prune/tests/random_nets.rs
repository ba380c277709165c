//! What holds for every net.

use proptest::prelude::*;

use super::random_net::{random_image, random_net, some_evidence};
use crate::prune::{
    Cost, Criterion, Evidence, Groups, Join, PROOF_TOLERANCE, PruneOptions, PrunePlan, Target, apply, blocks,
    max_relative_difference, plan,
};
use crate::{Network, reference};

fn options() -> impl Strategy<Value = PruneOptions> {
    let groups = prop::sample::select(vec![Groups::Together, Groups::Frozen]);
    let join = prop::sample::select(vec![Join::Max, Join::Mean, Join::Sum, Join::Leader]);
    let score = prop::sample::select(Criterion::ALL.to_vec());
    let targets = [Target::Channels, Target::Flops, Target::Params];
    let target = (prop::sample::select(targets.to_vec()), 0.0..0.99f64).prop_map(|(target, share)| target(share));
    let numbers = (target, 0.0..0.5f64, 1..4usize);
    (groups, join, score, numbers).prop_map(|(groups, join, score, (target, min_keep, multiple_of))| PruneOptions {
        groups,
        join,
        score,
        target,
        min_keep,
        multiple_of,
        ..PruneOptions::default()
    })
}

fn removable_blocks(network: &Network) -> usize {
    let all = blocks::blocks(network, None);
    blocks::choose(&all, all.len()).iter().filter(|v| v.is_none()).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_compact_net_is_the_masked_net(seed in any::<u64>(), steps in 1..16usize, mut options in options(), measured in any::<bool>(), layers in 0..3usize) {
        let network = random_net(seed, steps);
        options.layers = layers.min(removable_blocks(&network));
        let mut evidence = some_evidence(&network);
        evidence.means = evidence.means.filter(|_| measured);
        let plan = match plan(&network, &options, &evidence) {
            Ok(plan) => plan,
            Err(error) => {
                // A net that can't get so narrow, or of which no channel that may go has a gamma.
                let known = error.to_string().starts_with("score") || !matches!(options.target, Target::Channels(_));
                prop_assert!(known, "{error}");
                return Ok(());
            }
        };
        let pruned = apply(&network, &plan).unwrap();
        let image = random_image(&network, seed);
        let (masked, compact) = (reference::run(&pruned.masked, &image), reference::run(&pruned.compact, &image));
        let difference = max_relative_difference(&masked, &compact);
        prop_assert!(difference <= PROOF_TOLERANCE, "{difference} with {plan}\n{}\n{}", network.cfg, pruned.compact.cfg);
        prop_assert_eq!(plan.after, Cost::of(&pruned.compact.graph));
        let json = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(apply(&network, &serde_json::from_str::<PrunePlan>(&json).unwrap()).unwrap(), pruned);
    }

    #[test]
    fn several_budgets_hold_at_once(seed in any::<u64>(), steps in 1..12usize, flops in 0.0..0.7f64, params in 0.0..0.7f64, ease in 0.1..1.0f64) {
        let network = random_net(seed, steps);
        let whole = PruneOptions { min_keep: 0.0, profile: Some("hi3519a".into()), ..PruneOptions::default() };
        let profile = whole.latency_profile().unwrap();
        let ms = profile.milliseconds(&network.graph) * (1.0 - 0.2 * ease);
        let targets = [Target::Flops(flops), Target::Params(params), Target::Latency(ms)];
        let several = PruneOptions { target: targets[0], also: targets[1..].to_vec(), ..whole.clone() };
        let alone = |target| plan(&network, &PruneOptions { target, ..whole.clone() }, &Evidence::default());
        let Ok(plan) = plan(&network, &several, &Evidence::default()) else {
            // Then one of them can't be met by itself either.
            prop_assert!(targets.into_iter().any(|target| alone(target).is_err()));
            return Ok(());
        };
        let slim = apply(&network, &plan).unwrap().compact;
        prop_assert!(crate::cost::flops(&slim.graph) <= (1.0 - flops) * crate::cost::flops(&network.graph));
        let parameters = |graph| crate::cost::parameters(graph) as f64;
        prop_assert!(parameters(&slim.graph) <= (1.0 - params) * parameters(&network.graph));
        prop_assert!(profile.milliseconds(&slim.graph) <= ms);
        prop_assert_eq!(plan.budgets.len(), 3);
        prop_assert!(plan.budgets.iter().all(|spent| spent.after <= spent.at_most));
    }

    #[test]
    fn channels_whose_gamma_is_zero_change_nothing_when_they_go(seed in any::<u64>(), steps in 1..16usize) {
        let network = random_net(seed, steps);
        let mut options = PruneOptions { min_keep: 0.0, ..PruneOptions::default() };
        // The largest share that takes classes of score zero only.
        let channels = super::super::channels::Channels::of(&network.graph);
        let scores = super::super::scores::Scores::of(&network, &channels, &options, &Evidence::default());
        let zeros = scores.candidates.iter().filter(|c| c.score == 0.0).count();
        options.target = Target::Channels(zeros as f64 / (scores.candidates.len() as f64 + 1e-6).max(1.0));
        let plan = plan(&network, &options, &Evidence::default()).unwrap();
        prop_assert_eq!(plan.threshold, 0.0);
        let pruned = apply(&network, &plan).unwrap();
        let image = random_image(&network, seed);
        let (before, after) = (reference::run(&network, &image), reference::run(&pruned.compact, &image));
        let difference = max_relative_difference(&before, &after);
        prop_assert!(difference <= PROOF_TOLERANCE, "{difference} with {plan}\n{}", network.cfg);
    }
}
