//! The backward pass: from the gradients of the head maps to those of the parameters.

use std::sync::Arc;

use yoloslim_core::graph::{Convolution, Op, Source};
use yoloslim_kernels as k;

use super::pool::Buffer;
use super::rounding::{Ends, stop_at_ends};
use super::tape::{Saved, Tape};
use super::train_net::{TrainNet, weights};
use super::{HeadMap, kernels, product, shared_norm};

/// Gradients of the layers' outputs that have been met so far.
type Gradients = Vec<Option<Buffer<f32>>>;

/// Whoever wants to know what a backward pass comes by, layer by layer from the last to the first.
pub trait Watch: Send {
    /// Whether [`Watch::output`] is to be told of this layer; its output may have to be computed again for it.
    fn wants_output(&self, _layer: usize) -> bool {
        false
    }

    /// A layer's output and the loss's gradient with respect to it, `[image][row][column][channel]` each.
    fn output(&mut self, _layer: usize, _output: &[f32], _slopes: &[f32]) {}

    /// The gradients, complete from index `from` on.
    fn finished(&mut self, _from: usize, _gradients: &[f32]) {}
}

/// Nobody.
impl Watch for () {}

impl TrainNet {
    /// Adds to `gradients` (flat, of the parameters' layout) the gradients of a loss whose gradients with respect
    /// to the head maps are `heads`, and gives the tape's memory back.
    ///
    /// # Panics
    /// If `heads` are not of the shapes that the forward pass gave.
    pub fn backward(&mut self, tape: Tape, heads: Vec<HeadMap>, gradients: &mut [f32]) {
        self.backward_watched(tape, heads, Vec::new(), gradients, &mut ());
    }

    /// [`TrainNet::backward`] of a loss that depends on the outputs of other layers too: `features` are their indices
    /// and the loss's gradients with respect to them. What happens on the way is told to `watch`.
    ///
    /// # Panics
    /// As [`TrainNet::backward`].
    pub fn backward_watched(
        &mut self,
        tape: Tape,
        heads: Vec<HeadMap>,
        features: Vec<(usize, Vec<f32>)>,
        gradients: &mut [f32],
        watch: &mut dyn Watch,
    ) {
        let mut maps: Gradients = vec![None; tape.graph.layers.len()];
        let homes = self
            .program
            .heads()
            .iter()
            .copied()
            .chain(features.iter().map(|(layer, _)| self.program.home(Source::Layer(*layer))));
        let homes: Vec<Source> = homes.collect();
        let values = heads.into_iter().map(|head| head.values).chain(features.into_iter().map(|(_, values)| values));
        for (home, values) in homes.into_iter().zip(values) {
            if let Source::Layer(i) = home {
                match &mut maps[i] {
                    Some(map) => k::add_into(map, &values),
                    // A copy: what the pool is given without having lent it would pile up there, step by step.
                    None => k::copy(maps[i].insert(self.pool.take(values.len())), &values),
                }
            }
        }
        self.stay_awake(|net| net.layers_backward(tape, maps, gradients, watch));
    }

    fn layers_backward(&mut self, mut tape: Tape, mut maps: Gradients, gradients: &mut [f32], watch: &mut dyn Watch) {
        let ranges = self.segments.ranges().to_vec();
        for (segment, range) in ranges.iter().enumerate().rev() {
            if segment + 1 < ranges.len() {
                self.replay(range.clone(), &mut tape);
            }
            for layer in range.clone().rev() {
                if let Some(dout) = maps[layer].take() {
                    if watch.wants_output(layer) {
                        self.restore(Source::Layer(layer), &mut tape);
                        watch.output(layer, tape.read(Source::Layer(layer)), &dout);
                    }
                    self.layer_backward(layer, &mut tape, dout, &mut maps, gradients);
                }
                if let Op::Convolution(_) = tape.graph.layers[layer].op {
                    watch.finished(self.layout.slots(layer).kernel.start, gradients);
                }
                self.give_back_first_read(layer, &mut tape);
            }
        }
        tape.layers.into_iter().for_each(|saved| drop(self.recycle(saved)));
    }

    /// Gives outputs back that no layer before `reader` reads.
    fn give_back_first_read(&mut self, reader: usize, tape: &mut Tape) {
        for read in self.program.read_by(&tape.graph, reader) {
            // What was rounded tells its layer's backward pass where the grid ends.
            if self.program.first_reader(read) == Some(reader) && self.ends_after(read).is_none() {
                tape.layers[read].out.take().into_iter().for_each(|out| self.pool.give(out));
            }
        }
    }

