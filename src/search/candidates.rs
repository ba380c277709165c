//! Many plans under one budget, of which the best by measured accuracy wins (after EagleEye, Li et al. 2020). EagleEye draws
//! each plan anew; here a draw starts from the best so far, which of as many plans finds a far better one.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use yoloslim_core::prune::{self, Criterion, Evidence, Normalise, PruneOptions, PrunePlan, Target};
use yoloslim_core::{Network, Result};

/// Variants that are looked at for each plan that is wanted: some give a plan that is there already, or none.
const DRAWS: usize = 8;

/// How far random factors of layers spread: a factor is `e^x` with x up to this on both sides of 0.
const SPREAD: f32 = 1.0;

/// The share of layers whose factor a draw changes.
const TOUCHED: f64 = 0.25;

/// One plan and what it is worth.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// How it came about, in a few words.
    pub name: String,
    /// What goes.
    pub plan: PrunePlan,
    /// As the judge measured it.
    pub accuracy: f64,
}

/// Makes `count` plans for the target of `options` and judges each slim net; the best comes first. The first plan is the
/// one that `options` alone give, then come the other scores that the evidence allows, then the best so far with random
/// factors for a few layers, the same for the same `seed`. A variant that can't meet the target, or that takes just
/// what another takes, is passed over, so there may be fewer. `progress` is told how many are done.
///
/// # Errors
/// A target that is out of reach for what was asked for; whatever the judge fails on.
pub fn search(
    network: &Network,
    options: &PruneOptions,
    evidence: &Evidence,
    (count, seed): (usize, u64),
    judge: &mut dyn FnMut(&Network) -> Result<f64>,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Candidate>> {
    let count = count.max(1);
    let asked = Variant { name: "as asked".to_owned(), options: options.clone(), evidence: evidence.clone() };
    let mut scores = std::iter::once(asked.clone()).chain(other_scores(options, evidence));
    let (mut rng, mut best) = (ChaCha8Rng::seed_from_u64(seed), asked);
    let mut candidates = Vec::<Candidate>::new();
    for draw in 1..=DRAWS * count {
        if candidates.len() == count {
            break;
        }
        let variant = scores.next().unwrap_or_else(|| best.near(network, draw, &mut rng));
        let plan = match prune::plan(network, &variant.options, &variant.evidence) {
            Err(_) if !candidates.is_empty() => continue,
            plan => plan?,
        };
        if candidates.iter().any(|other| takes(&other.plan).eq(takes(&plan))) {
            continue;
        }
        let accuracy = judge(&prune::apply(network, &plan)?.compact)?;
        if candidates.iter().all(|other| other.accuracy < accuracy) {
            best = variant.clone();
        }
        candidates.push(Candidate { name: variant.name, plan, accuracy });
        progress(candidates.len());
    }
    // Stable: of equals the earlier one, which is the simpler, wins.
    candidates.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy));
    Ok(candidates)
}

/// What a plan keeps and turns into constants, layer by layer.
fn takes(plan: &PrunePlan) -> impl Iterator<Item = (&[usize], &[usize])> {
    plan.layers.iter().map(|layer| (layer.kept.as_slice(), layer.carriers.as_slice()))
}

/// What a plan is made from.
#[derive(Clone)]
struct Variant {
    name: String,
    options: PruneOptions,
    evidence: Evidence,
}

impl Variant {
    /// The same with other factors for a few layers: all at once would leave nothing of what made it the best.
    fn near(&self, network: &Network, draw: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut factors = self.evidence.factors.clone().unwrap_or_default();
        for (layer, _) in network.graph.convolutions() {
            let factor = factors.entry(layer).or_insert(1.0);
            if rng.random_bool(TOUCHED) {
                *factor *= rng.random_range(-SPREAD..SPREAD).exp();
            }
        }
        let evidence = Evidence { factors: Some(factors), ..self.evidence.clone() };
        Self { name: format!("random layer factors, draw {draw}"), evidence, options: self.options.clone() }
    }
}

