//! Distributions of batch normalisation's gammas: what sparsity training changes and pruning goes by.

use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::prune::PruneOptions;
use crate::prune::channels::{Channels, Filter};
use crate::prune::scores::Scores;

/// The distribution of absolute BN gammas over a network.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GammaSummary {
    /// Minimum, quartiles and maximum.
    pub quantiles: [f32; 5],
    /// Share below a hundredth of the mean of the largest tenth.
    pub near_zero: f64,
    /// Share that is exactly zero.
    pub zero: f64,
    /// The share of the prunable channels, in the order in which pruning takes them, that together hold no more than a
    /// hundredth of all |gamma|: a share of channels that can be asked for without much harm. 0 where only gammas are
    /// known, not the net that they belong to.
    #[serde(default)]
    pub safe: f64,
    /// The same by layer.
    #[serde(default)]
    pub layers: Vec<LayerGammas>,
}

/// The absolute BN gammas of one layer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LayerGammas {
    /// Layer index.
    pub layer: usize,
    /// Its channels.
    pub channels: usize,
    /// Minimum, quartiles and maximum.
    pub quantiles: [f32; 5],
    /// Share of its channels that are near zero, by the limit of the whole network.
    pub near_zero: f64,
    /// How many channels have which |gamma|; empty in records of old versions.
    #[serde(default)]
    pub histogram: Histogram,
}

/// Counts of absolute BN gammas in bins that are the same for every layer and epoch, so that they can be added up and
/// compared: exactly zero or under 1e-4, then five a factor of ten up to 10, then what is larger.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// Channels in each bin, lowest first; [`Histogram::BINS`] of them, or none. In JSON one string, since a line a
    /// number would make records long.
    #[serde(with = "counts")]
    pub counts: Vec<u32>,
    /// Sum of the values.
    pub sum: f64,
    /// Sum of their squares.
    pub sum_squares: f64,
}

impl Histogram {
    /// Number of bins.
    pub const BINS: usize = 27;

    /// The histogram of absolute values.
    #[must_use]
    pub fn of(values: &[f32]) -> Self {
        let mut counts = vec![0; Self::BINS];
        values.iter().for_each(|v| counts[Self::bin(*v)] += 1);
        let values = values.iter().map(|v| f64::from(*v));
        Self { counts, sum: values.clone().sum(), sum_squares: values.map(|v| v * v).sum() }
    }

    /// The value that the bins up to `bin` end at; infinite for the last.
    #[must_use]
    pub fn limit(bin: usize) -> f64 {
        if bin + 1 < Self::BINS { 10f64.powf(bin as f64 / 5.0 - 4.0) } else { f64::INFINITY }
    }

    fn bin(value: f32) -> usize {
        (0..Self::BINS - 1).find(|bin| f64::from(value) <= Self::limit(*bin)).unwrap_or(Self::BINS - 1)
    }
}

/// Counts as one string of numbers.
mod counts {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(counts: &[u32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&counts.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
        String::deserialize(from)?.split_whitespace().map(|n| n.parse().map_err(D::Error::custom)).collect()
    }
}

/// The share of all |gamma| that counts as little.
const LITTLE: f64 = 0.01;

impl GammaSummary {
    /// Summarises the gammas of the layers of a net; none for no gammas.
    #[must_use]
    pub fn of_net<'a>(graph: &Graph, layers: impl IntoIterator<Item = (usize, &'a [f32])>) -> Option<Self> {
        let layers: Vec<(usize, &[f32])> = layers.into_iter().collect();
        Some(Self { safe: safe_share(graph, &layers), ..Self::new(layers.iter().copied())? })
    }

    /// Summarises the gammas of layers, given as `(layer, gammas)`; none for no gammas.
    #[must_use]
    pub fn new<'a>(layers: impl IntoIterator<Item = (usize, &'a [f32])>) -> Option<Self> {
        let layers: Vec<(usize, Vec<f32>)> = layers.into_iter().map(|(layer, g)| (layer, ascending(g))).collect();
        let all: Vec<f32> = layers.iter().flat_map(|(_, gammas)| gammas.iter().copied()).collect();
        let sorted = ascending(&all);
        let quantiles = quantiles(&sorted)?;
        let top = &sorted[sorted.len() - (sorted.len() / 10).max(1)..];
        let limit = top.iter().sum::<f32>() / top.len() as f32 / 100.0;
        let share = |n: usize, of: usize| n as f64 / of as f64;
        let near_zero = |sorted: &[f32]| share(sorted.partition_point(|g| *g <= limit), sorted.len());
        Some(Self {
            quantiles,
            near_zero: near_zero(&sorted),
            zero: share(sorted.partition_point(|g| *g == 0.0), sorted.len()),
            safe: 0.0,
            layers: layers
                .iter()
                .filter_map(|(layer, gammas)| {
                    Some(LayerGammas {
                        layer: *layer,
                        channels: gammas.len(),
                        quantiles: self::quantiles(gammas)?,
                        near_zero: near_zero(gammas),
                        histogram: Histogram::of(gammas),
                    })
                })
                .collect(),
        })
    }
}

