//! What filters are worth, and what a class is worth.

use super::channels::{Channels, Class, ClassId};
use super::{Criterion, Groups, Reason};
use crate::Network;

/// What the filters of one convolution are worth, `[filters]`; none where the criterion can't tell.
#[must_use]
pub fn filter_scores(network: &Network, layer: usize, criterion: Criterion) -> Option<Vec<f32>> {
    match criterion {
        Criterion::Gamma => {
            let norm = network.weights[layer].as_ref()?.norm.as_ref()?;
            Some(norm.gamma.iter().map(|g| g.abs()).collect())
        }
    }
}

/// A class that may go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The class.
    pub class: ClassId,
    /// What it is worth.
    pub score: f32,
    /// Its place among the filters of its first convolution, 0 to 1: among equal scores the lower goes first, so
    /// that an untrained net loses the same share of every layer.
    rank: f32,
}

/// The classes' scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// What may go, the least worth first.
    pub candidates: Vec<Candidate>,
    /// For each class, its score and rank, or why it has none.
    pub by_class: Vec<Result<(f32, f32), Reason>>,
    /// What every filter is worth, by layer.
    pub filters: Vec<Option<Vec<f32>>>,
}

impl Scores {
    /// Scores every class of `channels`.
    #[must_use]
    pub fn of(network: &Network, channels: &Channels, criterion: Criterion, groups: Groups) -> Self {
        let layers = 0..network.graph.layers.len();
        let filters: Vec<_> = layers.map(|layer| filter_scores(network, layer, criterion)).collect();
        let by_class: Vec<_> = channels.classes.iter().map(|class| score(class, &filters, groups)).collect();
        let scored = by_class.iter().enumerate().filter_map(|(class, s)| s.as_ref().ok().map(|s| (class, *s)));
        let mut candidates: Vec<_> = scored.map(|(class, (score, rank))| Candidate { class, score, rank }).collect();
        candidates.sort_by(|a, b| a.score.total_cmp(&b.score).then(a.rank.total_cmp(&b.rank)));
        Self { candidates, by_class, filters }
    }

    /// Orders classes that may go by their worth; those that have no score come last.
    #[must_use]
    pub fn worth(&self, class: ClassId) -> (f32, f32) {
        *self.by_class[class].as_ref().unwrap_or(&(f32::INFINITY, 0.0))
    }
}

fn score(class: &Class, filters: &[Option<Vec<f32>>], groups: Groups) -> Result<(f32, f32), Reason> {
    if let Some(reason) = class.protected {
        return Err(reason);
    }
    let member = |p: &super::channels::Filter| filters[p.layer].as_ref().map(|scores| scores[p.filter]);
    let score = match groups {
        Groups::Frozen if class.tied => return Err(Reason::Frozen),
        Groups::Union | Groups::Frozen => {
            let members: Option<Vec<f32>> = class.producers.iter().map(member).collect();
            members.and_then(|scores| scores.into_iter().reduce(f32::max))
        }
        Groups::Leader => class.producers.iter().find(|p| !p.depthwise).and_then(member),
    };
    let first = class.producers.first();
    let rank = first.map_or(0.0, |p| {
        let filters = filters[p.layer].as_ref().map_or(1, Vec::len);
        p.filter as f32 / filters as f32
    });
    score.map(|score| (score, rank)).ok_or(Reason::NoGamma)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Cfg;

    #[test]
    fn among_equal_scores_every_layer_loses_the_same_share() {
        let conv = |n: usize| format!("[convolutional]\nbatch_normalize=1\nfilters={n}\nactivation=leaky\n");
        let text = format!("[net]\nwidth=8\nheight=8\n{}{}{}", conv(4), conv(8), conv(2));
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        let channels = Channels::of(&network.graph);
        let scores = Scores::of(&network, &channels, Criterion::Gamma, Groups::Union);
        let first_half = scores.candidates[..6].iter();
        let layers: Vec<usize> = first_half.map(|c| channels.classes[c.class].producers[0].layer).collect();
        assert_eq!(layers.iter().filter(|l| **l == 0).count(), 2);
        assert_eq!(layers.iter().filter(|l| **l == 1).count(), 4);
        assert_eq!(scores.by_class[0], Err(Reason::Image));
    }
}
