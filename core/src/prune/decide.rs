//! Making a plan: blocks first, then channels on what they leave, then what stays and why.

use std::collections::BTreeMap;

use super::apply::without_blocks;
use super::blocks::{self, Block, Form};
use super::carriers::Readers;
use super::channels::Channels;
use super::constants::left_behind;
use super::limits::{Fate, Limits};
use super::per_cost::Costs;
use super::plan::fingerprint;
use super::scores::{Normalise, Scores, gamma};
use super::select::{Budget, Selection};
use super::widths::slim_graph;
use super::{BlockPlan, Cost, Evidence, LayerPlan, LeftBehind, Means, PruneOptions, PrunePlan, Reason, Target, WhyNot};
use crate::graph::Graph;
use crate::{Error, Network, Result, cost};

/// Decides what goes. A removed filter is replaced by what the options say that it leaves behind: its mean activation
/// where the `evidence` has means, say.
///
/// ```
/// use yoloslim_core::Network;
/// use yoloslim_core::darknet::Cfg;
/// use yoloslim_core::prune::{self, Evidence, PruneOptions, Target};
///
/// let layer = "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\npad=1\nactivation=leaky\n";
/// let cfg = format!("[net]\nwidth=32\nheight=32\n{layer}{layer}[convolutional]\nfilters=7\nactivation=linear\n");
/// let mut network = Network::initialise(Cfg::parse(cfg.as_bytes())?, 1)?;
/// // Four filters of the first layer give next to nothing.
/// network.conv_mut(0).norm.as_mut().unwrap().gamma[..4].fill(1e-4);
///
/// let options = PruneOptions { target: Target::Channels(0.125), ..PruneOptions::default() };
/// let plan = prune::plan(&network, &options, &Evidence::default())?;
/// assert_eq!(plan.layers[0].removed().collect::<Vec<_>>(), [0, 1, 2, 3]);
/// println!("{plan}");
/// # Ok::<(), yoloslim_core::Error>(())
/// ```
///
/// # Errors
/// Options out of range, or a profile that can't be read; a target that can't be met, naming the nearest that can; evidence that does not fit the net
/// or is not there though the score goes by it.
pub fn plan(network: &Network, options: &PruneOptions, evidence: &Evidence) -> Result<PrunePlan> {
    options.check()?;
    with_budgets(network, options, |budgets| decide(network, options, evidence, budgets))?
}

/// What `make` makes of the budgets that the options' targets are on `network`.
///
/// # Errors
/// A profile that can't be read.
pub(super) fn with_budgets<R>(
    network: &Network,
    options: &PruneOptions,
    make: impl FnOnce(&[Budget]) -> R,
) -> Result<R> {
    let profile = if options.has_latency() { Some(options.latency_profile()?) } else { None };
    let milliseconds = |graph: &Graph| profile.as_ref().map_or(0.0, |profile| profile.milliseconds(graph));
    let parameters = |graph: &Graph| cost::parameters(graph) as f64;
    let budget = |target: Target| {
        let (cost, unit): (&dyn Fn(&Graph) -> f64, _) = match target {
            Target::Channels(_) => return None,
            Target::Flops(_) => (&cost::flops, "FLOPs"),
            Target::Params(_) => (&parameters, "parameters"),
            Target::Latency(_) => (&milliseconds, "ms"),
        };
        let share_of = match target {
            Target::Latency(_) => None,
            _ => Some((target.value(), cost(&network.graph))),
        };
        let at_most = share_of.map_or(target.value(), |(share, whole)| whole * (1.0 - share));
        Some(Budget { cost, at_most, unit, option: target.name(), share_of })
    };
    Ok(make(&options.targets().filter_map(budget).collect::<Vec<_>>()))
}

/// Decides what goes to keep within budgets of any kind, milliseconds on some device, say: as [`plan`], with `budgets` in
/// place of the options' targets.
///
/// # Errors
/// As [`plan`].
pub fn plan_within(
    network: &Network,
    options: &PruneOptions,
    evidence: &Evidence,
    budgets: &[Budget],
) -> Result<PrunePlan> {
    options.check()?;
    decide(network, options, evidence, budgets)
}

