//! What each residual block does to the heads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use yoloslim_core::prune::{self, Evidence, PruneOptions, Target, blocks};
use yoloslim_core::{Network, Result};

use crate::data::InferenceBatches;
use crate::model::{Predictor, RelativeChange};
use crate::reestimate::reestimate_statistics;

/// Images of a forward pass.
const BATCH: usize = 4;

/// For each residual block that can go, by its shortcut's layer: how far the raw heads move without it on the images of
/// `paths`, as the L2 norm of the change divided by that of the heads, statistics of batch normalisation measured anew on
/// them: a constant that the block added is no loss, for they take it in. `progress` is told how many blocks are done.
///
/// # Errors
/// The first image that can't be read.
pub fn block_effects(
    network: &Network,
    paths: Vec<PathBuf>,
    progress: &mut dyn FnMut(usize),
) -> Result<BTreeMap<usize, f64>> {
    let removable = removable(network);
    let measured = |network: &Network, see: &mut dyn FnMut(&[f32])| {
        each_head(&reestimate_statistics(network, paths.clone(), &mut |_| {})?, paths.clone(), see)
    };
    let mut whole = Vec::new();
    measured(network, &mut |values| whole.extend_from_slice(values))?;
    let mut effects = BTreeMap::new();
    for (done, shortcut) in removable.iter().enumerate() {
        let slim = without(network, &removable, *shortcut)?;
        let (mut rest, mut change) = (whole.as_slice(), RelativeChange::default());
        measured(&slim, &mut |values| {
            let (same, after) = rest.split_at(values.len());
            change.add(same, values);
            rest = after;
        })?;
        effects.insert(*shortcut, change.share());
        progress(done + 1);
    }
    Ok(effects)
}

/// The residual blocks that can go, by their shortcuts' layers.
pub(super) fn removable(network: &Network) -> Vec<usize> {
    blocks::blocks(network, None).iter().filter(|b| b.form.is_ok()).map(|b| b.shortcut).collect()
}

/// The net without one of its `removable` blocks, and all else as it is.
pub(super) fn without(network: &Network, removable: &[usize], shortcut: usize) -> Result<Network> {
    let effect = |other: &usize| (*other, if *other == shortcut { 0.0 } else { 1.0 });
    let alone = Evidence { blocks: Some(removable.iter().map(effect).collect()), ..Evidence::default() };
    let only = PruneOptions { target: Target::Channels(0.0), layers: 1, ..PruneOptions::default() };
    Ok(prune::apply(network, &prune::plan(network, &only, &alone)?)?.compact)
}

/// Shows all values of all heads over all images, in order, a map at a time.
fn each_head(network: &Network, paths: Vec<PathBuf>, see: &mut dyn FnMut(&[f32])) -> Result<()> {
    let mut predictor = Predictor::new(network);
    let input = predictor.input();
    for batch in InferenceBatches::for_net(paths, input, BATCH)? {
        let batch = batch?;
        let maps = predictor.heads(&batch.images, batch.count);
        maps.iter().for_each(|map| see(&map.values));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rgb;
    use yoloslim_core::darknet::Cfg;

    #[test]
    fn a_block_that_adds_nothing_has_no_effect_and_another_has() {
        let c = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n";
        let s = "[shortcut]\nfrom=-2\nactivation=linear\n";
        let cfg = format!(
            "[net]\nwidth=16\nheight=16\n{c}{c}{s}{c}{s}[convolutional]\nfilters=7\nactivation=linear\n[yolo]\nmask=0\nanchors=4,4\nclasses=2\n"
        );
        let mut network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        network.conv_mut(3).norm.as_mut().unwrap().gamma.fill(0.0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grey.png");
        crate::data::save(&Rgb::filled(16, 16, [90, 120, 40]), &path).unwrap();
        let effects = block_effects(&network, vec![path], &mut |_| {}).unwrap();
        assert_eq!(effects.keys().copied().collect::<Vec<_>>(), [2, 4]);
        assert!(effects[&4] < 1e-6 && effects[&2] > 1e-3, "{effects:?}");
    }
}
