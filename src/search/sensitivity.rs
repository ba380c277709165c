//! How much accuracy each group of tied convolutions, and each residual block, costs when it is pruned alone.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use yoloslim_core::prune::channels::Channels;
use yoloslim_core::prune::plan::fingerprint;
use yoloslim_core::prune::scores::Scores;
use yoloslim_core::prune::{self, Evidence, Normalise, PruneOptions, Target};
use yoloslim_core::{Error, Network, Result, files};

use super::blocks::{removable, without};

/// A loss of accuracy that counts as none: below it, groups are told apart by noise.
const NOISE: f64 = 0.002;

/// The losses of all parts of a net.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensitivity {
    /// Tells the net that was measured, by its layers, not by its weights.
    pub fingerprint: String,
    /// Accuracy of the whole net.
    pub accuracy: f64,
    /// Shares of a group's channels that were tried.
    pub ratios: Vec<f64>,
    /// By group, in layer order.
    pub groups: Vec<GroupSensitivity>,
    /// By residual block, in layer order.
    pub blocks: Vec<BlockSensitivity>,
}

/// Convolutions whose channels stay or go together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSensitivity {
    /// Their layers.
    pub layers: Vec<usize>,
    /// The first one's place in the cfg.
    pub place: String,
    /// Channels that may go.
    pub channels: usize,
    /// Accuracy lost at each of the ratios; below zero where it rose.
    pub losses: Vec<f64>,
}

/// A residual block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSensitivity {
    /// Its shortcut's layer.
    pub shortcut: usize,
    /// Accuracy lost without it.
    pub loss: f64,
}

impl Sensitivity {
    /// What the scores of each layer are multiplied by in a plan: the mean loss of its group, as a share of that of all
    /// groups. Every group keeps a little of it, for a loss below the noise is not none. A layer that writes for two groups
    /// counts by the one that costs more.
    #[must_use]
    pub fn factors(&self) -> BTreeMap<usize, f32> {
        let mean = |losses: &[f64]| losses.iter().map(|l| l.max(0.0)).sum::<f64>() / losses.len().max(1) as f64 + NOISE;
        let all: Vec<f64> = self.groups.iter().map(|group| mean(&group.losses)).collect();
        let whole = all.iter().sum::<f64>() / all.len().max(1) as f64;
        let mut factors = BTreeMap::new();
        for (group, loss) in self.groups.iter().zip(&all) {
            for layer in &group.layers {
                let factor = factors.entry(*layer).or_insert(0.0_f32);
                *factor = factor.max((loss / whole) as f32);
            }
        }
        factors
    }

    /// The losses of blocks, to rank them by.
    #[must_use]
    pub fn block_effects(&self) -> BTreeMap<usize, f64> {
        self.blocks.iter().map(|block| (block.shortcut, block.loss.max(0.0))).collect()
    }

    /// Reads what [`Sensitivity::save`] wrote.
    ///
    /// # Errors
    /// A file that can't be read or is no such table.
    pub fn load(path: &Path) -> Result<Self> {
        serde_json::from_slice(&files::read(path)?)
            .map_err(|e| Error::at(path.display(), e).fix("give the sensitivity.json that sensitivity wrote"))
    }

    /// Reads a table that was measured of `network`, or of a net with the same layers.
    ///
    /// # Errors
    /// As [`Sensitivity::load`]; a table of another net.
    pub fn load_for(path: &Path, network: &Network) -> Result<Self> {
        let table = Self::load(path)?;
        if table.fingerprint != fingerprint(&network.graph) {
            return Err(Error::at(path.display(), "was measured of a net with other layers")
                .fix("run sensitivity on the net that is pruned"));
        }
        Ok(table)
    }

    /// Writes the table as JSON.
    ///
    /// # Errors
    /// A path that can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(|e| Error::at(path.display(), e))?;
        files::write_whole(path, &json)
    }
}

