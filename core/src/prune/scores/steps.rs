//! Channels that go in whole multiples.

use std::collections::BTreeMap;

use super::{Candidate, Scores};
use crate::prune::channels::Channels;

impl Scores {
    /// The same, with the candidates in the order in which whole multiples of `step` go: of the classes that the same layers
    /// write, so many together as leave a multiple, by their mean. Rounding what a threshold leaves looks at the class in the
    /// middle alone, and takes with the many that are worth little the few that are worth much.
    #[must_use]
    pub fn in_steps(&self, channels: &Channels, step: usize) -> Self {
        let mut alike: BTreeMap<_, Vec<&Candidate>> = BTreeMap::new();
        for candidate in &self.candidates {
            alike.entry(channels.classes[candidate.class].layers()).or_default().push(candidate);
        }
        let mut width: BTreeMap<_, usize> = BTreeMap::new();
        channels.classes.iter().for_each(|class| *width.entry(class.layers()).or_default() += 1);
        let mut parts: Vec<(f64, &[&Candidate])> = Vec::new();
        for (layers, candidates) in &alike {
            // What is more than a multiple goes first.
            let (first, whole) = candidates.split_at((width[layers] % step).min(candidates.len()));
            for part in std::iter::once(first).chain(whole.chunks(step)).filter(|part| !part.is_empty()) {
                let sum: f64 = part.iter().map(|candidate| f64::from(candidate.score)).sum();
                parts.push((sum / part.len() as f64, part));
            }
        }
        // Parts of one worth in the order of their worst: an untrained net loses the same share of every layer.
        parts.sort_by(|(a, first), (b, second)| a.total_cmp(b).then(first[0].rank.total_cmp(&second[0].rank)));
        let candidates = parts.into_iter().flat_map(|(_, part)| part).map(|candidate| **candidate).collect();
        Self { candidates, ..self.clone() }
    }
}
