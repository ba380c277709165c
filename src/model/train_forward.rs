//! The forward pass of training: with batch statistics, keeping what the backward pass needs and no more.

use std::ops::Range;

use yoloslim_core::Result;
use yoloslim_core::graph::{Convolution, Op, Source};
use yoloslim_core::network::BatchNorm;
use yoloslim_kernels::{self as k, BatchNormView, Epilogue};

use super::pool::Buffer;
use super::segments::keeps_before;
use super::shared_norm::merge;
use super::tape::{Saved, Tape};
use super::train_net::{TrainNet, weights};
use super::{HeadMap, forward, kernels};

impl TrainNet {
    /// Runs `count` images, which may be 0, `[image][row][column][channel]` forward with batch statistics, updates the running
    /// ones, and gives the raw head maps.
    ///
    /// # Errors
    /// An input size that does not fit the graph.
    pub fn forward(
        &mut self,
        mut images: Vec<f32>,
        count: usize,
        width: usize,
        height: usize,
    ) -> Result<(Vec<HeadMap>, Tape)> {
        self.rounding.iter().for_each(|rounding| rounding.images(&mut images));
        let mut tape = Tape::new(self.graph_at(width, height)?, count, images, self.drops);
        let heads = self.stay_awake(|net| net.layers_forward(&mut tape));
        Ok((heads, tape))
    }

    /// Runs a pass with all threads awake. Where workers share statistics each waits for the others in it, and workers that are
    /// threads of one process must not do so on threads of its pool.
    pub(super) fn stay_awake<R: Send>(&mut self, pass: impl FnOnce(&mut Self) -> R + Send) -> R {
        if self.together.is_some() { pass(self) } else { k::awake(|| pass(self)) }
    }

    fn layers_forward(&mut self, tape: &mut Tape) -> Vec<HeadMap> {
        let mut heads = Vec::new();
        let ranges = self.segments.ranges().to_vec();
        for (segment, range) in ranges.iter().enumerate() {
            for layer in range.clone() {
                if self.program.owns(layer) {
                    self.compute(layer, tape);
                }
                if let Op::Yolo(_) = tape.graph.layers[layer].op {
                    heads.push(self.head_map(layer, tape));
                }
                self.give_back_read(layer, tape);
            }
            if segment + 1 < ranges.len() {
                self.give_back_inside(range.clone(), tape);
            }
        }
        heads
    }

    /// Computes the maps inside a segment again, as far as its backward pass needs them.
    pub(super) fn replay(&mut self, range: Range<usize>, tape: &mut Tape) {
        for layer in range {
            if self.program.owns(layer) && self.segments.is_inner(layer) && !tape.holds(layer) {
                self.compute(layer, tape);
            }
            self.give_back_read(layer, tape);
        }
    }

    /// Makes sure that the map at `home` is there.
    pub(super) fn restore(&mut self, home: Source, tape: &mut Tape) {
        if let Source::Layer(layer) = home
            && tape.layers[layer].out.is_none()
        {
            self.compute(layer, tape);
        }
    }

