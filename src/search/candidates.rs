//! Many plans under one budget, of which the best by measured accuracy wins (after EagleEye, Li et al. 2020).

use std::collections::BTreeMap;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use yoloslim_core::prune::{self, Criterion, Evidence, Normalise, PruneOptions, PrunePlan};
use yoloslim_core::{Network, Result};

/// How far random factors of layers spread: a factor is `e^x` with x up to this on both sides of 0.
const SPREAD: f32 = 1.0;

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
/// one that `options` alone give, then come the other scores that the evidence allows, then the scores of `options` with
/// random factors for the layers, the same for the same `seed`. `progress` is told how many are done.
///
/// # Errors
/// A target out of reach; whatever the judge fails on.
pub fn search(
    network: &Network,
    options: &PruneOptions,
    evidence: &Evidence,
    (count, seed): (usize, u64),
    judge: &mut dyn FnMut(&Network) -> Result<f64>,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::with_capacity(count);
    for (name, options, evidence) in variants(network, options, evidence, seed).take(count.max(1)) {
        let plan = prune::plan(network, &options, &evidence)?;
        let accuracy = judge(&prune::apply(network, &plan)?.compact)?;
        candidates.push(Candidate { name, plan, accuracy });
        progress(candidates.len());
    }
    // Stable: of equals the earlier one, which is the simpler, wins.
    candidates.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy));
    Ok(candidates)
}

/// What is tried, without end.
fn variants<'a>(
    network: &'a Network,
    options: &'a PruneOptions,
    evidence: &'a Evidence,
    seed: u64,
) -> impl Iterator<Item = (String, PruneOptions, Evidence)> + 'a {
    let asked = std::iter::once(("as asked".to_owned(), options.clone(), evidence.clone()));
    let scores = Criterion::ALL.into_iter().flat_map(|score| [Normalise::None, Normalise::Layer].map(|n| (score, n)));
    let others = scores.filter(move |(score, normalise)| {
        let same = (*score, *normalise) == (options.score, options.normalise.unwrap_or(options.score.normalise()));
        !same && score.check(evidence).is_ok()
    });
    let others = others.map(move |(score, normalise)| {
        let name = format!("score {}, normalised {}", score.name(), normalise.name());
        (name, PruneOptions { score, normalise: Some(normalise), ..options.clone() }, evidence.clone())
    });
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let random = (1..).map(move |draw| {
        let factor = |(layer, _): (usize, _)| {
            let drawn = rng.random_range(-SPREAD..SPREAD).exp();
            (layer, drawn * evidence.factors.as_ref().and_then(|f| f.get(&layer)).copied().unwrap_or(1.0))
        };
        let factors: BTreeMap<usize, f32> = network.graph.convolutions().map(factor).collect();
        (
            format!("random layer factors, draw {draw}"),
            options.clone(),
            Evidence { factors: Some(factors), ..evidence.clone() },
        )
    });
    asked.chain(others).chain(random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::cost;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::prune::Target;

    const CFG: &str = "[net]\nwidth=16\nheight=16\n\
        [convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\npad=1\nactivation=leaky\n\
        [convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n";

    #[test]
    fn the_plan_that_the_judge_likes_best_wins_and_all_keep_the_budget() {
        let network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        let options = PruneOptions { target: Target::Flops(0.5), ..PruneOptions::default() };
        let most = 0.5 * cost::flops(&network.graph);
        let mut judge = |slim: &Network| {
            assert!(cost::flops(&slim.graph) <= most);
            // Likes a wide first layer.
            Ok(slim.conv(0).bias.len() as f64)
        };
        let mut run = || search(&network, &options, &Evidence::default(), (30, 7), &mut judge, &mut |_| {}).unwrap();
        let candidates = run();
        assert_eq!(candidates.len(), 30);
        assert!(candidates.windows(2).all(|pair| pair[0].accuracy >= pair[1].accuracy));
        let asked = candidates.iter().find(|c| c.name == "as asked").unwrap();
        assert!(candidates[0].accuracy > asked.accuracy, "some draw keeps more of the first layer");
        let again: Vec<_> = run().into_iter().map(|c| (c.name, c.accuracy)).collect();
        assert_eq!(again, candidates.into_iter().map(|c| (c.name, c.accuracy)).collect::<Vec<_>>());
    }
}
