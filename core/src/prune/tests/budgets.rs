//! Budgets and plans: what they meet, and what they say when they can't.

use super::rules::{conv, net, options, residual_net};
use crate::Network;
use crate::cost;
use crate::darknet::Cfg;
use crate::prune::{Budget, Evidence, PruneOptions, PrunePlan, Reason, Target, apply, plan, plan_within};

/// Four layers of 32 filters with random gammas.
pub(super) fn wide_net() -> Network {
    let layers = (0..4).map(|_| conv(32, 3, "")).collect::<String>();
    let mut network = net(&layers, &[]);
    super::random_net::randomise(&mut network, &mut rand::SeedableRng::seed_from_u64(2));
    network
}

#[test]
fn a_share_of_operations_or_parameters_is_met_within_one_percent() {
    let network = wide_net();
    for multiple_of in [1, 4] {
        for share in [0.1, 0.3, 0.55, 0.8] {
            for target in [Target::Flops(share), Target::Params(share)] {
                let options = PruneOptions { target, multiple_of, ..options(0.0) };
                let plan = plan(&network, &options, &Evidence::default()).unwrap();
                let (before, after) = match target {
                    Target::Flops(_) => (plan.before.flops, plan.after.flops),
                    _ => (plan.before.params as f64, plan.after.params as f64),
                };
                let gone = 1.0 - after / before;
                // Whole multiples of four of 32 filters move the cost in larger steps.
                let step = if multiple_of == 1 { 0.01 } else { 0.06 };
                assert!((share..share + step).contains(&gone), "{target:?} in steps of {multiple_of}: {gone}");
                assert!(plan.layers.iter().all(|l| l.filters == 6 || l.kept.len() % multiple_of == 0));
            }
        }
    }
}

#[test]
fn any_cost_can_be_a_budget() {
    let network = wide_net();
    let filters = |g: &crate::graph::Graph| g.convolutions().map(|(_, c)| c.filters as f64).sum();
    let budget = |at_most| Budget { cost: &filters, at_most, unit: "filters", option: "filters", share_of: None };
    let plan = plan_within(&network, &options(0.0), &Evidence::default(), &[budget(80.0)]).unwrap();
    assert_eq!(filters(&apply(&network, &plan).unwrap().compact.graph), 80.0);
    let message = plan_within(&network, &options(0.0), &Evidence::default(), &[budget(9.0)]).unwrap_err().to_string();
    // A real channel and a carrier in each layer but the last, which no padded layer reads, and the head.
    assert!(
        message.starts_with("filters: 9 filters can't be reached: the narrowest net with groups together, min-keep 0")
    );
    assert!(message.ends_with("ask for 13 filters or more"), "{message}");
}

#[test]
fn a_plan_says_when_it_leaves_a_part_of_its_budget_and_why() {
    let warning = |network: &Network, options: PruneOptions| {
        let plan = plan(network, &options, &Evidence::default()).unwrap();
        plan.warnings().into_iter().find(|warning| warning.contains("unused"))
    };
    let target = Target::Flops(0.3);
    let fine = net(&(conv(512, 1, "") + &conv(512, 1, "")), &[]);
    assert_eq!(warning(&fine, PruneOptions { target, ..options(0.0) }), None);
    let multiples = warning(&wide_net(), PruneOptions { target, multiple_of: 16, ..options(0.0) });
    assert!(multiples.unwrap().contains("no net nearer to --target-flops was found with --multiple-of 16"));
    let blocks = PruneOptions { target: Target::Flops(0.01), layers: 2, ..options(0.0) };
    assert!(warning(&residual_net(), blocks).unwrap().contains("the 2 residual blocks that go take more"));
    let whole = PruneOptions { target: Target::Latency(1e6), profile: Some("hi3519a".into()), ..options(0.0) };
    assert!(warning(&wide_net(), whole).unwrap().contains("as it is"));
}

#[test]
fn a_class_outside_of_what_is_tried_stays_even_when_it_is_zero() {
    let network = net(&(conv(4, 1, "") + &conv(4, 1, "")), &[(0, &[0.1, 0.2, 0.3, 0.4]), (1, &[0.0; 4])]);
    let evidence = Evidence { only: Some([0].into()), ..Evidence::default() };
    let plan = plan(&network, &options(0.5), &evidence).unwrap();
    assert_eq!((plan.prunable, &plan.layers[0].kept, plan.layers[1].kept.len()), (4, &vec![2, 3], 4));
    assert_eq!(plan.layers[1].stays[&Reason::NotTried], [0, 1, 2, 3]);
}

#[test]
fn a_target_out_of_reach_names_the_nearest_and_that_one_can_be_met() {
    let network = wide_net();
    let ask = |share| PruneOptions { target: Target::Flops(share), min_keep: 0.5, ..options(0.0) };
    let message = plan(&network, &ask(0.9), &Evidence::default()).unwrap_err().to_string();
    let nearest: f64 = message.split("ask for ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(message.starts_with("target-flops: at most ") && (0.5..0.8).contains(&nearest), "{message}");
    assert!(plan(&network, &ask(nearest), &Evidence::default()).is_ok());
    assert!(plan(&network, &ask(nearest + 0.002), &Evidence::default()).is_err());
}

#[test]
fn a_budget_counts_the_blocks_that_go() {
    let network = residual_net();
    let target = Target::Flops(0.5);
    let plan = plan(&network, &PruneOptions { layers: 2, target, ..options(0.0) }, &Evidence::default()).unwrap();
    assert!(plan.after.flops <= 0.5 * cost::flops(&network.graph));
}

#[test]
fn a_plan_for_another_net_is_refused() {
    let network = wide_net();
    let plan = plan(&network, &options(0.5), &Evidence::default()).unwrap();
    let other = residual_net();
    assert!(apply(&other, &plan).unwrap_err().to_string().contains("plan: it has 5 convolutions, the net 11"));
    let text = network.cfg.to_string().replacen("size=3", "size=1", 1);
    let other = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
    assert!(apply(&other, &plan).unwrap_err().to_string().contains("another net's"));
    let mut empty = plan.clone();
    empty.layers[1].kept.clear();
    empty.layers[1].carriers.clear();
    assert!(apply(&network, &empty).unwrap_err().to_string().contains("no filter would be left"));
    let mut short = plan.clone();
    short.layers[0].means = Some(vec![0.0; 3]);
    assert!(apply(&network, &short).unwrap_err().to_string().contains("one number a filter"));
    let mut torn = plan;
    torn.layers[4].kept.pop();
    assert!(apply(&network, &torn).unwrap_err().to_string().contains("can't go by itself"));
}

#[test]
fn a_saved_plan_comes_back_and_a_damaged_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    let plan = plan(&wide_net(), &options(0.5), &Evidence::default()).unwrap();
    plan.save(&path).unwrap();
    assert_eq!(PrunePlan::load(&path).unwrap(), plan);
    std::fs::write(&path, "{\"options\": 3}").unwrap();
    assert!(PrunePlan::load(&path).unwrap_err().to_string().contains("plan.json"));
}

#[test]
fn a_plan_that_takes_much_of_gamma_warns() {
    let network = net(&(conv(4, 1, "") + &conv(4, 1, "")), &[(0, &[0.01, 5.0, 5.0, 3.0]), (1, &[5.0; 4])]);
    assert!(plan(&network, &options(0.13), &Evidence::default()).unwrap().warnings().is_empty());
    let warnings = plan(&network, &options(0.3), &Evidence::default()).unwrap().warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("hold 12 % of all |gamma|"), "{warnings:?}");
}
