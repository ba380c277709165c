//! Doing what a plan says: the masked net, then the compact one.

use super::blocks::{self, Form};
use super::channels::Channels;
use super::compensate::{Input, Inputs, slim_convolution};
use super::constants::{CARRIER_BETA, Constants, carried, constant_betas, left_behind};
use super::limits::Fate;
use super::plan::fingerprint;
use super::{LayerPlan, PrunePlan, Pruned};
use crate::darknet::{Cfg, WeightsFile};
use crate::graph::to_cfg::remove_layers;
use crate::graph::{Convolution, Graph, Op};
use crate::network::ConvWeights;
use crate::{Error, Network, Result};

/// Does what `plan` says. The result's compact net computes what its masked net computes, borders included, up to
/// rounding; run both to prove it.
///
/// ```
/// use yoloslim_core::Network;
/// use yoloslim_core::darknet::Cfg;
/// use yoloslim_core::prune::{self, Evidence, PruneOptions, Target};
///
/// let layer = "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\npad=1\nactivation=leaky\n";
/// let cfg = format!("[net]\nwidth=32\nheight=32\n{layer}{layer}[convolutional]\nfilters=7\nactivation=linear\n");
/// let network = Network::initialise(Cfg::parse(cfg.as_bytes())?, 1)?;
/// let options = PruneOptions { target: Target::Params(0.5), ..PruneOptions::default() };
/// let pruned = prune::apply(&network, &prune::plan(&network, &options, &Evidence::default())?)?;
/// assert_eq!(pruned.masked.parameters(), network.parameters());
/// assert!(pruned.compact.parameters() <= network.parameters() / 2);
/// # Ok::<(), yoloslim_core::Error>(())
/// ```
///
/// # Errors
/// A plan that was made for another net, or was changed so that it contradicts itself.
pub fn apply(network: &Network, plan: &PrunePlan) -> Result<Pruned> {
    check_fit(network, plan)?;
    let forms = removed_forms(network, plan)?;
    let mut masked = network.clone();
    plan.layers.iter().filter(|l| !l.is_removed()).for_each(|l| mask(&mut masked, l));
    forms.iter().flat_map(|form| &form.convolutions).for_each(|conv| silence(masked.conv_mut(*conv)));
    let (shallow, layers) = without_blocks(&masked, &forms)?;
    let compact = compact(&shallow, &layers, plan)?;
    Ok(Pruned { masked, compact })
}

fn check_fit(network: &Network, plan: &PrunePlan) -> Result<()> {
    let misfit =
        |cause: String| Err(Error::at("plan", cause).fix("apply the plan to the cfg it was made from, or plan anew"));
    let convolutions: Vec<_> = network.graph.convolutions().collect();
    if convolutions.len() != plan.layers.len() {
        return misfit(format!("it has {} convolutions, the net {}", plan.layers.len(), convolutions.len()));
    }
    for ((layer, c), l) in convolutions.iter().zip(&plan.layers) {
        if (*layer, c.filters) != (l.layer, l.filters) {
            return misfit(format!(
                "it has {} filters at layer #{}, the net has {} at layer #{layer}",
                l.filters, l.layer, c.filters
            ));
        }
        let ascending = l.kept.is_sorted_by(|a, b| a < b) && l.kept.last().is_none_or(|f| *f < l.filters);
        if !ascending || l.carriers.iter().any(|f| l.kept.binary_search(f).is_err()) {
            return misfit(format!("the filters kept of layer #{layer} are out of order or range"));
        }
        if l.means.as_ref().is_some_and(|m| m.len() != l.filters || m.iter().any(|v| !v.is_finite())) {
            return misfit(format!("the means of layer #{layer} are not one number a filter"));
        }
    }
    if plan.fingerprint != fingerprint(&network.graph) {
        return misfit("its fingerprint is another net's".to_owned());
    }
    Ok(())
}

fn removed_forms(network: &Network, plan: &PrunePlan) -> Result<Vec<Form>> {
    let all = blocks::blocks(network, None);
    let form = |shortcut: usize| {
        let block = all.iter().find(|b| b.shortcut == shortcut);
        block
            .and_then(|b| b.form.clone().ok())
            .ok_or_else(|| Error::at("plan", format!("layer #{shortcut} closes no block that can go")).fix("plan anew"))
    };
    plan.removed_blocks().map(|b| form(b.shortcut)).collect()
}

/// Turns what goes, and what will carry, into constants.
fn mask(network: &mut Network, plan: &LayerPlan) {
    let Op::Convolution(Convolution { activation, .. }) = network.graph.layers[plan.layer].op else { return };
    let betas = constant_betas(network, plan.layer, activation, plan.means.as_ref());
    let weights = network.conv_mut(plan.layer);
    for filter in plan.removed().chain(plan.carriers.iter().copied()) {
        set_constant(weights, filter, betas[filter]);
    }
}

/// Makes a filter give act(beta) everywhere.
fn set_constant(weights: &mut ConvWeights, filter: usize, beta: f32) {
    let row = weights.kernel.len() / weights.bias.len();
    weights.bias[filter] = beta;
    match &mut weights.norm {
        Some(norm) => norm.gamma[filter] = 0.0,
        None => weights.kernel[filter * row..(filter + 1) * row].fill(0.0),
    }
}

/// Makes a convolution give act(0) everywhere.
fn silence(weights: &mut ConvWeights) {
    (0..weights.bias.len()).for_each(|filter| set_constant(weights, filter, 0.0));
}