    /// Turns the gradient of a layer's output into that of its value before normalisation and activation.
    fn activation_backward(&self, layer: usize, tape: &Tape, saved: &Saved, dout: &mut [f32], gradients: &mut [f32]) {
        let Some(before) = &saved.before else { return };
        let activation = kernels::activation(tape.graph.layers[layer].op.activation());
        if saved.mean.is_empty() {
            return k::activation_backward(before, activation, dout);
        }
        let slots = self.layout.slots(layer);
        let n = saved.mean.len();
        let (mut dgamma, mut dbeta) = (vec![0.0; n], vec![0.0; n]);
        let bn = self.batch_norm(layer, saved);
        match &self.together {
            None => k::norm_activate_backward(before, &bn, activation, dout, &mut dgamma, &mut dbeta),
            Some(workers) => {
                let rows = before.len() / n;
                let means = |sums: &mut Vec<f64>| shared_norm::means(workers, rows, sums);
                k::norm_activate_backward_shared(before, &bn, activation, dout, &mut dgamma, &mut dbeta, means);
            }
        }
        slots.gamma.iter().for_each(|gamma| k::add_into(&mut gradients[gamma.clone()], &dgamma));
        k::add_into(&mut gradients[slots.bias.clone()], &dbeta);
    }

    fn layer_backward(
        &mut self,
        layer: usize,
        tape: &mut Tape,
        mut dout: Buffer<f32>,
        maps: &mut Gradients,
        gradients: &mut [f32],
    ) {
        if let ends @ Some(_) = self.ends_after(layer) {
            self.restore(Source::Layer(layer), tape);
            stop_at_ends(tape.read(Source::Layer(layer)), ends, &mut dout);
        }
        let saved = std::mem::take(&mut tape.layers[layer]);
        self.activation_backward(layer, tape, &saved, &mut dout, gradients);
        if let (Some(rounding), Some(before)) = (&self.rounding, &saved.before) {
            stop_at_ends(before, rounding.before_range(layer), &mut dout);
        }
        let graph = Arc::clone(&tape.graph);
        let l = &graph.layers[layer];
        let from = graph.input_shape(layer);
        if let Op::Convolution(_) | Op::ScaleChannels { .. } | Op::Sam { .. } = l.op {
            l.inputs.iter().for_each(|source| self.restore(self.program.home(*source), tape));
        }
        let count = tape.count;
        match &l.op {
            Op::Convolution(c) => self.convolution_backward(layer, c, tape, &dout, maps, gradients),
            Op::MaxPool(p) => {
                let to = self.gradient_to_write(layer, 0, tape, maps);
                if let Some((dx, fresh)) = to {
                    let argmax = saved.aside.argmax.as_ref().expect("a pool is computed before its backward pass");
                    k::max_pool_backward(&kernels::pool_shape(p, from, count), argmax, &dout, dx, fresh);
                }
            }
            Op::AveragePool => {
                if let Some(dx) = self.gradient(layer, 0, tape, maps) {
                    k::average_pool_backward(count, from.area(), from.channels, &dout, dx);
                }
            }
            Op::Upsample { stride } => {
                if let Some(dx) = self.gradient(layer, 0, tape, maps) {
                    k::upsample_nearest_backward(count, from.height, from.width, from.channels, *stride, &dout, dx);
                }
            }
            Op::Reorg { stride } => {
                if let Some(dx) = self.gradient(layer, 0, tape, maps) {
                    k::reorg_backward(count, from.height, from.width, from.channels, *stride, &dout, dx);
                }
            }
            Op::Route { groups, group_id } => self.route_backward(layer, tape, (*groups, *group_id), &dout, maps),
            Op::Shortcut { .. } => {
                self.recycle(saved);
                return self.shortcut_backward(layer, tape, dout, maps);
            }
            Op::ScaleChannels { .. } | Op::Sam { .. } => self.product_backward(layer, tape, &dout, maps),
            Op::Dropout { probability } => {
                tape.drop_out(layer, *probability, &mut dout);
                if let Some(dx) = self.gradient(layer, 0, tape, maps) {
                    k::add_into(dx, &dout);
                }
            }
            Op::Yolo(_) => unreachable!("{} owns no buffer", l.place),
        }
        self.pool.give(dout);
        self.recycle(saved);
    }

    /// The ends of the grid that a layer's output is rounded to.
    fn ends_after(&self, layer: usize) -> Option<Ends> {
        self.rounding.as_ref().and_then(|rounding| rounding.after_range(layer))
    }

