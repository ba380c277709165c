//! The backward pass: from the gradients of the head maps to those of the parameters.

use yoloslim_core::graph::{Convolution, Op, Source};
use yoloslim_kernels::{self as k, BatchNormView};

use super::train_net::{Saved, Tape, TrainNet};
use super::{HeadMap, forward, kernels, product};

/// Gradients of the layers' outputs that have been met so far.
type Gradients = Vec<Option<Vec<f32>>>;

impl TrainNet {
    /// Adds to `gradients` (flat, of the parameters' layout) the gradients of a loss whose gradients with respect
    /// to the head maps are `heads`, and gives the tape's memory back.
    ///
    /// # Panics
    /// If `heads` are not of the shapes that the forward pass gave.
    pub fn backward(&mut self, mut tape: Tape, heads: Vec<HeadMap>, gradients: &mut [f32]) {
        let mut maps: Gradients = vec![None; tape.graph.layers.len()];
        for (home, head) in self.program.heads().to_vec().into_iter().zip(heads) {
            if let Source::Layer(i) = home {
                let map = maps[i].get_or_insert_with(|| vec![0.0; head.values.len()]);
                k::add_into(map, &head.values);
            }
        }
        for layer in (0..tape.graph.layers.len()).rev() {
            if let Some(mut dout) = maps[layer].take() {
                let saved = std::mem::take(&mut tape.layers[layer]);
                self.activation_backward(layer, &tape, &saved, &mut dout, gradients);
                self.layer_backward(layer, &tape, &saved, dout, &mut maps, gradients);
                self.recycle(saved);
            }
        }
        tape.layers.into_iter().for_each(|saved| self.recycle(saved));
    }

    fn recycle(&mut self, saved: Saved) {
        saved.out.into_iter().chain(saved.before).for_each(|b| self.pool.give(b));
    }

    /// Turns the gradient of a layer's output into that of its value before normalisation and activation.
    fn activation_backward(&self, layer: usize, tape: &Tape, saved: &Saved, dout: &mut [f32], gradients: &mut [f32]) {
        let Some(before) = &saved.before else { return };
        let op = &tape.graph.layers[layer].op;
        let activation = kernels::activation(forward::activation(op));
        if saved.mean.is_empty() {
            return k::activation_backward(before, activation, dout);
        }
        let slots = self.layout.slots(layer);
        let Some(gamma) = slots.gamma.clone() else { return };
        let n = gamma.len();
        let (mut dgamma, mut dbeta) = (vec![0.0; n], vec![0.0; n]);
        let (gamma_values, beta) = (&self.parameters[gamma.clone()], &self.parameters[slots.bias.clone()]);
        let bn = BatchNormView { mean: &saved.mean, inv_std: &saved.inverse, gamma: gamma_values, beta };
        k::norm_activate_backward(before, &bn, activation, dout, &mut dgamma, &mut dbeta);
        k::add_into(&mut gradients[gamma], &dgamma);
        k::add_into(&mut gradients[slots.bias.clone()], &dbeta);
    }

    fn layer_backward(
        &mut self,
        layer: usize,
        tape: &Tape,
        saved: &Saved,
        dout: Vec<f32>,
        maps: &mut Gradients,
        gradients: &mut [f32],
    ) {
        let l = &tape.graph.layers[layer];
        let from = tape.graph.input_shape(layer);
        let count = tape.count;
        match &l.op {
            Op::Convolution(c) => self.convolution_backward(layer, c, tape, &dout, maps, gradients),
            Op::MaxPool(_) => {
                if let (Some(dx), Some(argmax)) = (self.gradient(layer, 0, tape, maps), &saved.aside.argmax) {
                    k::max_pool_backward(argmax, &dout, dx);
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
            Op::Shortcut { .. } => self.shortcut_backward(layer, tape, &dout, maps),
            Op::ScaleChannels { .. } | Op::Sam { .. } => self.product_backward(layer, tape, &dout, maps),
            Op::Dropout { .. } | Op::Yolo(_) => unreachable!("{} owns no buffer", l.place),
        }
        self.pool.give(dout);
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
        let Source::Layer(below) = home else { return };
        let accumulate = maps[below].is_some();
        let len = tape.count * tape.graph.layers[below].shape.len();
        let dx = maps[below].get_or_insert_with(|| self.pool.take(len));
        let weights = &self.parameters[slots.kernel.clone()];
        k::conv_backward_data(&shape, weights, dz, dx, accumulate, &mut self.scratch);
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
        let mut from = 0;
        for (i, source) in l.inputs.iter().enumerate() {
            let channels = tape.graph.shape(*source).channels;
            let n = channels / groups;
            if let Some(dx) = self.gradient(layer, i, tape, maps) {
                let rows = tape.count * l.shape.area();
                k::copy_channels(rows, dout, l.shape.channels, from, n, dx, channels, group_id * n, true);
            }
            from += n;
        }
    }

    fn shortcut_backward(&mut self, layer: usize, tape: &Tape, dout: &[f32], maps: &mut Gradients) {
        let l = &tape.graph.layers[layer];
        for (i, source) in l.inputs.iter().enumerate() {
            let channels = tape.graph.shape(*source).channels;
            if let Some(dx) = self.gradient(layer, i, tape, maps) {
                if channels == l.shape.channels {
                    k::add_into(dx, dout);
                } else {
                    let n = channels.min(l.shape.channels);
                    k::copy_channels(tape.count * l.shape.area(), dout, l.shape.channels, 0, n, dx, channels, 0, true);
                }
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
