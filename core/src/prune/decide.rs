//! Making a plan: blocks first, then channels on what they leave, then what stays and why.

use std::collections::BTreeMap;

use super::apply::without_blocks;
use super::blocks::{self, Block, Form};
use super::carriers::Readers;
use super::channels::Channels;
use super::constants::left_behind;
use super::limits::{Fate, Limits};
use super::plan::fingerprint;
use super::scores::Scores;
use super::scores::gamma;
use super::select::{Budget, Selection};
use super::widths::slim_graph;
use super::{BlockPlan, Cost, Evidence, LayerPlan, Means, PruneOptions, PrunePlan, Target, WhyNot};
use crate::graph::Graph;
use crate::{Error, Network, Result};

/// Decides what goes. A removed filter is replaced by what the options say that it leaves behind: its mean activation
/// where the `evidence` has means, say.
///
/// # Errors
/// Options out of range, or a profile that can't be read; a target that can't be met, naming the nearest that can; evidence that does not fit the net
/// or is not there though the score goes by it.
pub fn plan(network: &Network, options: &PruneOptions, evidence: &Evidence) -> Result<PrunePlan> {
    options.check()?;
    let Target::Latency(at_most) = options.target else { return decide(network, options, evidence, None) };
    let profile = options.latency_profile()?;
    let cost = |graph: &Graph| profile.milliseconds(graph);
    let budget = Budget { cost: &cost, at_most, unit: "ms", option: options.target.name() };
    decide(network, options, evidence, Some(&budget))
}

/// Decides what goes to keep within a budget of any kind, milliseconds on some device, say: as [`plan`], with
/// `budget` in place of the options' target.
///
/// # Errors
/// As [`plan`].
pub fn plan_within(
    network: &Network,
    options: &PruneOptions,
    evidence: &Evidence,
    budget: &Budget,
) -> Result<PrunePlan> {
    options.check()?;
    decide(network, options, evidence, Some(budget))
}

fn decide(
    network: &Network,
    options: &PruneOptions,
    evidence: &Evidence,
    budget: Option<&Budget>,
) -> Result<PrunePlan> {
    evidence.check(network)?;
    options.score.check(evidence)?;
    let blocks = blocks::blocks(network, evidence.blocks.as_ref());
    let verdicts = blocks::choose(&blocks, options.layers);
    let forms = chosen(&blocks, &verdicts, options.layers)?;
    let (shallow, layers) = without_blocks(network, &forms)?;
    let means = options.left_behind.constants(network, evidence.means.as_ref());
    let shallow_evidence = Evidence { means: means.clone(), ..evidence.clone() }.of_layers(&layers);
    let channels = Channels::of(&shallow.graph);
    let scores = Scores::of(&shallow, &channels, options, &shallow_evidence);
    let constants = left_behind(&shallow, shallow_evidence.means.as_ref());
    let readers = Readers::of(&shallow, &channels, &constants);
    let limits = Limits::of(&shallow.graph, &channels, &scores, readers, options);
    let selection = Selection { graph: &shallow.graph, channels: &channels, scores: &scores, limits: &limits };
    let fates = match budget {
        Some(budget) => selection.within(budget, options)?,
        None => selection.towards(options, &network.graph)?,
    };
    let kept: Vec<bool> = fates.iter().map(|f| f.is_kept()).collect();
    let slim = slim_graph(&shallow.graph, &channels, &kept);
    let gone = |class: usize| matches!(fates[class], Fate::Goes | Fate::Carries);
    let gone_scores = scores.candidates.iter().filter(|c| gone(c.class)).map(|c| f64::from(c.score));
    Ok(PrunePlan {
        options: options.clone(),
        fingerprint: fingerprint(&network.graph),
        threshold: gone_scores.fold(0.0, f64::max),
        gamma_share: gamma_share(&shallow, &channels, gone),
        prunable: scores.candidates.len(),
        before: Cost::of(&network.graph),
        after: Cost::of(&slim),
        budget: budget.map(|budget| budget.spent(&network.graph, &slim)),
        blocks: blocks.into_iter().zip(verdicts).map(|(block, stays)| block_plan(block, stays)).collect(),
        layers: layer_plans(network, &layers, &channels, &fates, means.as_ref()),
    })
}

fn chosen(blocks: &[Block], verdicts: &[Option<WhyNot>], wanted: usize) -> Result<Vec<Form>> {
    let goes = blocks.iter().zip(verdicts).filter(|(_, why_not)| why_not.is_none());
    let forms: Vec<Form> = goes.filter_map(|(block, _)| block.form.clone().ok()).collect();
    if forms.len() < wanted {
        return Err(Error::at("layers", format!("{wanted} residual blocks should go, but only {} can", forms.len()))
            .fix(format!("ask for {} or fewer", forms.len())));
    }
    Ok(forms)
}

/// The share of all |gamma| that belongs to classes that go.
fn gamma_share(network: &Network, channels: &Channels, gone: impl Fn(usize) -> bool) -> f64 {
    let (mut all, mut going) = (0.0, 0.0);
    for (layer, _) in network.graph.convolutions() {
        let gammas = gamma::scores(network.conv(layer));
        for (gamma, &class) in gammas.iter().flatten().zip(&channels.outputs[layer]) {
            all += f64::from(*gamma);
            going += if gone(class) { f64::from(*gamma) } else { 0.0 };
        }
    }
    if all > 0.0 { going / all } else { 0.0 }
}

fn block_plan(block: Block, stays: Option<WhyNot>) -> BlockPlan {
    let layers = block.form.map_or(Vec::new(), |form| form.layers);
    BlockPlan { shortcut: block.shortcut, layers, score: block.score, stays }
}

/// A plan for each convolution of the net as it is; `layers` are the old indices of those in `channels`.
fn layer_plans(
    network: &Network,
    layers: &[usize],
    channels: &Channels,
    fates: &[Fate],
    means: Option<&Means>,
) -> Vec<LayerPlan> {
    let plan = |(layer, c): (usize, &crate::graph::Convolution)| {
        let mut plan = LayerPlan {
            layer,
            place: network.graph.layers[layer].place.clone(),
            filters: c.filters,
            kept: Vec::new(),
            carriers: Vec::new(),
            stays: BTreeMap::new(),
            means: means.and_then(|m| m.get(&layer)).cloned(),
        };
        let output = layers.binary_search(&layer).map_or(&[][..], |new| &channels.outputs[new]);
        for (filter, &class) in output.iter().enumerate() {
            match fates[class] {
                Fate::Goes => continue,
                Fate::Carries => plan.carriers.push(filter),
                Fate::Stays(reason) => plan.stays.entry(reason).or_default().push(filter),
                Fate::Scores => {}
            }
            plan.kept.push(filter);
        }
        plan
    };
    network.graph.convolutions().map(plan).collect()
}
