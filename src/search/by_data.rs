//! What pruning goes by beside the weights, and which of many plans it carries out: the same for one pruning and for the
//! whole pipeline.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use yoloslim_core::labels::Dataset;
use yoloslim_core::prune::{self, Criterion, Evidence, PruneOptions, PrunePlan, blocks};
use yoloslim_core::{Error, Network, Result};

use super::{Judge, Sensitivity, block_effects, search};
use crate::data::spread;
use crate::evidence::{self, Measuring};
use crate::reestimate::reestimate_statistics;

/// From this many plans on, gradients are among the scores that are tried: they cost about as much as judging three.
const GRADIENTS_FROM: usize = 8;

/// How a pruning goes by data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ByData {
    /// Training images that tell what filters give and are worth, and by which plans are judged.
    pub images: usize,
    /// What `sensitivity` wrote: scores count by how much accuracy their group costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<PathBuf>,
    /// What residual blocks are ranked by.
    pub block_score: BlockScore,
    /// Plans to try on training images; the most accurate is carried out.
    pub candidates: usize,
    /// Leave BN statistics as they are.
    pub keep_statistics: bool,
}

impl Default for ByData {
    fn default() -> Self {
        Self { images: 128, sensitivity: None, block_score: BlockScore::Gamma, candidates: 1, keep_statistics: false }
    }
}

/// What residual blocks are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockScore {
    /// Mean |gamma| of the convolution that ends the branch.
    #[default]
    Gamma,
    /// The change of the raw heads without the block, on training images.
    Heads,
    /// The accuracy lost without the block, by `sensitivity`.
    Accuracy,
}

/// What takes a while, for progress bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// What is done.
    pub what: &'static str,
    /// So many parts of it.
    pub done: usize,
    /// Of so many.
    pub of: usize,
}

/// A plan and how it was chosen.
#[derive(Debug, Clone)]
pub struct Choice {
    /// What goes.
    pub plan: PrunePlan,
    /// The best of what was tried, a line each; none where one plan was made.
    pub tried: Vec<String>,
}

impl ByData {
    /// Checks, before anything is measured, that all is there that `options` and these go by.
    ///
    /// # Errors
    /// Names what is missing; a sensitivity that is another net's.
    pub fn check(&self, network: &Network, options: &PruneOptions, has_images: bool) -> Result<()> {
        let sensitivity = self.sensitivity_of(network)?;
        match (self.block_score, has_images) {
            (BlockScore::Accuracy, _) if sensitivity.is_none() => {
                return Err(Error::at("--block-score accuracy", "no sensitivity was measured")
                    .fix("run sensitivity, and give its file by --sensitivity"));
            }
            (BlockScore::Heads, false) => {
                return Err(Error::at("--block-score heads", "there are no images to go by").fix("give --data"));
            }
            _ => {}
        }
        let measurable = (options.score == Criterion::Deviation || options.score.needs_gradients()) && has_images;
        let known = Evidence { factors: sensitivity.as_ref().map(Sensitivity::factors), ..Evidence::default() };
        if measurable { Ok(()) } else { options.score.check(&known) }
    }

    /// Everything that is known of a net; `train` are the images to measure on, where there are any.
    ///
    /// # Errors
    /// As [`ByData::check`]; an image that can't be read.
    pub fn evidence(
        &self,
        network: &Network,
        options: &PruneOptions,
        train: Option<&Dataset>,
        threads: usize,
        observe: &mut dyn FnMut(Work),
    ) -> Result<Evidence> {
        self.check(network, options, train.is_some())?;
        let mut evidence = match train {
            None => Evidence::default(),
            Some(train) => {
                let gradients = options.score.needs_gradients() || self.candidates >= GRADIENTS_FROM;
                let measuring = Measuring { images: self.images, threads };
                let mut progress = |done| observe(Work { what: "calibrating", done, of: self.images });
                let gradients = gradients.then_some(options.left_behind);
                evidence::measure(network, train, gradients, measuring, &mut progress)?
            }
        };
        let sensitivity = self.sensitivity_of(network)?;
        evidence.factors = sensitivity.as_ref().map(Sensitivity::factors);
        evidence.blocks = match (self.block_score, sensitivity, train) {
            (BlockScore::Accuracy, Some(sensitivity), _) => Some(sensitivity.block_effects()),
            // A step of several may take none.
            (BlockScore::Heads, _, Some(train)) if options.layers > 0 => {
                let of = blocks::blocks(network, None).iter().filter(|block| block.form.is_ok()).count();
                let mut progress = |done| observe(Work { what: "removing each block", done, of });
                Some(block_effects(network, spread(train, self.images), &mut progress)?)
            }
            _ => None,
        };
        Ok(evidence)
    }

