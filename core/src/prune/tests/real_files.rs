//! The files that people prune. They are looked for in `$YOLOSLIM_SHARED`, else beside the repository.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::random_net::{random_image, randomise};
use crate::darknet::{Cfg, WeightsFile};
use crate::graph::Graph;
use crate::prune::channels::Channels;
use crate::prune::{
    Cost, Criterion, Evidence, Groups, Join, PROOF_TOLERANCE, PruneOptions, Target, apply, max_relative_difference,
    plan,
};
use crate::shared_files::shared;
use crate::{Network, files, reference};

/// The net at 32 by 32 pixels, where the oracle takes seconds.
fn small(mut network: Network) -> Network {
    network.cfg.net_mut().set("width", 32);
    network.cfg.net_mut().set("height", 32);
    network.graph = Graph::from_cfg(&network.cfg).unwrap();
    network
}

/// The net of a cfg, with random statistics.
fn drawn(name: &str) -> Option<Network> {
    let mut network = small(Network::random(&shared(name)?, 1).unwrap());
    randomise(&mut network, &mut ChaCha8Rng::seed_from_u64(1));
    Some(network)
}

fn trained(name: &str) -> Option<Network> {
    let (cfg, weights) = (shared(&format!("{name}.cfg"))?, shared(&format!("{name}.weights"))?);
    Some(small(Network::read(&cfg, &weights).unwrap()))
}

/// Prunes, proves, and checks that the files say what was pruned.
fn prune(name: &str, network: &Network, options: &PruneOptions) {
    let plan = plan(network, options, &Evidence::default()).unwrap();
    let pruned = apply(network, &plan).unwrap();
    assert_eq!(plan.after, Cost::of(&pruned.compact.graph), "{name}");
    let gone = 1.0 - plan.after.flops / plan.before.flops;
    let wanted = options.target.value();
    assert!((wanted..wanted + 0.01).contains(&gone), "{name}: {gone} of the FLOPs are gone, not {wanted}");
    let image = random_image(network, 7);
    let (masked, compact) = (reference::run(&pruned.masked, &image), reference::run(&pruned.compact, &image));
    let difference = max_relative_difference(&masked, &compact);
    assert!(difference <= PROOF_TOLERANCE, "{name}: {difference}");
    let cfg = Cfg::parse(&pruned.compact.cfg.to_bytes()).unwrap();
    let graph = Graph::from_cfg(&cfg).unwrap();
    let file = WeightsFile::parse(&pruned.compact.to_weights_file().to_bytes()).unwrap();
    assert_eq!(Network::from_parts(cfg, graph, &file).unwrap().weights, pruned.compact.weights, "{name}");
}

#[test]
fn nets_in_use_lose_most_of_their_operations() {
    let nets = [
        ("cfg/yolov3.cfg", 2),
        ("cfg/yolov3-spp.cfg", 2),
        ("cfg/slimyolov3-spp3-90.cfg", 1),
        ("cfg/yolov4.cfg", 3),
        ("cfg/yolov4-tiny.cfg", 0),
        ("cfg/yolov3-tiny.cfg", 0),
    ];
    for (name, layers) in nets {
        let Some(network) = drawn(name) else { continue };
        let options = PruneOptions { target: Target::Flops(0.7), layers, min_keep: 0.02, ..PruneOptions::default() };
        prune(name, &network, &options);
    }
}

#[test]
fn trained_nets_lose_operations_too() {
    for (name, layers) in [("weights/yolo-fastest-1.1", 2), ("weights/yoloface-50k", 0), ("weights/yolov3-tiny", 0)] {
        let Some(network) = trained(name) else { continue };
        let base = || PruneOptions { target: Target::Flops(0.3), layers, ..PruneOptions::default() };
        for options in [
            base(),
            PruneOptions { join: Join::Leader, ..base() },
            PruneOptions { groups: Groups::Frozen, ..base() },
            PruneOptions { score: Criterion::Median, join: Join::Mean, ..base() },
        ] {
            prune(name, &network, &options);
        }
    }
}