/// The share of the classes of channels that may go, by the order of the default options, that hold little of all gammas, each
/// counted by its layer's mean.
fn safe_share(graph: &Graph, layers: &[(usize, &[f32])]) -> f64 {
    let channels = Channels::of(graph);
    let mut filters: Vec<Option<Vec<f32>>> = vec![None; graph.layers.len()];
    for (layer, gammas) in layers {
        filters[*layer] = Some(gammas.iter().map(|g| g.abs()).collect());
    }
    let options = PruneOptions::default();
    filters.iter_mut().flatten().for_each(|gammas| options.normalise().apply(gammas));
    let total: f64 = filters.iter().flatten().flatten().map(|g| f64::from(*g)).sum();
    let scores = Scores::of_filters(&channels, filters, &options, None);
    let held = |class: usize| -> f64 {
        let of = |p: &Filter| scores.filters[p.layer].as_ref().map_or(0.0, |gammas| f64::from(gammas[p.filter]));
        channels.classes[class].producers.iter().map(of).sum()
    };
    let mut sum = 0.0;
    let little = scores.candidates.iter().take_while(|candidate| {
        sum += held(candidate.class);
        sum <= LITTLE * total
    });
    // Rounded down, so that the share can be asked for and takes no more.
    (little.count() as f64 / scores.candidates.len().max(1) as f64 * 1e3).floor() / 1e3
}

/// Absolute values, ascending.
fn ascending(gammas: &[f32]) -> Vec<f32> {
    let mut sorted: Vec<f32> = gammas.iter().map(|g| g.abs()).collect();
    sorted.sort_by(f32::total_cmp);
    sorted
}

/// Minimum, quartiles and maximum; none of no values.
fn quantiles(sorted: &[f32]) -> Option<[f32; 5]> {
    let last = sorted.len().checked_sub(1)?;
    Some([0, 1, 2, 3, 4].map(|q| sorted[last * q / 4]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;
    use crate::darknet::Cfg;
    use crate::prune::{self, Evidence, Target};

    #[test]
    fn gammas_are_summarised_by_size_whatever_their_sign() {
        let summary = GammaSummary::new([(0, &[0.0, -1.0, 0.5][..]), (3, &[0.0, 0.001])]).unwrap();
        assert_eq!(summary.quantiles, [0.0, 0.0, 0.001, 0.5, 1.0]);
        assert_eq!((summary.zero, summary.near_zero), (0.4, 0.6));
        let histogram = Histogram::of(&[0.0, 0.001]);
        let quantiles = [0.0, 0.0, 0.0, 0.0, 0.001];
        let layer = LayerGammas { layer: 3, channels: 2, quantiles, near_zero: 1.0, histogram };
        assert_eq!(summary.layers[1], layer);
        assert_eq!(GammaSummary::new([]), None);
    }

    #[test]
    fn what_is_safe_is_a_share_that_pruning_can_be_asked_for() {
        let c = "[convolutional]\nbatch_normalize=1\nfilters=4\nactivation=leaky\n";
        let cfg = format!(
            "[net]\nwidth=8\nheight=8\n{c}{c}{c}[shortcut]\nfrom=0\nactivation=linear\n[convolutional]\nbatch_normalize=1\nfilters=4\n"
        );
        let mut network = Network::initialise(Cfg::parse(cfg.as_bytes()).unwrap(), 1).unwrap();
        // Layers 0 and 2 are tied: where one is zero the other is not, so nothing of theirs goes. Layer 4 is the head.
        for (layer, gammas) in
            [(0, [0.0, 0.0, 1.0, 1.0]), (1, [0.0, 0.0, 0.0, 1.0]), (2, [1.0, 1.0, 0.0, 0.0]), (4, [0.0; 4])]
        {
            // A layer's scale says nothing of what its channels are worth.
            let scale = if layer == 1 { 1e-3 } else { 1.0 };
            network.conv_mut(layer).norm.as_mut().unwrap().gamma = gammas.map(|gamma| gamma * scale).to_vec();
        }
        let layers =
            network.graph.convolutions().map(|(l, _)| (l, network.conv(l).norm.as_ref().unwrap().gamma.as_slice()));
        let safe = GammaSummary::of_net(&network.graph, layers).unwrap().safe;
        assert_eq!(safe, 0.375, "3 of 8 classes, though 11 of 16 gammas are zero");
        let target = Target::Channels(safe);
        let plan = prune::plan(&network, &PruneOptions { target, ..PruneOptions::default() }, &Evidence::default());
        assert_eq!(plan.unwrap().gamma_share, 0.0);
    }

    #[test]
    fn every_value_has_a_bin_and_bins_survive_json() {
        let histogram = Histogram::of(&[0.0, 1e-4, 2e-4, 1.0, 1.1, 1e9]);
        let filled: Vec<usize> = (0..Histogram::BINS).filter(|bin| histogram.counts[*bin] > 0).collect();
        assert_eq!(filled, [0, 2, 20, 21, 26]);
        assert_eq!(histogram.counts[0], 2);
        assert!(Histogram::limit(20) >= 1.0 && Histogram::limit(19) < 1.0 && Histogram::limit(26).is_infinite());
        let json = serde_json::to_string(&histogram).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), histogram);
    }
}
