//! A machine on which layers of each kind were timed one by one, over a grid of sizes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Table;
use crate::graph::{Activation, Convolution, Graph, Layer, MaxPool, Op, Source};
use crate::{Error, Result};

/// The times of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The instructions that its kernels used.
    pub processor: String,
    /// Threads that shared each layer.
    pub threads: usize,
    /// What an activation takes longer than leaky, in nanoseconds a number.
    pub activation_ns: BTreeMap<String, f64>,
    /// The times of each kind of layer.
    pub tables: BTreeMap<Kind, Table>,
}

/// Kinds of layers that scale differently, with the axes of their tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// 1x1 convolution: channels in, channels out, side of the output map.
    Conv1x1,
    /// 3x3 convolution of stride 1: the same.
    Conv3x3,
    /// 3x3 convolution of stride 2: the same.
    Conv3x3Strided,
    /// 3x3 convolution of each channel by itself: channels, side of the output map.
    Depthwise,
    /// The same with stride 2.
    DepthwiseStrided,
    /// Max pool of stride 1: side of the window, numbers it writes.
    MaxPool,
    /// Max pool of stride 2: the same.
    MaxPoolStrided,
    /// Mean of whole maps: numbers it reads.
    AveragePool,
    /// Sum of two maps: numbers it writes.
    Shortcut,
    /// Product of maps: numbers it writes.
    Product,
    /// Nearest-neighbour upsampling: numbers it writes.
    Upsample,
    /// Concatenation or slice: numbers it writes.
    Route,
    /// Space to depth: numbers it writes.
    Reorg,
}

/// Where a layer's time is looked up.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// In which table.
    pub kind: Kind,
    /// One size an axis.
    pub sizes: Vec<f64>,
    /// How many times that.
    pub times: f64,
}

impl Query {
    /// What `layer` asks for; none for layers that only name a map that is there already, or that inference computes on
    /// the way of another.
    #[must_use]
    pub fn of(graph: &Graph, layer: usize) -> Option<Self> {
        let l = &graph.layers[layer];
        if on_the_way(graph, layer) {
            return None;
        }
        let written = l.shape.len() as f64;
        let simple = |kind| Some(Self { kind, sizes: vec![written], times: 1.0 });
        match &l.op {
            Op::Convolution(c) => Some(Self::convolution(c, graph.input_shape(layer).channels, l.shape.area())),
            Op::MaxPool(p) => {
                let kind = if p.stride_x * p.stride_y > 1 { Kind::MaxPoolStrided } else { Kind::MaxPool };
                Some(Self { kind, sizes: vec![p.size as f64, written], times: 1.0 })
            }
            Op::AveragePool => {
                Some(Self { kind: Kind::AveragePool, sizes: vec![graph.input_shape(layer).len() as f64], times: 1.0 })
            }
            Op::Shortcut { .. } => {
                Some(Self { times: (l.inputs.len() - 1) as f64, kind: Kind::Shortcut, sizes: vec![written] })
            }
            Op::ScaleChannels { .. } | Op::Sam { .. } => simple(Kind::Product),
            Op::Upsample { .. } => simple(Kind::Upsample),
            Op::Route { groups: 1, .. } if l.inputs.len() == 1 => None,
            Op::Route { .. } => simple(Kind::Route),
            Op::Reorg { .. } => simple(Kind::Reorg),
            Op::Dropout { .. } | Op::Yolo(_) => None,
        }
    }

    /// Kernels of other sides count by their taps; groups one after the other.
    fn convolution(c: &Convolution, channels_in: usize, area: usize) -> Self {
        let side = (area as f64).sqrt();
        let strided = c.stride_x * c.stride_y > 1;
        let taps = (c.size * c.size) as f64 / 9.0;
        if c.is_depthwise(channels_in) {
            let kind = if strided { Kind::DepthwiseStrided } else { Kind::Depthwise };
            return Self { kind, sizes: vec![c.filters as f64, side], times: taps };
        }
        let (kind, taps) = match (c.size, strided) {
            (1, _) => (Kind::Conv1x1, 1.0),
            (3, false) if c.dilation == 1 && c.groups == 1 => (Kind::Conv3x3, 1.0),
            _ => (Kind::Conv3x3Strided, taps),
        };
        let [channels_in, filters] = [channels_in, c.filters].map(|n| (n / c.groups) as f64);
        Self { kind, sizes: vec![channels_in, filters, side], times: taps * c.groups as f64 }
    }
}