    /// The output of a layer in a forward pass, `[image][row][column][channel]`, computed again if it was given back.
    pub fn map<'t>(&mut self, layer: usize, tape: &'t mut Tape) -> &'t [f32] {
        let home = self.program.home(Source::Layer(layer));
        self.restore(home, tape);
        tape.read(home)
    }

    /// Computes a layer's output from what is kept of it or, if nothing is, from its inputs.
    fn compute(&mut self, layer: usize, tape: &mut Tape) {
        let mut saved = std::mem::take(&mut tape.layers[layer]);
        if saved.before.is_none() {
            for source in tape.graph.layers[layer].inputs.clone() {
                self.restore(self.program.home(source), tape);
            }
            let mut before = self.run_layer(layer, tape, &mut saved);
            if keeps_before(&tape.graph.layers[layer].op) {
                self.rounding.iter().for_each(|rounding| rounding.before(layer, &mut before));
                saved.before = Some(before);
            } else {
                self.rounding.iter().for_each(|rounding| rounding.after(layer, &mut before));
                saved.out = Some(before);
            }
        }
        if let Some(before) = &saved.before {
            let mut out = self.pool.take(before.len());
            self.normalise_activate(layer, tape, &saved, before, &mut out);
            self.rounding.iter().for_each(|rounding| rounding.after(layer, &mut out));
            saved.out = Some(out);
        }
        tape.layers[layer] = saved;
    }

    /// A layer's value before normalisation and activation, from its inputs.
    fn run_layer(&mut self, layer: usize, tape: &Tape, saved: &mut Saved) -> Buffer<f32> {
        let l = &tape.graph.layers[layer];
        let inputs: Vec<&[f32]> = l.inputs.iter().map(|s| tape.read(self.program.home(*s))).collect();
        let mut out = self.pool.take(tape.count * l.shape.len());
        match &l.op {
            Op::Convolution(c) => self.convolve(layer, c, tape, inputs[0], &mut out, saved),
            Op::Dropout { probability } => {
                k::copy(&mut out, inputs[0]);
                tape.drop_out(layer, *probability, &mut out);
            }
            op => {
                if let Op::MaxPool(_) = op {
                    saved.aside.argmax = Some(self.places.take(out.len()));
                }
                forward::run(&tape.graph, layer, tape.count, &inputs, &mut out, &mut saved.aside);
            }
        }
        out
    }

    fn convolve(&mut self, layer: usize, c: &Convolution, tape: &Tape, x: &[f32], z: &mut [f32], saved: &mut Saved) {
        let slots = self.layout.slots(layer);
        let shape = kernels::conv_shape(c, tape.graph.input_shape(layer), tape.count);
        let (kernel, bias) = weights(slots, &self.parameters, self.rounding.as_deref());
        let bias = slots.gamma.is_none().then_some(&*bias);
        k::conv_forward_once(&shape, &kernel, x, Epilogue::new(bias, k::Activation::Linear), z, &mut self.scratch);
        // A map that is computed again has the statistics that it had.
        if slots.gamma.is_none() || !saved.mean.is_empty() {
            return;
        }
        let mut variance = vec![0.0; c.filters];
        (saved.mean, saved.inverse) = (vec![0.0; c.filters], vec![0.0; c.filters]);
        k::channel_mean_variance(z, c.filters, &mut saved.mean, &mut variance);
        let rows = z.len() / c.filters;
        let rows = self.together.as_ref().map_or(rows, |w| merge(w, rows, &mut saved.mean, &mut variance));
        if rows == 0 {
            return;
        }
        update_running(&mut self.statistics[slots.mean.clone()], &saved.mean, 1.0, self.momentum);
        // The running variance is the unbiased one, as PyTorch keeps it.
        let unbiased = rows as f32 / (rows as f32 - 1.0).max(1.0);
        update_running(&mut self.statistics[slots.variance.clone()], &variance, unbiased, self.momentum);
        saved.inverse.iter_mut().zip(&variance).for_each(|(i, v)| *i = 1.0 / (v + BatchNorm::EPSILON).sqrt());
    }

    fn normalise_activate(&self, layer: usize, tape: &Tape, saved: &Saved, before: &[f32], out: &mut [f32]) {
        let activation = kernels::activation(tape.graph.layers[layer].op.activation());
        if saved.mean.is_empty() {
            k::copy(out, before);
            return k::activate(out, activation);
        }
        k::norm_activate(before, &self.batch_norm(layer, saved), activation, out);
    }

    /// The normalisation of a convolution that has one.
    pub(super) fn batch_norm<'a>(&'a self, layer: usize, saved: &'a Saved) -> BatchNormView<'a> {
        let slots = self.layout.slots(layer);
        let gamma = slots.gamma.clone().expect("the convolution has a normalisation");
        BatchNormView {
            mean: &saved.mean,
            inv_std: &saved.inverse,
            gamma: &self.parameters[gamma],
            beta: &self.parameters[slots.bias.clone()],
        }
    }

    /// A copy of the map that a detection head reads, which leaves the tape if the backward pass does not need it.
    fn head_map(&mut self, head: usize, tape: &mut Tape) -> HeadMap {
        let home = self.program.home(Source::Layer(head));
        self.restore(home, tape);
        let shape = tape.graph.shape(home);
        let values = tape.read(home).to_vec();
        if let Some(i) = home.layer().filter(|i| !self.needs(*i) && self.program.last_reader(*i) == Some(head)) {
            tape.layers[i].out.take().into_iter().for_each(|out| self.pool.give(out));
        }
        HeadMap { rows: shape.height, cols: shape.width, channels: shape.channels, values }
    }

    fn needs(&self, layer: usize) -> bool {
        self.segments.is_inner(layer) || self.segments.crosses(layer)
    }

    /// Gives cheap outputs back that `reader` was the last to read.
    fn give_back_read(&mut self, reader: usize, tape: &mut Tape) {
        for read in self.program.read_by(&tape.graph, reader) {
            if self.program.last_reader(read) == Some(reader) && self.segments.is_cheap(read) {
                tape.layers[read].out.take().into_iter().for_each(|out| self.pool.give(out));
            }
        }
    }

    /// Gives all maps of a segment back that no later one reads.
    fn give_back_inside(&mut self, range: Range<usize>, tape: &mut Tape) {
        for layer in range {
            if !self.segments.crosses(layer) {
                tape.layers[layer] = self.recycle(std::mem::take(&mut tape.layers[layer]));
            }
        }
    }

    /// Gives a layer's buffers back; what is left are the statistics.
    pub(super) fn recycle(&mut self, saved: Saved) -> Saved {
        let Saved { out, before, mean, inverse, aside } = saved;
        out.into_iter().chain(before).for_each(|b| self.pool.give(b));
        aside.argmax.into_iter().for_each(|places| self.places.give(places));
        Saved { mean, inverse, ..Saved::default() }
    }
}

fn update_running(running: &mut [f32], batch: &[f32], scale: f32, momentum: f32) {
    running.iter_mut().zip(batch).for_each(|(r, b)| *r += momentum * (b * scale - *r));
}
