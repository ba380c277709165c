//! Which layer of the slim net is which layer of the first one.

use yoloslim_core::graph::{Graph, Op};
use yoloslim_core::prune::PrunePlan;

/// For each layer of `first`, its index in `after`, none for those that went; none at all where the plans don't lead
/// from the one net to the other.
///
/// Later plans may have been made but not taken, when pruning goes in steps: those that lead to `after` count.
pub fn lineage(first: &Graph, after: &Graph, plans: &[(String, PrunePlan)]) -> Option<Vec<Option<usize>>> {
    let mut old: Vec<usize> = (0..first.layers.len()).collect();
    let mut found = fits(first, after, &old).then(|| old.clone());
    for (_, plan) in plans {
        let gone: Vec<usize> = plan.removed_blocks().flat_map(|b| b.layers.iter().copied()).collect();
        old = old.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, layer)| *layer).collect();
        let widths: Vec<usize> = plan.layers.iter().map(|l| l.kept.len()).filter(|n| *n > 0).collect();
        let leads_here = after.convolutions().map(|(_, c)| c.filters).eq(widths);
        if leads_here && fits(first, after, &old) {
            found = Some(old.clone());
        }
    }
    let old = found?;
    Some((0..first.layers.len()).map(|layer| old.binary_search(&layer).ok()).collect())
}

/// Whether the layers of `after` can be those of `first` that `old` lists.
fn fits(first: &Graph, after: &Graph, old: &[usize]) -> bool {
    let same = |(layer, old): (&yoloslim_core::graph::Layer, &usize)| {
        std::mem::discriminant(&layer.op) == std::mem::discriminant(&first.layers[*old].op)
    };
    old.len() == after.layers.len() && after.layers.iter().zip(old).all(same)
}

/// A layer in a few words: `3×3 convolution`, say.
pub fn kind(op: &Op) -> String {
    match op {
        Op::Convolution(c) if c.stride_x > 1 => format!("{0}×{0} convolution, stride {1}", c.size, c.stride_x),
        Op::Convolution(c) => format!("{0}×{0} convolution", c.size),
        Op::MaxPool(_) => "max pooling".to_owned(),
        Op::Upsample { .. } => "upsampling".to_owned(),
        Op::Route { .. } => "route".to_owned(),
        Op::Shortcut { .. } => "shortcut".to_owned(),
        Op::Dropout { .. } => "dropout".to_owned(),
        Op::Reorg { .. } => "reorg".to_owned(),
        Op::AveragePool => "average pooling".to_owned(),
        Op::ScaleChannels { .. } => "channel scaling".to_owned(),
        Op::Sam { .. } => "spatial attention".to_owned(),
        Op::Yolo(_) => "detection head".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::prune::{self, Evidence, PruneOptions, Target};
    use yoloslim_core::{Network, cost};

    const C: &str = "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n";

    #[test]
    fn layers_behind_a_removed_block_are_found_again() {
        let cfg = format!(
            "[net]\nwidth=16\nheight=16\n{C}{C}{C}[shortcut]\nfrom=-3\nactivation=linear\n{C}\
             [convolutional]\nfilters=7\nactivation=linear\n[yolo]\nmask=0\nanchors=8,8\nclasses=2\n"
        );
        let network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let options = PruneOptions { target: Target::Flops(0.4), layers: 1, ..PruneOptions::default() };
        let plan = prune::plan(&network, &options, &Evidence::default()).unwrap();
        let slim = prune::apply(&network, &plan).unwrap().compact;
        assert!(cost::flops(&slim.graph) < cost::flops(&network.graph));
        let plans = [("pruned".to_owned(), plan)];
        let found = lineage(&network.graph, &slim.graph, &plans).unwrap();
        assert_eq!(found, [Some(0), None, None, None, Some(1), Some(2), Some(3)]);
        assert_eq!(lineage(&network.graph, &slim.graph, &[]), None);
    }
}