    /// The plan, or the best of many on the images of `train`; random ones are drawn by `seed`.
    ///
    /// # Errors
    /// A target out of reach; an image that can't be read.
    pub fn choose(
        &self,
        network: &Network,
        options: &PruneOptions,
        evidence: &Evidence,
        (train, seed): (Option<&Dataset>, u64),
        observe: &mut dyn FnMut(Work),
    ) -> Result<Choice> {
        let Some(train) = train.filter(|_| self.candidates > 1) else {
            return Ok(Choice { plan: prune::plan(network, options, evidence)?, tried: Vec::new() });
        };
        require_objects(train, "--candidates")?;
        let judge = Judge::new(train, self.images);
        let mut accuracy = |slim: &Network| match self.keep_statistics {
            true => judge.accuracy(slim),
            false => judge.accuracy_reestimated(slim),
        };
        let mut progress = |done| observe(Work { what: "trying plans", done, of: self.candidates });
        let found = search(network, options, evidence, (self.candidates, seed), &mut accuracy, &mut progress)?;
        let told = |c: &super::Candidate| format!("mAP@0.5 {:.4} on training images: {}", c.accuracy, c.name);
        let tried = found.iter().take(3).map(told).collect();
        let best = found.into_iter().next().map(|candidate| candidate.plan);
        let plan = best.ok_or_else(|| Error::at("--candidates", "no plan was made").fix("give 1 or more"))?;
        Ok(Choice { plan, tried })
    }

    /// A slim net with BN statistics of training images: what goes moved them.
    ///
    /// # Errors
    /// An image that can't be read.
    pub fn with_statistics(&self, slim: Network, train: &Dataset) -> Result<Network> {
        if self.keep_statistics {
            return Ok(slim);
        }
        reestimate_statistics(&slim, spread(train, self.images), &mut |_| {})
    }

    fn sensitivity_of(&self, network: &Network) -> Result<Option<Sensitivity>> {
        let read = |path: &Path| Sensitivity::load_for(path, network);
        self.sensitivity.as_deref().map(read).transpose()
    }
}

/// Fails where there is nothing that accuracy could be measured by.
///
/// # Errors
/// Images without a single object; `place` is what asks for them.
pub fn require_objects(images: &Dataset, place: &str) -> Result<()> {
    if images.samples.iter().all(|sample| sample.objects.is_empty()) {
        return Err(Error::at(place, "the images hold no objects to judge nets by").fix("give labelled images"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;

    #[test]
    fn what_is_missing_is_named_before_anything_is_measured() {
        let cfg = "[net]\nwidth=8\nheight=8\n[convolutional]\nbatch_normalize=1\nfilters=4\n";
        let network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        let check = |score, by: &ByData, images| {
            by.check(&network, &PruneOptions { score, ..PruneOptions::default() }, images).map_err(|e| e.to_string())
        };
        let (none, heads) = (ByData::default(), ByData { block_score: BlockScore::Heads, ..ByData::default() });
        let accuracy = ByData { block_score: BlockScore::Accuracy, ..ByData::default() };
        assert_eq!(check(Criterion::Gamma, &none, false), Ok(()));
        assert_eq!(check(Criterion::Deviation, &none, true), Ok(()));
        assert_eq!(check(Criterion::Gamma, &heads, true), Ok(()));
        for (score, by, images, named) in [
            (Criterion::Taylor, &none, false, "score taylor"),
            (Criterion::Sensitivity, &none, true, "score sensitivity"),
            (Criterion::Gamma, &heads, false, "--block-score heads"),
            (Criterion::Gamma, &accuracy, true, "--block-score accuracy"),
        ] {
            let message = check(score, by, images).unwrap_err();
            assert!(message.starts_with(named), "{message}");
        }
    }
}
