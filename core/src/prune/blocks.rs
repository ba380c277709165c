//! Residual blocks: a shortcut and the branch, or branches, that it adds to a trunk. Without them, the shortcut's readers
//! read the trunk. Any branch will do, whatever its length and layers, as long as nothing else reads it, it reads
//! nothing else, and it can be made to add nothing.

use std::collections::BTreeMap;

use super::WhyNot;
use crate::Network;
use crate::graph::{Activation, Graph, Op, Source};

/// A shortcut, seen as a residual block.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The shortcut's layer.
    pub shortcut: usize,
    /// What can go, or why it can't.
    pub form: Result<Form, WhyNot>,
    /// What blocks are ranked by: the measured effect of removing it, or mean |gamma| of the convolutions that end its
    /// branches. None where neither is there: then it stays.
    pub score: Option<f64>,
}

/// A block that can go.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// The layer that the shortcut's readers read instead.
    pub trunk: usize,
    /// Branches and shortcut, ascending.
    pub layers: Vec<usize>,
    /// The convolutions that end the branches; with gamma and beta zero, they add nothing.
    pub convolutions: Vec<usize>,
}

/// All shortcuts of `network`, in layer order; `effects` are what was measured of some, by shortcut layer.
#[must_use]
pub fn blocks(network: &Network, effects: Option<&BTreeMap<usize, f64>>) -> Vec<Block> {
    let graph = &network.graph;
    let consumers = graph.consumers();
    let shortcuts = (0..graph.layers.len()).filter(|i| matches!(graph.layers[*i].op, Op::Shortcut { .. }));
    shortcuts
        .map(|shortcut| {
            let form = form(graph, &consumers, shortcut);
            let measured = effects.and_then(|effects| effects.get(&shortcut)).copied();
            let score = measured.or_else(|| mean_gamma(network, &form.as_ref().ok()?.convolutions));
            Block { shortcut, form, score }
        })
        .collect()
}

/// Mean |gamma| of convolutions; none where one of them has no normalisation.
fn mean_gamma(network: &Network, convolutions: &[usize]) -> Option<f64> {
    let gammas: Option<Vec<&[f32]>> =
        convolutions.iter().map(|c| Some(network.conv(*c).norm.as_ref()?.gamma.as_slice())).collect();
    let gammas: Vec<f64> = gammas?.into_iter().flatten().map(|g| f64::from(g.abs())).collect();
    (!gammas.is_empty()).then(|| gammas.iter().sum::<f64>() / gammas.len() as f64)
}

/// Marks for each block whether it goes: the `count` that score lowest, none of which overlap; for the others, why
/// not. Where one block holds several, these go in its place if there would be too few otherwise.
#[must_use]
pub fn choose(blocks: &[Block], count: usize) -> Vec<Option<WhyNot>> {
    let mut order: Vec<usize> = (0..blocks.len()).filter(|b| why_not(&blocks[*b]).is_none()).collect();
    order.sort_by(|a, b| blocks[*a].score.partial_cmp(&blocks[*b].score).unwrap_or(a.cmp(b)).then(a.cmp(b)));
    let mut chosen = lowest(blocks, &order, count);
    while chosen.len() < count {
        let without = |out: &usize| order.iter().copied().filter(|b| b != out).collect::<Vec<_>>();
        let more = chosen.iter().map(without).find(|order| lowest(blocks, order, count).len() > chosen.len());
        let Some(others) = more else { break };
        (chosen, order) = (lowest(blocks, &others, count), others);
    }
    let layers = |b: usize| blocks[b].form.iter().flat_map(|form| &form.layers);
    let overlaps = |b: usize| chosen.iter().any(|other| layers(*other).any(|l| layers(b).any(|own| own == l)));
    let verdict = |(b, block): (usize, &Block)| match why_not(block) {
        None if chosen.contains(&b) => None,
        None if overlaps(b) => Some(WhyNot::Overlaps),
        None => Some(WhyNot::NotAmongLowest),
        why_not => why_not,
    };
    blocks.iter().enumerate().map(verdict).collect()
}

