//! What was measured of a net on data: core runs nothing itself, so it comes in as numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Error, Network, Result};

/// One number a filter, `[filters]`, by convolution layer.
pub type PerFilter = BTreeMap<usize, Vec<f32>>;

/// The mean activation of every filter over calibration images.
pub type Means = PerFilter;

/// What a plan may know beside the weights; each part may be missing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// Mean activation of each filter: it takes the filter's place when that goes. act(beta) does without.
    pub means: Option<Means>,
    /// Mean activation of each filter at the border of its map alone: told beside the means, which stand in everywhere.
    pub borders: Option<PerFilter>,
    /// Standard deviation of each filter's activation, for [`super::Criterion::Deviation`].
    pub deviations: Option<PerFilter>,
    /// How much the loss would change with zero in place of each filter, to first order, for [`super::Criterion::Taylor`].
    pub taylor: Option<PerFilter>,
    /// The same with the constant that stands in for it, for [`super::Criterion::TaylorMean`].
    pub taylor_mean: Option<PerFilter>,
    /// What the scores of a convolution layer are multiplied by: how much more accuracy its filters cost than others.
    pub factors: Option<BTreeMap<usize, f32>>,
    /// The convolution layers that are being tried alone: only channels that just these write may go.
    pub only: Option<BTreeSet<usize>>,
    /// What removing a residual block changes, by its shortcut layer, in place of the mean |gamma| of its branch.
    pub blocks: Option<BTreeMap<usize, f64>>,
}

impl Evidence {
    /// Checks that every part has one finite number for each filter of the layers that it speaks of.
    ///
    /// # Errors
    /// Names the first part and layer that don't fit.
    pub fn check(&self, network: &Network) -> Result<()> {
        for (what, part) in self.parts() {
            for (layer, values) in part {
                let filters = network.weights.get(*layer).and_then(|w| w.as_ref()).map_or(0, |w| w.bias.len());
                if filters != values.len() || values.iter().any(|v| !v.is_finite()) {
                    let cause = format!("{} numbers for {filters} filters, or some that are not finite", values.len());
                    return Err(Error::at(format!("{what} of layer #{layer}"), cause)
                        .fix("measure them on the net that is pruned, with weights of a run that did not diverge"));
                }
            }
        }
        let factors = self.factors.iter().flatten().map(|(layer, factor)| (*layer, f64::from(*factor)));
        let blocks = self.blocks.iter().flatten().map(|(layer, effect)| (*layer, *effect));
        for (layer, value) in factors.chain(blocks) {
            if layer >= network.graph.layers.len() || !value.is_finite() || value < 0.0 {
                return Err(Error::at(
                    format!("sensitivity of layer #{layer}"),
                    format!("{value} is no sensitivity of it"),
                )
                .fix("measure it on the net that is pruned"));
            }
        }
        Ok(())
    }

    /// The evidence of a net of which only `layers` stay, by their new indices.
    #[must_use]
    pub fn of_layers(&self, layers: &[usize]) -> Self {
        let renumbered = |part: &Option<PerFilter>| {
            let part = part.as_ref()?;
            Some(layers.iter().enumerate().filter_map(|(new, old)| Some((new, part.get(old)?.clone()))).collect())
        };
        Self {
            means: renumbered(&self.means),
            borders: renumbered(&self.borders),
            deviations: renumbered(&self.deviations),
            taylor: renumbered(&self.taylor),
            taylor_mean: renumbered(&self.taylor_mean),
            factors: self.factors.as_ref().map(|factors| {
                let of = |(new, old): (usize, &usize)| Some((new, *factors.get(old)?));
                layers.iter().enumerate().filter_map(of).collect()
            }),
            only: self.only.as_ref().map(|only| {
                layers.iter().enumerate().filter(|(_, old)| only.contains(old)).map(|(new, _)| new).collect()
            }),
            // Blocks are chosen before layers are renumbered.
            blocks: None,
        }
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, &PerFilter)> {
        let parts = [
            ("means", &self.means),
            ("border means", &self.borders),
            ("deviations", &self.deviations),
            ("taylor scores", &self.taylor),
            ("taylor-mean scores", &self.taylor_mean),
        ];
        parts.into_iter().filter_map(|(what, part)| Some((what, part.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Cfg;

    #[test]
    fn numbers_that_do_not_fit_the_net_are_named() {
        let cfg = "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=2\n[maxpool]\n";
        let network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let part = |layer: usize, values: &[f32]| Some(BTreeMap::from([(layer, values.to_vec())]));
        let good = Evidence { means: part(0, &[1.0, 2.0]), deviations: part(0, &[0.0, 1.0]), ..Evidence::default() };
        assert_eq!(good.check(&network), Ok(()));
        for (bad, named) in [
            (Evidence { means: part(0, &[1.0]), ..good.clone() }, "means of layer #0: 1 numbers for 2 filters"),
            (Evidence { deviations: part(1, &[1.0]), ..good.clone() }, "deviations of layer #1: 1 numbers for 0"),
            (Evidence { taylor: part(0, &[1.0, f32::NAN]), ..good.clone() }, "taylor scores of layer #0"),
            (Evidence { factors: Some(BTreeMap::from([(7, 1.0)])), ..good.clone() }, "sensitivity of layer #7"),
            (Evidence { blocks: Some(BTreeMap::from([(1, f64::NAN)])), ..good.clone() }, "sensitivity of layer #1"),
        ] {
            let message = bad.check(&network).unwrap_err().to_string();
            assert!(message.starts_with(named), "{message}");
        }
    }

    #[test]
    fn evidence_follows_its_layers() {
        let means = BTreeMap::from([(0, vec![1.0]), (2, vec![3.0]), (5, vec![6.0])]);
        let only = Some(BTreeSet::from([1, 2, 5]));
        let evidence = Evidence { means: Some(means), only, ..Evidence::default() }.of_layers(&[0, 1, 4, 5]);
        assert_eq!(evidence.only, Some(BTreeSet::from([1, 3])));
        assert_eq!(evidence.means, Some(BTreeMap::from([(0, vec![1.0]), (3, vec![6.0])])));
        assert_eq!(evidence.taylor, None);
    }
}
