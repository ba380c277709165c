//! From the classes that score low to the classes that can go: floors, carriers, equal groups and multiples hold
//! some of them. Where multiples are rounded down a few more go, at first; then classes are only ever brought back, so this ends.

use std::cmp::Ordering;

use super::carriers::Readers;
use super::channels::{Channels, ClassId};
use super::scores::Scores;
use super::{PruneOptions, Reason};
use crate::graph::{Graph, Op};

/// How many of `count` a `share` is, rounded down, but not by what decimals miss in binary.
#[must_use]
pub fn portion(count: usize, share: f64) -> usize {
    (count as f64 * share + 1e-9) as usize
}

/// What becomes of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes.
    Goes,
    /// It goes as a channel and stays as a carrier of constants.
    Carries,
    /// It stays because it scores high enough.
    Scores,
    /// It stays for another reason.
    Stays(Reason),
}

impl Fate {
    /// Whether the channel is there in the slim net.
    #[must_use]
    pub fn is_kept(self) -> bool {
        self != Self::Goes
    }
}

/// Everything but scores that decides what can go.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Why classes without a score stay, by class.
    held: Vec<Option<Reason>>,
    /// The worth of each class.
    worth: Vec<(f32, f32)>,
    /// The outputs of every convolution that makes classes, and how many channels stay at least.
    floors: Vec<(Vec<ClassId>, usize)>,
    /// Parts that must be equally wide.
    balanced: Vec<Vec<Vec<ClassId>>>,
    /// Lists whose width becomes a multiple.
    rounded: Vec<Vec<ClassId>>,
    multiple_of: usize,
    readers: Readers,
}

impl Limits {
    /// The limits that `graph` and `options` set.
    #[must_use]
    pub fn of(graph: &Graph, channels: &Channels, scores: &Scores, readers: Readers, options: &PruneOptions) -> Self {
        let mut limits = Self {
            held: scores.by_class.iter().map(|s| s.err()).collect(),
            worth: (0..channels.classes.len()).map(|class| scores.worth(class)).collect(),
            floors: Vec::new(),
            balanced: Vec::new(),
            rounded: Vec::new(),
            multiple_of: options.multiple_of,
            readers,
        };
        let parts = |list: &[ClassId], n: usize| -> Vec<Vec<ClassId>> {
            list.chunks(list.len().div_ceil(n).max(1)).map(<[ClassId]>::to_vec).collect()
        };
        for (i, layer) in graph.layers.iter().enumerate() {
            let output = &channels.outputs[i];
            match &layer.op {
                Op::Convolution(c) if !c.is_depthwise(channels.read(layer.inputs[0]).len()) => {
                    // Down to a multiple: up, a second pruning of the same layer could take nothing of it.
                    let least = portion(output.len(), options.min_keep);
                    let floor = (least - least % options.multiple_of).max(1);
                    limits.floors.push((output.clone(), floor));
                    limits.rounded.extend(parts(output, c.groups));
                    limits.balance(parts(channels.read(layer.inputs[0]), c.groups));
                    limits.balance(parts(output, c.groups));
                }
                Op::Route { groups, .. } => {
                    for input in &layer.inputs {
                        limits.balance(parts(channels.read(*input), *groups));
                    }
                }
                _ => {}
            }
        }
        limits
    }

    fn balance(&mut self, parts: Vec<Vec<ClassId>>) {
        if parts.len() > 1 && !self.balanced.contains(&parts) {
            self.rounded.extend(parts.iter().cloned());
            self.balanced.push(parts);
        }
    }

