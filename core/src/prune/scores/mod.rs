//! What filters are worth, and what a class is worth. One criterion a file; [`Join`] makes one score of those of a
//! class's members, [`Normalise`] makes layers comparable.

mod criterion;
pub mod deviation;
pub mod gamma;
pub mod gamma_norm;
pub mod geometric_median;
mod join;
pub mod l1;
pub mod l2;
mod normalise;
mod steps;
pub mod taylor;
#[cfg(test)]
mod tests;

pub use criterion::Criterion;
pub use join::Join;
pub use normalise::Normalise;

use std::collections::BTreeSet;

use super::channels::{Channels, Class, ClassId};
use super::{Evidence, Groups, PruneOptions, Reason};
use crate::Network;
use crate::network::ConvWeights;

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
    /// What every filter is worth, by layer, normalised.
    pub filters: Vec<Option<Vec<f32>>>,
}

impl Scores {
    /// Scores every class of `channels` by `options.score`, `options.normalise`, `options.join` and
    /// `options.groups`.
    #[must_use]
    pub fn of(network: &Network, channels: &Channels, options: &PruneOptions, evidence: &Evidence) -> Self {
        let normalise = options.normalise();
        let mut filters: Vec<Option<Vec<f32>>> = vec![None; network.graph.layers.len()];
        for (layer, _) in network.graph.convolutions() {
            filters[layer] = options.score.scores(network, layer, evidence);
            filters[layer].iter_mut().for_each(|scores| normalise.apply(scores));
            if let Some(factor) = evidence.factors.as_ref().and_then(|factors| factors.get(&layer)) {
                filters[layer].iter_mut().flatten().for_each(|score| *score *= factor);
            }
        }
        Self::of_filters(channels, filters, options, evidence.only.as_ref())
    }

    /// The scores of classes whose filters are worth `filters`, by layer. Where `only` some layers are tried, the classes
    /// that just these write have one.
    #[must_use]
    pub fn of_filters(
        channels: &Channels,
        filters: Vec<Option<Vec<f32>>>,
        options: &PruneOptions,
        only: Option<&BTreeSet<usize>>,
    ) -> Self {
        let tried = |class: &Class| only.is_none_or(|only| class.layers() == *only);
        let of_class = |class: &Class| {
            let score = score(class, &filters, options)?;
            if tried(class) { Ok(score) } else { Err(Reason::NotTried) }
        };
        let by_class: Vec<_> = channels.classes.iter().map(of_class).collect();
        let scored = by_class.iter().enumerate().filter_map(|(class, s)| s.as_ref().ok().map(|s| (class, *s)));
        let mut candidates: Vec<_> = scored.map(|(class, (score, rank))| Candidate { class, score, rank }).collect();
        sort(&mut candidates);
        Self { candidates, by_class, filters }
    }

    /// The same, with each class's score divided by its cost in `costs`.
    #[must_use]
    pub fn per_cost(&self, costs: &[f64]) -> Self {
        let mut scores = self.clone();
        let per_cost = |score: f32, class: ClassId| (f64::from(score) / costs[class]) as f32;
        scores.candidates.iter_mut().for_each(|c| c.score = per_cost(c.score, c.class));
        sort(&mut scores.candidates);
        for (class, scored) in scores.by_class.iter_mut().enumerate() {
            if let Ok((score, _)) = scored {
                *score = per_cost(*score, class);
            }
        }
        scores
    }

    /// Orders classes that may go by their worth; those that have no score come last.
    #[must_use]
    pub fn worth(&self, class: ClassId) -> (f32, f32) {
        *self.by_class[class].as_ref().unwrap_or(&(f32::INFINITY, 0.0))
    }
}

fn sort(candidates: &mut [Candidate]) {
    candidates.sort_by(|a, b| a.score.total_cmp(&b.score).then(a.rank.total_cmp(&b.rank)));
}

fn score(class: &Class, filters: &[Option<Vec<f32>>], options: &PruneOptions) -> Result<(f32, f32), Reason> {
    if let Some(reason) = class.protected {
        return Err(reason);
    }
    if options.groups == Groups::Frozen && class.tied {
        return Err(Reason::Frozen);
    }
    let score = options.join.score(class, filters).ok_or(Reason::NoScore)?;
    let rank = class.producers.first().map_or(0.0, |p| {
        let filters = filters[p.layer].as_ref().map_or(1, Vec::len);
        p.filter as f32 / filters as f32
    });
    Ok((score, rank))
}

/// The weights of each filter, `[channels_in / groups, size, size]` each.
fn filters(weights: &ConvWeights) -> impl Iterator<Item = &[f32]> {
    let row = weights.kernel.len() / weights.bias.len().max(1);
    weights.kernel.chunks(row.max(1))
}