/// The first `count` blocks in this order that do not overlap those before.
fn lowest(blocks: &[Block], order: &[usize], count: usize) -> Vec<usize> {
    let (mut gone, mut chosen) = (Vec::new(), Vec::new());
    for b in order {
        let Ok(form) = &blocks[*b].form else { continue };
        if chosen.len() < count && !form.layers.iter().any(|l| gone.contains(l)) {
            gone.extend(&form.layers);
            chosen.push(*b);
        }
    }
    chosen
}

/// Why a block can't be chosen at all.
fn why_not(block: &Block) -> Option<WhyNot> {
    match (&block.form, block.score) {
        (Err(why), _) => Some(*why),
        (Ok(_), None) => Some(WhyNot::NoGamma),
        (Ok(_), Some(_)) => None,
    }
}

fn form(graph: &Graph, consumers: &[Vec<usize>], shortcut: usize) -> Result<Form, WhyNot> {
    let inputs: Option<Vec<usize>> = graph.layers[shortcut].inputs.iter().map(|source| source.layer()).collect();
    let mut ends = inputs.ok_or(WhyNot::NoTrunk)?;
    ends.sort_unstable();
    let trunk = ends.remove(0);
    if ends.contains(&trunk) || ends.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(WhyNot::AddsTwice);
    }
    let mut layers = branches(graph, trunk, &ends)?;
    if layers.iter().any(|l| matches!(graph.layers[*l].op, Op::Yolo(_))) {
        return Err(WhyNot::HasHead);
    }
    layers.push(shortcut);
    if graph.layers[trunk].shape != graph.layers[shortcut].shape {
        return Err(WhyNot::ChannelsDiffer);
    }
    let read_elsewhere = |l: &usize| consumers[*l].iter().any(|c| !layers.contains(c));
    if layers[..layers.len() - 1].iter().any(read_elsewhere) {
        return Err(WhyNot::ReadElsewhere);
    }
    if layers.len() != shortcut - trunk {
        return Err(WhyNot::NotContiguous);
    }
    if !passes_trunk(graph, shortcut, trunk) {
        return Err(WhyNot::Activation);
    }
    let zeroed = |end: &usize| zeroed_by(graph, *end).filter(|c| layers.contains(c)).ok_or(WhyNot::NeverZero);
    let convolutions = ends.iter().map(zeroed).collect::<Result<Vec<_>, _>>()?;
    Ok(Form { trunk, layers, convolutions })
}

/// The layers after `trunk` that `ends` are computed from, ascending. A branch may begin in another.
fn branches(graph: &Graph, trunk: usize, ends: &[usize]) -> Result<Vec<usize>, WhyNot> {
    let (mut layers, mut open, mut meets_trunk) = (Vec::new(), ends.to_vec(), false);
    let mut other = false;
    while let Some(layer) = open.pop() {
        if layer <= trunk {
            meets_trunk |= layer == trunk;
            other |= layer != trunk;
        } else if !layers.contains(&layer) {
            layers.push(layer);
            other |= graph.layers[layer].inputs.contains(&Source::Image);
            open.extend(graph.layers[layer].inputs.iter().filter_map(|s| s.layer()));
        }
    }
    layers.sort_unstable();
    match (meets_trunk, other) {
        (false, _) => Err(WhyNot::NoTrunk),
        (true, true) => Err(WhyNot::ReadsElsewhere),
        (true, false) => Ok(layers),
    }
}