/// Whether this machine's inference pools in the convolution before, or leaves an upsampling to the concatenation after.
fn on_the_way(graph: &Graph, layer: usize) -> bool {
    let l = &graph.layers[layer];
    let readers = |of: usize| graph.layers.iter().filter(move |l| l.inputs.contains(&Source::Layer(of)));
    match (&l.op, l.inputs[0]) {
        (Op::MaxPool(MaxPool { size: 2, stride_y: 2, stride_x: 2, padding: 0 | 1 }), Source::Layer(before)) => {
            let Layer { op, shape, .. } = &graph.layers[before];
            let halves = shape.width.is_multiple_of(2) && shape.height.is_multiple_of(2);
            // Of the largest sum alone an activation is taken; it must be the largest value.
            let rises =
                |a| !matches!(a, Activation::Mish | Activation::Swish | Activation::HardSwish | Activation::HardMish);
            let convolves = matches!(op, Op::Convolution(c) if rises(c.activation));
            halves && convolves && readers(before).count() == 1
        }
        (Op::Upsample { .. }, _) => {
            let joins = |reader: &Layer| matches!(reader.op, Op::Route { groups: 1, .. }) && reader.inputs.len() > 1;
            readers(layer).count() == 1 && readers(layer).all(joins)
        }
        _ => false,
    }
}

impl Measured {
    /// Milliseconds of one layer for one image; 0 for a kind that was not measured.
    #[must_use]
    pub fn layer_ms(&self, graph: &Graph, layer: usize) -> f64 {
        let Some(query) = Query::of(graph, layer) else { return 0.0 };
        let l = &graph.layers[layer];
        let table = self.tables.get(&query.kind).map_or(0.0, |table| query.times * table.at(&query.sizes));
        let activation = match &l.op {
            Op::Convolution(Convolution { activation, .. })
            | Op::Shortcut { activation }
            | Op::ScaleChannels { activation }
            | Op::Sam { activation } => *activation,
            _ => Activation::Leaky,
        };
        let more = self.activation_ns.get(activation.name()).copied().unwrap_or(0.0);
        table + more * l.shape.len() as f64 * 1e-6
    }

    /// The same machine where everything takes `factor` times as long.
    #[must_use]
    pub fn slower(mut self, factor: f64) -> Self {
        self.tables.values_mut().flat_map(|table| &mut table.ms).for_each(|ms| *ms *= factor);
        self.activation_ns.values_mut().for_each(|ns| *ns *= factor);
        self
    }

    /// Checks every table.
    ///
    /// # Errors
    /// Names the table that is none, or whose axes are not those of its kind.
    pub fn check(&self) -> Result<()> {
        for (kind, table) in &self.tables {
            table.check().map_err(|e| e.inside(kind.name()))?;
            if !table.axes.iter().map(|axis| axis.name.as_str()).eq(kind.axes().iter().copied()) {
                return Err(Error::at(kind.name(), "has other axes than its kind").fix("measure again"));
            }
        }
        if let Some((name, ns)) = self.activation_ns.iter().find(|(_, ns)| !(ns.is_finite() && **ns >= 0.0)) {
            return Err(Error::at(name, format!("{ns} ns is no time")).fix("measure again"));
        }
        Ok(())
    }
}