    /// The gradient of an input, made of zeros when it is met for the first time; none for the image.
    fn gradient<'m>(
        &mut self,
        layer: usize,
        input: usize,
        tape: &Tape,
        maps: &'m mut Gradients,
    ) -> Option<&'m mut [f32]> {
        let source = tape.graph.layers[layer].inputs[input];
        let home = self.program.home(source).layer()?;
        let len = tape.count * tape.graph.layers[home].shape.len();
        Some(maps[home].get_or_insert_with(|| self.pool.zeros(len)))
    }

    /// The gradient of an input and whether it is met for the first time, of any value then; none for the image.
    fn gradient_to_write<'m>(
        &mut self,
        layer: usize,
        input: usize,
        tape: &Tape,
        maps: &'m mut Gradients,
    ) -> Option<(&'m mut [f32], bool)> {
        let source = tape.graph.layers[layer].inputs[input];
        let home = self.program.home(source).layer()?;
        let len = tape.count * tape.graph.layers[home].shape.len();
        let fresh = maps[home].is_none();
        Some((maps[home].get_or_insert_with(|| self.pool.take(len)), fresh))
    }

    fn convolution_backward(
        &mut self,
        layer: usize,
        c: &Convolution,
        tape: &Tape,
        dz: &[f32],
        maps: &mut Gradients,
        gradients: &mut [f32],
    ) {
        let shape = kernels::conv_shape(c, tape.graph.input_shape(layer), tape.count);
        let home = self.program.home(tape.graph.layers[layer].inputs[0]);
        let slots = self.layout.slots(layer);
        if slots.gamma.is_none() {
            k::channel_sums(dz, c.filters, &mut gradients[slots.bias.clone()]);
        }
        let dw = &mut gradients[slots.kernel.clone()];
        k::conv_backward_weights(&shape, tape.read(home), dz, dw, &mut self.scratch);
        let Some((dx, fresh)) = self.gradient_to_write(layer, 0, tape, maps) else { return };
        let (kernel, _) = weights(self.layout.slots(layer), &self.parameters, self.rounding.as_deref());
        k::conv_backward_data(&shape, &kernel, dz, dx, !fresh, &mut self.scratch);
    }

    fn route_backward(
        &mut self,
        layer: usize,
        tape: &Tape,
        (groups, group_id): (usize, usize),
        dout: &[f32],
        maps: &mut Gradients,
    ) {
        let l = &tape.graph.layers[layer];
        let (mut from, rows) = (0, tape.count * l.shape.area());
        for (i, source) in l.inputs.iter().enumerate() {
            let channels = tape.graph.shape(*source).channels;
            let n = channels / groups;
            if groups == 1 {
                if let Some((dx, fresh)) = self.gradient_to_write(layer, i, tape, maps) {
                    k::copy_channels(rows, dout, l.shape.channels, from, n, dx, channels, 0, !fresh);
                }
            } else if let Some(dx) = self.gradient(layer, i, tape, maps) {
                k::copy_channels(rows, dout, l.shape.channels, from, n, dx, channels, group_id * n, true);
            }
            from += n;
        }
    }

    fn shortcut_backward(&mut self, layer: usize, tape: &Tape, dout: Buffer<f32>, maps: &mut Gradients) {
        let l = &tape.graph.layers[layer];
        let channels_of = |i: &usize| tape.graph.shape(l.inputs[*i]).channels;
        let (whole, partial): (Vec<_>, Vec<_>) = (0..l.inputs.len()).partition(|i| channels_of(i) == l.shape.channels);
        for i in partial {
            let (channels, n) = (channels_of(&i), channels_of(&i).min(l.shape.channels));
            if let Some(dx) = self.gradient(layer, i, tape, maps) {
                k::copy_channels(tape.count * l.shape.area(), &dout, l.shape.channels, 0, n, dx, channels, 0, true);
            }
        }
        // The first of a sum that has no gradient yet takes the buffer over; it is not needed any more.
        let (&first, others) = whole.split_first().expect("a sum has the shape of its first map");
        for i in others {
            match self.gradient_to_write(layer, *i, tape, maps) {
                Some((dx, true)) => k::copy(dx, &dout),
                Some((dx, false)) => k::add_into(dx, &dout),
                None => {}
            }
        }
        match self.program.home(l.inputs[first]) {
            Source::Layer(home) if maps[home].is_none() => maps[home] = Some(dout),
            home => {
                if let Some(dx) = home.layer().and_then(|home| maps[home].as_deref_mut()) {
                    k::add_into(dx, &dout);
                }
                self.pool.give(dout);
            }
        }
    }

    fn product_backward(&mut self, layer: usize, tape: &Tape, dout: &[f32], maps: &mut Gradients) {
        let l = &tape.graph.layers[layer];
        let [first, second] = [0, 1].map(|i| tape.read(self.program.home(l.inputs[i])));
        let (area, channels) = (l.shape.area(), l.shape.channels);
        let scales = matches!(l.op, Op::ScaleChannels { .. });
        if let Some(dx) = self.gradient(layer, 0, tape, maps) {
            match scales {
                true => product::scales_backward(area, channels, second, dout, dx),
                false => product::multiply_add(second, dout, dx),
            }
        }
        let mut scaled = self.pool.take(dout.len());
        if let Some(dx) = self.gradient(layer, 1, tape, maps) {
            match scales {
                true => {
                    product::scale_channels(area, channels, first, dout, &mut scaled);
                    k::add_into(dx, &scaled);
                }
                false => product::multiply_add(first, dout, dx),
            }
        }
        self.pool.give(scaled);
    }
}