    /// The fate of every class when those for which `low` holds score too low.
    #[must_use]
    pub fn settle(&self, low: &[bool]) -> Vec<Fate> {
        let fate = |(held, low): (&Option<Reason>, &bool)| match held {
            Some(reason) => Fate::Stays(*reason),
            None if *low => Fate::Goes,
            None => Fate::Scores,
        };
        let mut fates: Vec<Fate> = self.held.iter().zip(low).map(fate).collect();
        // A carrier beside a whole multiple would bring back the rest of another, so that carriers are counted in a second time.
        for _ in 0..if self.multiple_of > 1 { 2 } else { 1 } {
            self.round_down(&mut fates);
            for (list, floor) in &self.floors {
                self.bring_back(&mut fates, list, *floor, Reason::Floor);
            }
            self.choose_carriers(&mut fates);
        }
        while self.even_out(&mut fates) | self.round_up(&mut fates) {}
        self.release_carriers(&mut fates);
        fates
    }

    /// Which of two classes is worth less.
    fn compare(&self, a: ClassId, b: ClassId) -> Ordering {
        self.worth[a].partial_cmp(&self.worth[b]).unwrap_or(Ordering::Equal)
    }

    /// Brings the best classes of `list` back until `wanted` of its channels stay; whether any came.
    fn bring_back(&self, fates: &mut [Fate], list: &[ClassId], wanted: usize, reason: Reason) -> bool {
        let mut gone: Vec<ClassId> = list.iter().copied().filter(|id| !fates[*id].is_kept()).collect();
        let mut kept = list.len() - gone.len();
        if kept >= wanted {
            return false;
        }
        // Of one class several channels may be in the list, side by side here.
        gone.sort_by(|a, b| self.compare(*b, *a).then(a.cmp(b)));
        for same in gone.chunk_by(PartialEq::eq) {
            if kept >= wanted {
                break;
            }
            fates[same[0]] = Fate::Stays(reason);
            kept += same.len();
        }
        true
    }

    fn even_out(&self, fates: &mut [Fate]) -> bool {
        let mut changed = false;
        for parts in &self.balanced {
            let widths = parts.iter().map(|part| part.iter().filter(|id| fates[**id].is_kept()).count());
            let widest = widths.max().unwrap_or(0);
            for part in parts {
                changed |= self.bring_back(fates, part, widest, Reason::Balance);
            }
        }
        changed
    }

    /// Lets what a list has in excess of a multiple go where that is less than half of one: rounded up alone, narrow layers
    /// would take the room of wide ones. What other lists need comes back later.
    fn round_down(&self, fates: &mut [Fate]) {
        for list in &self.rounded {
            let kept = list.iter().filter(|id| fates[**id].is_kept()).count();
            let excess = kept % self.multiple_of;
            if excess == 0 || kept == list.len() || kept < self.multiple_of || 2 * excess >= self.multiple_of {
                continue;
            }
            let mut least: Vec<ClassId> = list.iter().copied().filter(|id| fates[*id] == Fate::Scores).collect();
            least.sort_by(|a, b| self.compare(*a, *b).then(a.cmp(b)));
            least.into_iter().take(excess).for_each(|id| fates[id] = Fate::Goes);
        }
    }

    fn round_up(&self, fates: &mut [Fate]) -> bool {
        let mut changed = false;
        for list in &self.rounded {
            let kept = list.iter().filter(|id| fates[**id].is_kept()).count();
            let wanted = kept.next_multiple_of(self.multiple_of).min(list.len());
            changed |= self.bring_back(fates, list, wanted, Reason::Multiple);
        }
        changed
    }

    fn choose_carriers(&self, fates: &mut [Fate]) {
        let removed: Vec<bool> = fates.iter().map(|f| *f == Fate::Goes).collect();
        let carries = |id: ClassId| fates[id] == Fate::Carries;
        for carrier in self.readers.carriers(&removed, carries, |id| self.worth[id]) {
            fates[carrier] = Fate::Carries;
        }
    }

    /// A carrier that carries nothing but itself stays as the channel that it was: it costs the same.
    fn release_carriers(&self, fates: &mut [Fate]) {
        let removed: Vec<bool> = fates.iter().map(|f| *f == Fate::Goes).collect();
        for (id, fate) in fates.iter_mut().enumerate() {
            if *fate == Fate::Carries && !self.readers.need(id, &removed) {
                *fate = Fate::Stays(Reason::CarriesConstants);
            }
        }
    }
}