impl Kind {
    /// The name that profiles use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv1x1 => "conv1x1",
            Self::Conv3x3 => "conv3x3",
            Self::Conv3x3Strided => "conv3x3-strided",
            Self::Depthwise => "depthwise",
            Self::DepthwiseStrided => "depthwise-strided",
            Self::MaxPool => "max-pool",
            Self::MaxPoolStrided => "max-pool-strided",
            Self::AveragePool => "average-pool",
            Self::Shortcut => "shortcut",
            Self::Product => "product",
            Self::Upsample => "upsample",
            Self::Route => "route",
            Self::Reorg => "reorg",
        }
    }

    /// What the axes of its table are.
    #[must_use]
    pub fn axes(self) -> &'static [&'static str] {
        match self {
            Self::Conv1x1 | Self::Conv3x3 | Self::Conv3x3Strided => &["channels_in", "channels_out", "side"],
            Self::Depthwise | Self::DepthwiseStrided => &["channels", "side"],
            Self::MaxPool | Self::MaxPoolStrided => &["window", "numbers"],
            _ => &["numbers"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Axis;
    use super::*;
    use crate::darknet::Cfg;

    fn graph(layers: &str) -> Graph {
        let text = format!("[net]\nwidth=8\nheight=8\nchannels=4\n{layers}");
        Graph::from_cfg(&Cfg::parse(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn each_layer_kind_is_looked_up_by_its_sizes() {
        let c = "[convolutional]\nfilters=6\n";
        let cases = [
            (c.to_owned(), Some((Kind::Conv1x1, vec![4.0, 6.0, 8.0], 1.0))),
            (format!("{c}size=3\npad=1\n"), Some((Kind::Conv3x3, vec![4.0, 6.0, 8.0], 1.0))),
            (format!("{c}size=3\npad=1\nstride=2\n"), Some((Kind::Conv3x3Strided, vec![4.0, 6.0, 4.0], 1.0))),
            (format!("{c}size=6\npad=1\nstride=2\n"), Some((Kind::Conv3x3Strided, vec![4.0, 6.0, 5.0], 4.0))),
            (format!("{c}size=3\npad=1\ngroups=2\n"), Some((Kind::Conv3x3Strided, vec![2.0, 3.0, 8.0], 2.0))),
            (
                "[convolutional]\nfilters=4\nsize=3\npad=1\ngroups=4\n".to_owned(),
                Some((Kind::Depthwise, vec![4.0, 8.0], 1.0)),
            ),
            ("[maxpool]\nsize=2\nstride=2\n".to_owned(), Some((Kind::MaxPoolStrided, vec![2.0, 64.0], 1.0))),
            ("[maxpool]\nsize=5\nstride=1\n".to_owned(), Some((Kind::MaxPool, vec![5.0, 256.0], 1.0))),
            ("[avgpool]\n".to_owned(), Some((Kind::AveragePool, vec![256.0], 1.0))),
            (format!("{c}{c}{c}[shortcut]\nfrom=0,1\n"), Some((Kind::Shortcut, vec![384.0], 2.0))),
            (format!("{c}[upsample]\n"), Some((Kind::Upsample, vec![1536.0], 1.0))),
            (format!("{c}[maxpool]\nsize=2\nstride=2\n"), None),
            (format!("{c}[route]\nlayers=0\n"), None),
            (format!("{c}[route]\nlayers=0\ngroups=2\n"), Some((Kind::Route, vec![192.0], 1.0))),
            ("[reorg]\nstride=2\n".to_owned(), Some((Kind::Reorg, vec![256.0], 1.0))),
        ];
        for (layers, wanted) in cases {
            let graph = graph(&layers);
            let wanted = wanted.map(|(kind, sizes, times)| Query { kind, sizes, times });
            assert_eq!(Query::of(&graph, graph.layers.len() - 1), wanted, "{layers}");
            assert!(wanted.is_none_or(|q| q.kind.axes().len() == q.sizes.len()));
        }
    }

    #[test]
    fn a_layer_takes_what_its_table_says_and_its_activation_more() {
        let axis = |name: &str| Axis { name: name.to_owned(), step: 1, at: vec![1.0, 64.0] };
        let table = Table { axes: Kind::Conv1x1.axes().iter().map(|a| axis(a)).collect(), ms: vec![0.5; 8] };
        let mut measured = Measured {
            processor: "any".to_owned(),
            threads: 1,
            activation_ns: BTreeMap::from([("mish".to_owned(), 1000.0)]),
            tables: BTreeMap::from([(Kind::Conv1x1, table)]),
        };
        measured.check().unwrap();
        let net = graph("[convolutional]\nfilters=6\nactivation=mish\n[convolutional]\nfilters=6\nactivation=leaky\n");
        assert!((measured.layer_ms(&net, 0) - (0.5 + 0.384)).abs() < 1e-9);
        assert!((measured.layer_ms(&net, 1) - 0.5).abs() < 1e-9);
        assert!((measured.clone().slower(3.0).layer_ms(&net, 0) - 3.0 * (0.5 + 0.384)).abs() < 1e-9);
        let table = measured.tables.remove(&Kind::Conv1x1).unwrap();
        measured.tables.insert(Kind::Reorg, table);
        assert!(measured.check().unwrap_err().to_string().starts_with("reorg: has other axes"));
    }
}
