//! A chip that computes with an array of multiply-add units: each cycle it takes some input channels, output channels
//! and columns at once, and everything goes through one memory bus.

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Op};
use crate::{Error, Result};

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Who says so.
    pub source: String,
}

/// The values of a chip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MacArray {
    /// Input channels of a cycle.
    pub channels_in: Sourced<usize>,
    /// Output channels of a cycle.
    pub channels_out: Sourced<usize>,
    /// Output columns of a cycle.
    pub columns: Sourced<usize>,
    /// Cycles of a microsecond.
    pub clock_mhz: Sourced<f64>,
    /// Cores that share a net.
    pub cores: Sourced<usize>,
    /// The share of its cycles that a core computes in, 0 to 1.
    pub clock_use: Sourced<f64>,
    /// Bytes of a weight or an activation.
    pub bytes_per_number: Sourced<f64>,
    /// 10^9 bytes a second; `inf` where the bus never limits.
    pub bandwidth_gb_s: Sourced<f64>,
    /// Milliseconds that each layer takes whatever its size.
    pub layer_overhead_ms: Sourced<f64>,
}

/// What a layer or net asks of the chip.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Cycles of one core.
    pub cycles: f64,
    /// Bytes over the bus: weights, and activations read and written.
    pub bytes: f64,
    /// Layers that are started.
    pub layers: f64,
}

impl MacArray {
    /// What `layer` asks for one image. Layers that only name a map that is there already ask nothing.
    #[must_use]
    pub fn work(&self, graph: &Graph, layer: usize) -> Work {
        let l = &graph.layers[layer];
        let numbers = |n: usize| n as f64 * self.bytes_per_number.value;
        let read: usize = l.inputs.iter().map(|input| graph.shape(*input).len()).sum();
        match &l.op {
            Op::Dropout { .. } | Op::Yolo(_) => Work::default(),
            Op::Route { groups: 1, .. } if l.inputs.len() == 1 => Work::default(),
            // Of grouped inputs only the slice is read.
            Op::Route { .. } => Work { cycles: 0.0, bytes: numbers(2 * l.shape.len()), layers: 1.0 },
            Op::Convolution(c) => {
                let channels = graph.input_shape(layer).channels;
                let blocks = (channels / c.groups).div_ceil(self.channels_in.value)
                    * (c.filters / c.groups).div_ceil(self.channels_out.value)
                    * l.shape.width.div_ceil(self.columns.value);
                let cycles = (c.groups * blocks * l.shape.height * c.size * c.size) as f64;
                let weights = c.kernel_len(channels) + c.filters;
                Work { cycles, bytes: numbers(weights + read + l.shape.len()), layers: 1.0 }
            }
            _ => Work { cycles: 0.0, bytes: numbers(read + l.shape.len()), layers: 1.0 },
        }
    }

    /// What all layers ask for one image.
    #[must_use]
    pub fn net_work(&self, graph: &Graph) -> Work {
        (0..graph.layers.len()).map(|layer| self.work(graph, layer)).fold(Work::default(), |a, b| Work {
            cycles: a.cycles + b.cycles,
            bytes: a.bytes + b.bytes,
            layers: a.layers + b.layers,
        })
    }

    /// Milliseconds of one layer for one image.
    #[must_use]
    pub fn layer_ms(&self, graph: &Graph, layer: usize) -> f64 {
        self.milliseconds(self.work(graph, layer))
    }

    /// Milliseconds of some work.
    #[must_use]
    pub fn milliseconds(&self, work: Work) -> f64 {
        work.cycles * self.ms_per_cycle() + work.bytes * self.ms_per_byte() + work.layers * self.layer_overhead_ms.value
    }

    /// Milliseconds of a cycle's work, all cores at their share of use.
    #[must_use]
    pub fn ms_per_cycle(&self) -> f64 {
        self.ms_per_cycle_at_best() / self.clock_use.value
    }

    /// Milliseconds of a cycle's work when no cycle is lost.
    #[must_use]
    pub fn ms_per_cycle_at_best(&self) -> f64 {
        1e-3 / (self.clock_mhz.value * self.cores.value as f64)
    }