/// Every score once as it suits it, before any in another way; but for the one that was asked for.
fn other_scores<'a>(options: &'a PruneOptions, evidence: &'a Evidence) -> impl Iterator<Item = Variant> + 'a {
    let suiting = Criterion::ALL.into_iter().map(|score| (score, score.normalise()));
    let every = Criterion::ALL.into_iter().flat_map(|score| Normalise::ALL.map(|normalise| (score, normalise)));
    let scores = suiting.chain(every.filter(|(score, normalise)| *normalise != score.normalise()));
    let others = scores.filter(move |(score, normalise)| {
        let same = (*score, *normalise) == (options.score, options.normalise());
        let possible = *normalise != Normalise::Cost || !matches!(options.target, Target::Channels(_));
        !same && possible && score.check(evidence).is_ok()
    });
    others.map(move |(score, normalise)| {
        let name = format!("score {}, normalised {}", score.name(), normalise.name());
        let options = PruneOptions { score, normalise: Some(normalise), ..options.clone() };
        Variant { name, options, evidence: evidence.clone() }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use yoloslim_core::cost;
    use yoloslim_core::darknet::Cfg;

    const CFG: &str = "[net]\nwidth=16\nheight=16\n\
        [convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\npad=1\nactivation=leaky\n\
        [convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n";

    #[test]
    fn the_plan_that_the_judge_likes_best_wins_and_all_keep_the_budget() {
        let mut network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        for layer in [0, 1] {
            let gamma = &mut network.conv_mut(layer).norm.as_mut().unwrap().gamma;
            gamma.iter_mut().enumerate().for_each(|(i, g)| *g = (i + 1) as f32 / 16.0 + layer as f32 / 99.0);
        }
        let options = PruneOptions { target: Target::Flops(0.5), ..PruneOptions::default() };
        let most = 0.5 * cost::flops(&network.graph);
        let mut judge = |slim: &Network| {
            assert!(cost::flops(&slim.graph) <= most);
            // Likes a wide first layer.
            Ok(slim.conv(0).bias.len() as f64)
        };
        let mut run = || search(&network, &options, &Evidence::default(), (30, 7), &mut judge, &mut |_| {}).unwrap();
        let candidates = run();
        assert!((10..=30).contains(&candidates.len()), "{}", candidates.len());
        assert!(candidates.windows(2).all(|pair| pair[0].accuracy >= pair[1].accuracy));
        let asked_or_scores = candidates.iter().filter(|c| c.name == "as asked" || c.name.starts_with("score"));
        assert!(asked_or_scores.map(|c| c.accuracy).fold(0.0, f64::max) < 16.0);
        assert_eq!(candidates[0].accuracy, 16.0, "draws from the best so far come to keep the whole first layer");
        let again: Vec<_> = run().into_iter().map(|c| (c.name, c.accuracy)).collect();
        assert_eq!(again, candidates.into_iter().map(|c| (c.name, c.accuracy)).collect::<Vec<_>>());
    }

    #[test]
    fn no_plan_is_judged_twice_and_a_variant_out_of_reach_is_passed_over() {
        let mut network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        // With constants that show, how narrow a net can get depends on which channels a score takes.
        network.conv_mut(0).bias[12..].fill(1.0);
        let narrow = |factor: f32| {
            let factors = Some(BTreeMap::from([(0, factor), (1, 1.0)]));
            Evidence { factors, ..Evidence::default() }
        };
        let options = PruneOptions { target: Target::Channels(0.1), min_keep: 0.8, ..PruneOptions::default() };
        let found = search(&network, &options, &narrow(1.0), (40, 7), &mut |_| Ok(0.0), &mut |_| {}).unwrap();
        assert_eq!(found[0].name, "as asked", "of equals the first wins");
        for (i, a) in found.iter().enumerate() {
            assert!(found[..i].iter().all(|b| !takes(&b.plan).eq(takes(&a.plan))), "{} is there twice", a.name);
        }
        assert!(found.len() < 40, "there are not so many plans");
        let out_of_reach = PruneOptions { target: Target::Flops(0.99), ..options.clone() };
        assert!(search(&network, &out_of_reach, &narrow(1.0), (4, 7), &mut |_| Ok(0.0), &mut |_| {}).is_err());
        // Between what the net can do as asked and what another variant can.
        let reaches = |options: &PruneOptions| prune::plan(&network, options, &narrow(1.0)).is_ok();
        let between = (1..400).map(|thousandth| {
            let target = Target::Flops(f64::from(thousandth) / 1000.0);
            PruneOptions { target, ..options.clone() }
        });
        let evidence = narrow(1.0);
        let fails = |options: &PruneOptions| {
            let options = options.clone();
            let asked = Variant { name: String::new(), options: options.clone(), evidence: evidence.clone() };
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            let near = (0..40).map(|draw| asked.near(&network, draw, &mut rng)).collect::<Vec<_>>();
            let scores = other_scores(&options, &evidence).chain(near);
            scores.take(40).any(|v| prune::plan(&network, &v.options, &v.evidence).is_err())
        };
        let options = between.clone().find(|options| reaches(options) && fails(options)).expect("there is one");
        let found = search(&network, &options, &evidence, (40, 7), &mut |_| Ok(0.0), &mut |_| {}).unwrap();
        assert!(!found.is_empty() && found[0].name == "as asked");
    }
}