/// Whether the shortcut gives the trunk as it is when the branch adds zero: a linear sum, or an activation that
/// the trunk went through already and that does nothing the second time.
fn passes_trunk(graph: &Graph, shortcut: usize, trunk: usize) -> bool {
    let activation = |layer: usize| match &graph.layers[layer].op {
        Op::Convolution(c) => Some(c.activation),
        Op::Shortcut { activation } => Some(*activation),
        _ => None,
    };
    let idempotent = [Activation::Relu, Activation::Relu6, Activation::Hardtan];
    match activation(shortcut) {
        Some(Activation::Linear) => true,
        Some(a) => idempotent.contains(&a) && activation(trunk) == Some(a),
        None => false,
    }
}

/// The convolution that makes the whole of `layer`'s output zero when its own is.
fn zeroed_by(graph: &Graph, layer: usize) -> Option<usize> {
    let l = &graph.layers[layer];
    let next = match &l.op {
        Op::Convolution(c) => return (c.activation.apply(0.0) == 0.0).then_some(layer),
        Op::Dropout { .. } | Op::MaxPool(_) | Op::AveragePool | Op::Upsample { .. } | Op::Reorg { .. } => l.inputs[0],
        Op::Route { .. } if l.inputs.len() == 1 => l.inputs[0],
        Op::ScaleChannels { activation } | Op::Sam { activation } if activation.apply(0.0) == 0.0 => l.inputs[1],
        _ => return None,
    };
    zeroed_by(graph, next.layer()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Cfg;

    fn forms(layers: &str) -> Vec<Result<Form, WhyNot>> {
        let text = format!("[net]\nwidth=8\nheight=8\n{}", layers.replace("BN", "batch_normalize=1\nfilters"));
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        blocks(&network, None).into_iter().map(|b| b.form).collect()
    }

    /// A convolution of four filters.
    const C: &str = "[convolutional]\nBN=4\nactivation=leaky\n";

    #[test]
    fn a_branch_of_any_length_and_kind_can_go() {
        let cases = [
            (format!("{C}{C}[shortcut]\nfrom=-2\n"), 1..3, 1),
            (format!("{C}{C}{C}[dropout]\n[shortcut]\nfrom=0\n"), 1..5, 2),
            (format!("{C}{C}{C}[route]\nlayers=-1,-2\n{C}[shortcut]\nfrom=0\n"), 1..6, 4),
            (
                format!("{C}{C}[avgpool]\n[convolutional]\nBN=4\n[scale_channels]\nfrom=1\n[shortcut]\nfrom=0\n"),
                1..6,
                1,
            ),
            (C.replace("leaky", "relu") + C + "[shortcut]\nfrom=0\nactivation=relu\n", 1..3, 1),
        ];
        for (layers, range, convolution) in cases {
            let wanted = Form { trunk: range.start - 1, layers: range.collect(), convolutions: vec![convolution] };
            assert_eq!(
                forms(&layers.replace("[shortcut]\nfrom=0\n", "[shortcut]\nactivation=linear\nfrom=0\n")),
                [Ok(wanted)],
                "{layers}"
            );
        }
    }

    #[test]
    fn what_cannot_go_says_why() {
        let linear = "activation=linear\n";
        let cases = [
            (format!("{C}{C}[shortcut]\nfrom=0,0\n"), WhyNot::AddsTwice),
            (format!("{C}{C}{C}[shortcut]\nfrom=0,1\nactivation=relu\n"), WhyNot::Activation),
            (format!("{C}{C}[route]\nlayers=0\n{C}[shortcut]\nfrom=1\n"), WhyNot::NoTrunk),
            (format!("{C}[convolutional]\nBN=3\n[shortcut]\nfrom=0\n{linear}"), WhyNot::ChannelsDiffer),
            (format!("{C}{C}{C}[shortcut]\nfrom=0\n{linear}[route]\nlayers=1\n"), WhyNot::ReadElsewhere),
            (format!("{C}{C}{C}[route]\nlayers=-1,0\n{C}[shortcut]\nfrom=1\n{linear}"), WhyNot::ReadsElsewhere),
            (
                format!(
                    "{C}[convolutional]\nBN=6\n[yolo]\nmask=0\nanchors=4,4\nclasses=1\n{C}[shortcut]\nfrom=0\n{linear}"
                ),
                WhyNot::HasHead,
            ),
            (format!("{C}{C}[route]\nlayers=0\n{C}[shortcut]\nfrom=0\n{linear}"), WhyNot::NotContiguous),
            (format!("{C}[convolutional]\nBN=4\nactivation=logistic\n[shortcut]\nfrom=0\n{linear}"), WhyNot::NeverZero),
            (
                format!(
                    "{C}{C}[reorg]\nstride=1\n[route]\nlayers=-1\ngroups=2\n[route]\nlayers=-1,-1\n[shortcut]\nfrom=0\n{linear}"
                ),
                WhyNot::NeverZero,
            ),
            (format!("{C}{C}[shortcut]\nfrom=0\nactivation=relu\n"), WhyNot::Activation),
        ];
        for (layers, wanted) in cases {
            assert_eq!(forms(&layers), [Err(wanted)], "{layers}");
        }
    }

    #[test]
    fn a_shortcut_of_three_maps_goes_with_both_branches() {
        let wanted = Form { trunk: 0, layers: vec![1, 2, 3, 4], convolutions: vec![1, 3] };
        let parallel = format!("{C}{C}[route]\nlayers=0\n{C}[shortcut]\nfrom=0,1\nactivation=linear\n");
        assert_eq!(forms(&parallel), [Ok(wanted)]);
        let nested = format!("{C}{C}{C}[shortcut]\nfrom=0,1\nactivation=linear\n");
        assert_eq!(forms(&nested), [Ok(Form { trunk: 0, layers: vec![1, 2, 3], convolutions: vec![1, 2] })]);
    }

    #[test]
    fn a_block_without_gamma_goes_once_its_effect_was_measured() {
        let text = format!(
            "[net]\nwidth=8\nheight=8\n{C}[convolutional]\nfilters=4\nactivation=leaky\n[shortcut]\nfrom=0\nactivation=linear\n"
        );
        let text = text.replace("BN", "batch_normalize=1\nfilters");
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        assert_eq!(choose(&blocks(&network, None), 1), [Some(WhyNot::NoGamma)]);
        assert_eq!(choose(&blocks(&network, Some(&BTreeMap::from([(2, 0.1)]))), 1), [None]);
    }

    #[test]
    fn a_measured_effect_outranks_gamma() {
        let text = format!("[net]\nwidth=8\nheight=8\n{C}{C}[shortcut]\nfrom=0\n{C}[shortcut]\nfrom=2\n");
        let text = text.replace("BN", "batch_normalize=1\nfilters").replace("from=", "activation=linear\nfrom=");
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        let effects = BTreeMap::from([(2, 0.5)]);
        let scores: Vec<_> = blocks(&network, Some(&effects)).iter().map(|b| b.score).collect();
        assert_eq!(scores, [Some(0.5), Some(1.0)]);
    }

    #[test]
    fn the_lowest_go_and_blocks_within_blocks_go_once() {
        let form = |layers: std::ops::Range<usize>| {
            Ok(Form { trunk: layers.start - 1, layers: layers.collect(), convolutions: vec![0] })
        };
        let block = |form, score| Block { shortcut: 0, form, score: Some(score) };
        let all =
            [block(form(1..4), 0.3), block(form(1..8), 0.2), block(form(8..10), 0.5), block(Err(WhyNot::NoTrunk), 0.0)];
        let not_lowest = Some(WhyNot::NotAmongLowest);
        assert_eq!(choose(&all, 0), [not_lowest, not_lowest, not_lowest, Some(WhyNot::NoTrunk)]);
        assert_eq!(choose(&all, 2), [Some(WhyNot::Overlaps), None, None, Some(WhyNot::NoTrunk)]);
    }
}