#[test]
fn multiples_of_eight_hold_in_every_layer() {
    let Some(network) = trained("weights/yolov3-tiny") else { return };
    let options = PruneOptions { target: Target::Flops(0.5), multiple_of: 8, ..PruneOptions::default() };
    prune("yolov3-tiny", &network, &options);
    let plan = plan(&network, &options, &Evidence::default()).unwrap();
    assert!(plan.layers.iter().all(|l| l.filters == 255 || l.kept.len() % 8 == 0), "{plan}");
}

/// yolov3 at its own size, random weights, gammas between 0 and 1.
#[test]
fn each_budget_is_met_within_one_percent_of_itself_with_multiples_too() {
    let Some(path) = shared("cfg/yolov3.cfg") else { return };
    let mut network = Network::random(&path, 1).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for norm in network.weights.iter_mut().flatten().filter_map(|w| w.norm.as_mut()) {
        norm.gamma.iter_mut().for_each(|g| *g = rng.random_range(0.0..1.0));
    }
    for multiple_of in [1, 8, 16] {
        for target in [Target::Flops(0.3), Target::Flops(0.9), Target::Params(0.8), Target::Latency(20.0)] {
            let profile = Some("hi3519a".to_owned());
            let options = PruneOptions { target, profile, multiple_of, ..PruneOptions::default() };
            let plan = plan(&network, &options, &Evidence::default()).unwrap();
            let (budget, spent) = match (target, plan.milliseconds()) {
                (Target::Flops(share), _) => (plan.before.flops * (1.0 - share), plan.after.flops),
                (Target::Params(share), _) => (plan.before.params as f64 * (1.0 - share), plan.after.params as f64),
                (Target::Latency(ms), Some(ms_spent)) => (ms, ms_spent.after),
                (target, spent) => panic!("{target:?} {spent:?}"),
            };
            let share = spent / budget;
            assert!((0.99..=1.0).contains(&share), "{target:?} in multiples of {multiple_of}: {share}");
            assert!(plan.layers.iter().all(|l| l.filters == 255 || l.kept.len() % multiple_of == 0));
        }
    }
}

#[test]
fn a_chip_of_the_field_takes_about_as_long_as_the_model_was_said_to_give() {
    let chip = crate::cost::profile::Profile::find("hi3559a").unwrap();
    for (name, wanted) in [("cfg/yolov3.cfg", 61.0), ("cfg/yolov3-tiny.cfg", 6.0)] {
        let Some(path) = shared(name) else { return };
        let graph = Graph::from_cfg(&Cfg::parse(&files::read(&path).unwrap()).unwrap()).unwrap();
        let ms = chip.milliseconds(&graph);
        assert!((ms / wanted - 1.0).abs() < 0.15, "{name}: {ms} ms, not about {wanted}");
    }
}

/// Members and width of each residual group, as the reference counts them.
#[test]
fn residual_groups_are_those_of_the_literature() {
    let yolov3 = vec![(2, 64), (3, 128), (9, 256), (9, 512), (5, 1024)];
    let yolov4 = vec![(2, 64), (3, 64), (9, 128), (9, 256), (5, 512)];
    let nets = [
        ("cfg/yolov3.cfg", yolov3.clone()),
        ("cfg/yolov3-spp.cfg", yolov3),
        ("cfg/yolov3-tiny.cfg", Vec::new()),
        ("cfg/yolov4.cfg", yolov4),
        ("cfg/yolov4-tiny.cfg", Vec::new()),
    ];
    for (name, wanted) in nets {
        let Some(path) = shared(name) else { continue };
        let cfg = Cfg::parse(&files::read(&path).unwrap()).unwrap();
        let graph = Graph::from_cfg(&cfg).unwrap();
        let groups = Channels::of(&graph).residual_groups();
        let found: Vec<_> = groups.iter().map(|g| (g.members.len(), g.width)).collect();
        assert_eq!(found, wanted, "{name}");
    }
}