    /// Milliseconds of a byte on the bus.
    #[must_use]
    pub fn ms_per_byte(&self) -> f64 {
        1e-6 / self.bandwidth_gb_s.value
    }

    /// Checks every value's range.
    ///
    /// # Errors
    /// Names the first value that no chip has.
    pub fn check(&self) -> Result<()> {
        let above_zero = |v: f64| v > 0.0;
        let counts = [
            ("channels_in", self.channels_in.value),
            ("channels_out", self.channels_out.value),
            ("columns", self.columns.value),
            ("cores", self.cores.value),
        ];
        let all = counts.map(|(name, value)| (name, value as f64, value > 0)).into_iter().chain([
            ("clock_mhz", self.clock_mhz.value, above_zero(self.clock_mhz.value) && self.clock_mhz.value.is_finite()),
            ("clock_use", self.clock_use.value, above_zero(self.clock_use.value) && self.clock_use.value <= 1.0),
            ("bytes_per_number", self.bytes_per_number.value, (0.1..=8.0).contains(&self.bytes_per_number.value)),
            ("bandwidth_gb_s", self.bandwidth_gb_s.value, above_zero(self.bandwidth_gb_s.value)),
            ("layer_overhead_ms", self.layer_overhead_ms.value, (0.0..1e6).contains(&self.layer_overhead_ms.value)),
        ]);
        for (name, value, good) in all {
            if !good {
                return Err(Error::at(name, format!("{value} is out of range")).fix("correct the profile"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Device, Profile};
    use super::*;
    use crate::darknet::Cfg;

    fn chip() -> MacArray {
        let Device::MacArray(chip) = Profile::find("hi3559a").unwrap().device else { panic!("an array") };
        *chip
    }

    fn graph(layers: &str) -> Graph {
        let text = format!("[net]\nwidth=40\nheight=20\nchannels=3\n{layers}");
        Graph::from_cfg(&Cfg::parse(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_layer_asks_for_whole_blocks_and_for_all_that_it_moves() {
        let conv = "[convolutional]\nfilters=5\nsize=3\npad=1\n";
        let deep = "[convolutional]\nfilters=17\nsize=1\n";
        // Columns: 40 are three blocks of 16.
        let cases = [
            (conv.to_owned(), 0, 2 * 3 * 20 * 9, 3 * 800 + 5 * 800 + 5 * 27 + 5, 1),
            (format!("{deep}{deep}"), 1, 2 * 5 * 3 * 20, 2 * 17 * 800 + 17 * 17 + 17, 1),
            (format!("{deep}[convolutional]\nfilters=17\nsize=3\npad=1\ngroups=17\n"), 1, 17 * 3 * 20 * 9, 27370, 1),
            (format!("{deep}[maxpool]\nsize=2\nstride=2\n"), 1, 0, 17 * 1000, 1),
            (format!("{deep}{deep}[shortcut]\nfrom=-2\n"), 2, 0, 3 * 17 * 800, 1),
            (format!("{deep}{conv}[route]\nlayers=0,1\n"), 2, 0, 2 * 22 * 800, 1),
            (format!("{deep}[route]\nlayers=0\n"), 1, 0, 0, 0),
            (format!("{deep}[dropout]\n"), 1, 0, 0, 0),
        ];
        for (layers, layer, cycles, bytes, started) in cases {
            let wanted = Work { cycles: f64::from(cycles), bytes: f64::from(bytes), layers: f64::from(started) };
            assert_eq!(chip().work(&graph(&layers), layer), wanted, "{layers}");
        }
    }

    #[test]
    fn time_is_cycles_by_clock_and_bytes_by_bandwidth_and_overhead() {
        let mut chip = chip();
        chip.layer_overhead_ms.value = 0.25;
        chip.clock_use.value = 0.5;
        chip.cores.value = 2;
        let work = Work { cycles: 840e3, bytes: 20e6, layers: 4.0 };
        assert!((chip.milliseconds(work) - (1.0 + 2.0 + 1.0)).abs() < 1e-12);
        chip.bandwidth_gb_s.value = f64::INFINITY;
        assert!((chip.milliseconds(work) - 2.0).abs() < 1e-12);
    }
}
