//! Planning before anything is known but the net: what pruning asks for is tried before hours are spent on its way, and
//! sparsity training draws to zero what will be taken.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Evidence, PruneOptions, PrunePlan, blocks, plan};
use crate::{Network, Result};

/// The beta that stands in for those of a net that was never trained: all are zero, and zeros need no carriers.
const BETA: f32 = 0.1;

/// The plan for `network` with gammas in place of scores that go by data. Where the effects of blocks are going to be
/// `measured`, blocks without gamma can go too, after all others.
///
/// # Errors
/// As [`plan()`].
pub fn rehearse(network: &Network, options: &PruneOptions, measured: bool) -> Result<PrunePlan> {
    let last = |block: &blocks::Block| block.form.is_ok().then_some((block.shortcut, block.score.unwrap_or(f64::MAX)));
    let effects = || -> BTreeMap<usize, f64> { blocks::blocks(network, None).iter().filter_map(last).collect() };
    let evidence = Evidence { blocks: (measured && options.layers > 0).then(effects), ..Evidence::default() };
    plan(&with_betas(network), &options.without_evidence(), &evidence)
}

/// The net, with betas where it has none.
fn with_betas(network: &Network) -> Cow<'_, Network> {
    let normed: Vec<usize> =
        network.graph.convolutions().map(|(layer, _)| layer).filter(|l| network.conv(*l).norm.is_some()).collect();
    if normed.iter().any(|layer| network.conv(*layer).bias.iter().any(|beta| *beta != 0.0)) {
        return Cow::Borrowed(network);
    }
    let mut trained = network.clone();
    normed.into_iter().for_each(|layer| trained.conv_mut(layer).bias.fill(BETA));
    Cow::Owned(trained)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Cfg;
    use crate::prune::{Criterion, Target};

    const C: &str = "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n";

    fn net(cfg: &str) -> Network {
        Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap()
    }

    #[test]
    fn a_fresh_net_needs_the_carriers_that_it_will_need_once_it_is_trained() {
        let network = net(&format!("[net]\nwidth=16\nheight=16\n{C}{C}[convolutional]\nfilters=7\n"));
        let options = PruneOptions { target: Target::Channels(0.5), ..PruneOptions::default() };
        let carriers = |plan: PrunePlan| plan.layers.iter().map(|l| l.carriers.len()).sum::<usize>();
        assert_eq!(carriers(plan(&network, &options, &Evidence::default()).unwrap()), 0);
        assert_eq!(carriers(rehearse(&network, &options, false).unwrap()), 1);
    }

    #[test]
    fn blocks_without_gamma_can_go_where_their_effect_will_be_measured() {
        let plain = C.replace("batch_normalize=1\n", "").replace("leaky", "linear");
        let cfg = format!("[net]\nwidth=16\nheight=16\n{C}{C}{plain}[shortcut]\nfrom=-3\nactivation=linear\n{C}");
        let options =
            PruneOptions { layers: 1, score: Criterion::Taylor, target: Target::Channels(0.1), ..Default::default() };
        assert!(rehearse(&net(&cfg), &options, false).is_err());
        assert_eq!(rehearse(&net(&cfg), &options, true).unwrap().removed_blocks().count(), 1);
    }
}