fn decide(network: &Network, options: &PruneOptions, evidence: &Evidence, budgets: &[Budget]) -> Result<PrunePlan> {
    evidence.check(network)?;
    options.score.check(evidence)?;
    if options.normalise() == Normalise::Cost && budgets.is_empty() {
        return Err(Error::at("normalise cost", "a share of the channels is no budget, so channels have no cost")
            .fix("give --target-flops, --target-params or --target-latency, or another --normalise"));
    }
    let blocks = blocks::blocks(network, evidence.blocks.as_ref());
    let verdicts = blocks::choose(&blocks, options.layers);
    let forms = chosen(&blocks, &verdicts, options.layers)?;
    let (shallow, layers) = without_blocks(network, &forms)?;
    let means = options.left_behind.constants(network, evidence.means.as_ref());
    let shallow_evidence = Evidence { means: means.clone(), ..evidence.clone() }.of_layers(&layers);
    let channels = Channels::of(&shallow.graph);
    let scores = Scores::of(&shallow, &channels, options, &shallow_evidence);
    require_scores(&shallow.graph, &scores, options, budgets)?;
    let constants = left_behind(&shallow, shallow_evidence.means.as_ref());
    let readers = Readers::of(&shallow, &channels, &constants);
    let choose = |scores: &Scores| {
        let steps = (options.multiple_of > 1).then(|| scores.in_steps(&channels, options.multiple_of));
        let scores = steps.as_ref().unwrap_or(scores);
        let limits = Limits::of(&shallow.graph, &channels, scores, readers.clone(), options);
        let selection = Selection { graph: &shallow.graph, channels: &channels, scores, limits: &limits };
        match budgets {
            [] => Ok(selection.share(options.target.value())),
            budgets => selection.within(budgets, options),
        }
    };
    let fates = match options.normalise() {
        Normalise::Cost => Costs::of(&shallow.graph, &channels, budgets).least_damage(&scores, choose)?,
        Normalise::None | Normalise::Layer => choose(&scores)?,
    };
    let kept: Vec<bool> = fates.iter().map(|f| f.is_kept()).collect();
    let slim = slim_graph(&shallow.graph, &channels, &kept);
    let gone = |class: usize| matches!(fates[class], Fate::Goes | Fate::Carries);
    let gone_scores = scores.candidates.iter().filter(|c| gone(c.class)).map(|c| f64::from(c.score));
    // What is no mean has no border of its own.
    let nothing = Evidence::default();
    let behind = if options.left_behind == LeftBehind::Means { evidence } else { &nothing };
    Ok(PrunePlan {
        options: options.clone(),
        fingerprint: fingerprint(&network.graph),
        threshold: gone_scores.fold(0.0, f64::max),
        gamma_share: gamma_share(&shallow, &channels, gone),
        prunable: scores.candidates.len(),
        gone: Some(scores.candidates.iter().filter(|c| !kept[c.class]).count()),
        before: Cost::of(&network.graph),
        after: Cost::of(&slim),
        budgets: budgets.iter().map(|budget| budget.spent(&network.graph, &slim)).collect(),
        blocks: blocks.into_iter().zip(verdicts).map(|(block, stays)| block_plan(block, stays)).collect(),
        layers: layer_plans(network, &layers, &channels, &fates, (means.as_ref(), behind)),
    })
}

/// Fails where channels are to go and none has a score though some may go: a score by gammas of a net without any.
fn require_scores(graph: &Graph, scores: &Scores, options: &PruneOptions, budgets: &[Budget]) -> Result<()> {
    let wanted = match budgets {
        [] => options.target.value() > 0.0,
        budgets => budgets.iter().any(|budget| (budget.cost)(graph) > budget.at_most),
    };
    if !wanted || !scores.candidates.is_empty() || !scores.by_class.contains(&Err(Reason::NoScore)) {
        return Ok(());
    }
    let cause = "no channel that may go has such a score: their layers have no batch normalisation";
    Err(Error::at(format!("score {}", options.score.name()), cause)
        .fix("give --score l1, or --score taylor with --data"))
}

fn chosen(blocks: &[Block], verdicts: &[Option<WhyNot>], wanted: usize) -> Result<Vec<Form>> {
    let goes = blocks.iter().zip(verdicts).filter(|(_, why_not)| why_not.is_none());
    let forms: Vec<Form> = goes.filter_map(|(block, _)| block.form.clone().ok()).collect();
    if forms.is_empty() && wanted > 0 {
        return Err(Error::at("layers", format!("{wanted} residual blocks should go, but this net has none that can"))
            .fix("leave --layers out"));
    }
    if forms.len() < wanted {
        return Err(Error::at("layers", format!("{wanted} residual blocks should go, but only {} can", forms.len()))
            .fix(format!("ask for {} or fewer", forms.len())));
    }
    Ok(forms)
}

/// The share of all |gamma|, each counted by its layer's mean, that belongs to classes that go: a layer of small gammas may be as
/// important as any.
fn gamma_share(network: &Network, channels: &Channels, gone: impl Fn(usize) -> bool) -> f64 {
    let (mut all, mut going) = (0.0, 0.0);
    for (layer, _) in network.graph.convolutions() {
        let mut gammas = gamma::scores(network.conv(layer));
        gammas.iter_mut().for_each(|gammas| Normalise::Layer.apply(gammas));
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
    (means, evidence): (Option<&Means>, &Evidence),
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
            border_gap: None,
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
        plan.border_gap = border_gap(&plan, evidence);
        plan
    };
    network.graph.convolutions().map(plan).collect()
}

/// How far the filters that go, of a layer that stays, are from their means at the border, in standard deviations.
fn border_gap(plan: &LayerPlan, evidence: &Evidence) -> Option<f64> {
    let of = |part: &Option<super::PerFilter>| part.as_ref()?.get(&plan.layer).cloned();
    let (means, borders, deviations) = (plan.means.as_ref()?, of(&evidence.borders)?, of(&evidence.deviations)?);
    let gap = |f: usize| f64::from(borders[f] - means[f]) / f64::from(deviations[f]);
    let squares: Vec<f64> = plan.removed().filter(|f| deviations[*f] > 0.0).map(|f| gap(f).powi(2)).collect();
    let counts = !plan.is_removed() && !squares.is_empty();
    counts.then(|| (squares.iter().sum::<f64>() / squares.len() as f64).sqrt())
}
