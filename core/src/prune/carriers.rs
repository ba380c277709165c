//! The border case. A padded convolution sees zeros beyond the border where a removed channel would have stood
//! with its constant, so no bias makes up for it exactly. One removed channel of its input therefore stays as a
//! carrier: gamma 0 and beta 1, a known constant that ends at the border too, read through the taps that all
//! removed channels had together. Carriers are only kept where that contribution shows, and few serve many readers.

use super::channels::{Channels, ClassId};
use super::constants::Constants;
use crate::Network;

/// Contributions below this share of an output's standard deviation are rounding: f32 has 6e-8.
const NEGLIGIBLE: f64 = 1e-7;

/// A padded convolution's input (one group of it), and how much each channel shows at the border.
#[derive(Debug, Clone, PartialEq)]
struct Reader {
    /// The channels read.
    list: Vec<ClassId>,
    /// For each, the most that its absence can change any output, in standard deviations.
    shows: Vec<f64>,
}

/// All padded convolutions that are not depth-wise.
#[derive(Debug, Clone, PartialEq)]
pub struct Readers(Vec<Reader>);

impl Readers {
    /// The padded readers of `network`, for removed channels that leave `constants` behind.
    #[must_use]
    pub fn of(network: &Network, channels: &Channels, constants: &Constants) -> Self {
        let mut readers = Vec::new();
        for (layer, c) in network.graph.convolutions() {
            let source = network.graph.layers[layer].inputs[0];
            let (Some(before), list) = (source.layer(), channels.read(source)) else { continue };
            if c.pad == 0 || c.is_depthwise(list.len()) {
                continue;
            }
            let width = list.len() / c.groups;
            for (group, weights) in weight_of_inputs(network, layer, width, c.groups).into_iter().enumerate() {
                let part = group * width..(group + 1) * width;
                let shows = constants[before][part.clone()].iter().zip(weights).map(|(a, w)| a.abs() * w).collect();
                readers.push(Reader { list: list[part].to_vec(), shows });
            }
        }
        Self(readers)
    }

    /// The classes to keep as carriers when those for which `removed` holds go, beside those that are carriers already. `worth`
    /// breaks ties: the class worth least is given up.
    #[must_use]
    pub fn carriers(
        &self,
        removed: &[bool],
        carries: impl Fn(ClassId) -> bool,
        worth: impl Fn(ClassId) -> (f32, f32),
    ) -> Vec<ClassId> {
        let served = |reader: &Reader| reader.list.iter().any(|id| carries(*id));
        let is_open = |reader: &&Reader| reader.shown(removed) > NEGLIGIBLE && !served(reader);
        let mut open: Vec<&Reader> = self.0.iter().filter(is_open).collect();
        let mut carriers = Vec::new();
        while !open.is_empty() {
            let Some(carrier) = most_served(&open, removed, &worth) else { break };
            open.retain(|r| !r.list.contains(&carrier));
            carriers.push(carrier);
        }
        carriers
    }

    /// Whether some reader of `carrier` needs it because of other classes for which `removed` holds.
    #[must_use]
    pub fn need(&self, carrier: ClassId, removed: &[bool]) -> bool {
        self.0.iter().any(|r| r.list.contains(&carrier) && r.shown(removed) > NEGLIGIBLE)
    }
}

impl Reader {
    fn shown(&self, removed: &[bool]) -> f64 {
        self.list.iter().zip(&self.shows).filter(|(id, _)| removed[**id]).map(|(_, shows)| shows).sum()
    }
}

/// The removed class that most open readers read.
fn most_served(open: &[&Reader], removed: &[bool], worth: &impl Fn(ClassId) -> (f32, f32)) -> Option<ClassId> {
    let mut served = vec![0usize; removed.len()];
    let mut last = vec![usize::MAX; removed.len()];
    for (i, reader) in open.iter().enumerate() {
        for &id in reader.list.iter().filter(|id| removed[**id]) {
            if last[id] != i {
                (served[id], last[id]) = (served[id] + 1, i);
            }
        }
    }
    let ids = (0..removed.len()).filter(|id| served[*id] > 0);
    ids.max_by(|a, b| served[*a].cmp(&served[*b]).then_with(|| worth(*b).partial_cmp(&worth(*a)).unwrap_or(a.cmp(b))))
}

/// For each group and each of its input channels, the largest sum of |taps| over the filters, each filter's
/// relative to what it gives out: the standard deviation that normalisation divides by, else the sum of its weights.
fn weight_of_inputs(network: &Network, layer: usize, width: usize, groups: usize) -> Vec<Vec<f64>> {
    let weights = network.conv(layer);
    let filters = weights.bias.len();
    let taps = weights.kernel.len() / (filters * width).max(1);
    let inverse = weights.norm.as_ref().map(crate::network::BatchNorm::inverse_deviation);
    let mut largest = vec![vec![0.0f64; width]; groups];
    for (filter, kernel) in weights.kernel.chunks(width * taps).enumerate() {
        let scale = match &inverse {
            Some(inverse) => f64::from(inverse[filter]),
            None => 1.0 / kernel.iter().map(|w| f64::from(w.abs())).sum::<f64>().max(f64::MIN_POSITIVE),
        };
        let group = &mut largest[filter / (filters / groups)];
        for (largest, taps) in group.iter_mut().zip(kernel.chunks(taps)) {
            *largest = largest.max(scale * taps.iter().map(|w| f64::from(w.abs())).sum::<f64>());
        }
    }
    largest
}