/// The net without blocks, and its layers' old indices.
pub(super) fn without_blocks(network: &Network, forms: &[Form]) -> Result<(Network, Vec<usize>)> {
    let mut stand_in: Vec<Option<usize>> = (0..network.graph.layers.len()).map(Some).collect();
    for form in forms {
        form.layers.iter().for_each(|l| stand_in[*l] = None);
        form.layers.last().into_iter().for_each(|shortcut| stand_in[*shortcut] = Some(form.trunk));
    }
    let short = remove_layers(&network.cfg, &network.graph, &stand_in)?;
    let graph = Graph::from_cfg(&short.cfg)?;
    let weights = short.layers.iter().map(|l| network.weights[*l].clone()).collect();
    Ok((Network { cfg: short.cfg, graph, weights, header: network.header }, short.layers))
}

/// Selects channels; `layers` are the old indices that the plan speaks of.
fn compact(network: &Network, layers: &[usize], plan: &PrunePlan) -> Result<Network> {
    let graph = &network.graph;
    let channels = Channels::of(graph);
    let surgery = Surgery {
        // What goes has the beta of its constant already: this net is masked.
        constants: left_behind(network, None),
        carried: carried(graph),
        fates: fates(&channels, layers, plan)?,
        network,
        channels: &channels,
    };
    let (mut cfg, mut values) = (network.cfg.clone(), Vec::new());
    for (layer, c) in graph.convolutions() {
        surgery.set_widths(&mut cfg, layer, c);
        values.extend(surgery.convolution(layer, c).into_values());
    }
    let graph = Graph::from_cfg(&cfg)?;
    Network::from_parts(cfg, graph, &WeightsFile { header: network.header, values })
}

/// What the plan decides for each class of a net without its removed blocks.
fn fates(channels: &Channels, layers: &[usize], plan: &PrunePlan) -> Result<Vec<Fate>> {
    let mut fates: Vec<Option<Fate>> = vec![None; channels.classes.len()];
    for l in &plan.layers {
        let Ok(layer) = layers.binary_search(&l.layer) else { continue };
        if l.is_removed() {
            return Err(Error::at(&l.place, "no filter would be left").fix("keep at least one filter"));
        }
        for (filter, &class) in channels.outputs[layer].iter().enumerate() {
            let fate = match (l.kept.binary_search(&filter).is_ok(), l.carriers.contains(&filter)) {
                (false, _) => Fate::Goes,
                (true, true) => Fate::Carries,
                (true, false) => Fate::Scores,
            };
            let held = fate != Fate::Scores && channels.classes[class].protected.is_some();
            if held || *fates[class].get_or_insert(fate) != fate {
                return Err(Error::at(&l.place, format!("filter {filter} can't go by itself")).fix("plan anew"));
            }
        }
    }
    Ok(fates.into_iter().map(|fate| fate.unwrap_or(Fate::Scores)).collect())
}

/// Channel surgery on a masked net.
struct Surgery<'a> {
    network: &'a Network,
    channels: &'a Channels,
    fates: Vec<Fate>,
    constants: Constants,
    carried: Constants,
}

impl Surgery<'_> {
    /// Writes what changes of a convolution's section.
    fn set_widths(&self, cfg: &mut Cfg, layer: usize, c: &Convolution) {
        let kept = |list: &[usize]| list.iter().filter(|id| self.fates[**id].is_kept()).count();
        let input = self.channels.read(self.network.graph.layers[layer].inputs[0]);
        let (filters, groups) = (kept(&self.channels.outputs[layer]), kept(input));
        if filters != c.filters {
            cfg.layer_mut(layer).set("filters", filters);
        }
        if c.is_depthwise(input.len()) && groups != c.groups {
            cfg.layer_mut(layer).set("groups", groups);
        }
    }

    /// The weights that stay of a convolution.
    fn convolution(&self, layer: usize, c: &Convolution) -> ConvWeights {
        let output = &self.channels.outputs[layer];
        let kept: Vec<usize> = (0..c.filters).filter(|f| self.fates[output[*f]].is_kept()).collect();
        let inputs = self.inputs(layer, c);
        let groups: Vec<Inputs> = inputs
            .chunks(inputs.len() / c.groups)
            .map(|channels| Inputs { channels, padded: c.pad > 0, taps: c.size * c.size })
            .collect();
        let mut slim = slim_convolution(self.network.conv(layer), &kept, &groups);
        for (new, old) in kept.iter().enumerate() {
            if self.fates[output[*old]] == Fate::Carries {
                set_constant(&mut slim, new, CARRIER_BETA);
            }
        }
        slim
    }

    /// How each channel that a convolution reads stands. A depth-wise filter stays or goes with its input, and
    /// gives a constant, whatever it reads, where its input does: nothing is moved.
    fn inputs(&self, layer: usize, c: &Convolution) -> Vec<Input> {
        let source = self.network.graph.layers[layer].inputs[0];
        let list = self.channels.read(source);
        let depthwise = c.is_depthwise(list.len());
        let stand = |(i, id): (usize, &usize)| {
            let held = |values: &Constants| source.layer().map_or(f64::NAN, |l| values[l][i]);
            match self.fates[*id] {
                _ if depthwise => Input::Kept,
                Fate::Goes => Input::Gone { constant: held(&self.constants) },
                Fate::Carries => Input::Carrier { constant: held(&self.constants), carried: held(&self.carried) },
                Fate::Scores | Fate::Stays(_) => Input::Kept,
            }
        };
        list.iter().enumerate().map(stand).collect()
    }
}