/// Prunes each group of `network` alone by each of `ratios`, and removes each residual block alone, as `options` score
/// them; `judge` measures each slim net. `progress` is told how many nets of how many are done.
///
/// # Errors
/// Whatever the judge fails on.
pub fn measure_sensitivity(
    network: &Network,
    options: &PruneOptions,
    evidence: &Evidence,
    ratios: &[f64],
    judge: &mut dyn FnMut(&Network) -> Result<f64>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Sensitivity> {
    // Within a group scores need not be compared with those of other layers, and what a ratio says goes.
    let normalise = Some(Normalise::None);
    let whole =
        PruneOptions { layers: 0, multiple_of: 1, min_keep: 0.0, also: Vec::new(), normalise, ..options.clone() };
    let groups = groups(network, &whole, evidence);
    let removable = removable(network);
    let total = 1 + groups.len() * ratios.len() + removable.len();
    let mut done = 0;
    let mut measure = |network: &Network| {
        let accuracy = judge(network);
        done += 1;
        progress(done, total);
        accuracy
    };
    let accuracy = measure(network)?;
    let mut measured = Sensitivity {
        fingerprint: fingerprint(&network.graph),
        accuracy,
        ratios: ratios.to_vec(),
        groups: Vec::new(),
        blocks: Vec::new(),
    };
    for (layers, channels) in groups {
        let alone = Evidence { only: Some(layers.iter().copied().collect()), ..evidence.clone() };
        let mut losses = Vec::new();
        for ratio in ratios {
            // Half a channel more, so that rounding never takes one too few; never the last one.
            let count = (ratio * channels as f64).round().min(channels as f64 - 1.0);
            let target = Target::Channels((count + 0.5) / channels as f64);
            let plan = prune::plan(network, &PruneOptions { target, ..whole.clone() }, &alone)?;
            losses.push(accuracy - measure(&prune::apply(network, &plan)?.compact)?);
        }
        let place = network.graph.layers[layers[0]].place.clone();
        measured.groups.push(GroupSensitivity { layers, place, channels, losses });
    }
    for shortcut in &removable {
        let slim = without(network, &removable, *shortcut)?;
        measured.blocks.push(BlockSensitivity { shortcut: *shortcut, loss: accuracy - measure(&slim)? });
    }
    Ok(measured)
}

/// Groups of convolutions that share channels which may go by `options`, with the number of those.
fn groups(network: &Network, options: &PruneOptions, evidence: &Evidence) -> Vec<(Vec<usize>, usize)> {
    let channels = Channels::of(&network.graph);
    let scores = Scores::of(network, &channels, options, evidence);
    let mut groups: Vec<(Vec<usize>, usize)> = Vec::new();
    let mut classes: Vec<usize> = scores.candidates.iter().map(|candidate| candidate.class).collect();
    classes.sort_unstable();
    for class in classes {
        let layers: Vec<usize> = channels.classes[class].layers().into_iter().collect();
        match groups.iter_mut().find(|(group, _)| *group == layers) {
            Some((_, count)) => *count += 1,
            None => groups.push((layers, 1)),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::prune::Groups;

    const CFG: &str = "[net]\nwidth=16\nheight=16\n\
        [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n\
        [convolutional]\nbatch_normalize=1\nfilters=4\nactivation=leaky\n\
        [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n\
        [shortcut]\nfrom=-3\nactivation=linear\n\
        [convolutional]\nfilters=7\nactivation=linear\n\
        [yolo]\nmask=0\nanchors=4,4\nclasses=2\n";

    #[test]
    fn each_group_and_block_is_tried_alone() {
        let network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        // Accuracy is a hundredth a filter of the first layer, and a tenth for the block.
        let mut judge = |slim: &Network| {
            let block = slim.graph.layers.len() == network.graph.layers.len();
            Ok(slim.conv(0).bias.len() as f64 / 100.0 + if block { 0.1 } else { 0.0 })
        };
        let options = PruneOptions { normalise: Some(Normalise::Cost), ..PruneOptions::default() };
        let evidence = Evidence::default();
        let measured =
            measure_sensitivity(&network, &options, &evidence, &[0.25, 0.5], &mut judge, &mut |_, _| {}).unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(measured.accuracy, 0.18));
        let layers: Vec<_> = measured.groups.iter().map(|g| (g.layers.clone(), g.channels)).collect();
        assert_eq!(layers, [(vec![0, 2], 8), (vec![1], 4)]);
        assert!(near(measured.groups[0].losses[0], 0.02) && near(measured.groups[0].losses[1], 0.04), "{measured:?}");
        assert!(measured.groups[1].losses.iter().all(|loss| near(*loss, 0.0)));
        assert_eq!(measured.blocks.len(), 1);
        assert!(near(measured.blocks[0].loss, 0.1));
        let factors = measured.factors();
        assert!(factors[&0] == factors[&2] && factors[&0] > 5.0 * factors[&1], "{factors:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sensitivity.json");
        measured.save(&path).unwrap();
        assert_eq!(Sensitivity::load_for(&path, &network).unwrap(), measured);
        let other = Cfg::parse(CFG.replace("size=3", "size=1").as_bytes()).unwrap();
        let message = Sensitivity::load_for(&path, &Network::initialise(other, 1).unwrap()).unwrap_err().to_string();
        assert!(message.contains("a net with other layers"), "{message}");
    }

    #[test]
    fn zeros_and_frozen_channels_elsewhere_are_not_blamed_on_the_group_that_is_tried() {
        let mut network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        network.conv_mut(1).norm.as_mut().unwrap().gamma.fill(0.0);
        // Accuracy is what is there of the second layer, all of it zeros.
        let mut judge = |slim: &Network| Ok(slim.conv(1).bias.len() as f64 / 10.0);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        for (frozen, wanted) in [(Groups::Together, vec![vec![0, 2], vec![1]]), (Groups::Frozen, vec![vec![1]])] {
            let options = PruneOptions { groups: frozen, ..PruneOptions::default() };
            let evidence = Evidence::default();
            let measured =
                measure_sensitivity(&network, &options, &evidence, &[0.5], &mut judge, &mut |_, _| {}).unwrap();
            let layers: Vec<_> = measured.groups.iter().map(|group| group.layers.clone()).collect();
            assert_eq!(layers, wanted);
            for group in &measured.groups {
                let loss = if group.layers == [1] { 0.2 } else { 0.0 };
                assert!(near(group.losses[0], loss), "{measured:?}");
            }
        }
    }
}
