//! What happens to a finished sum of products on its way to memory.

use super::microkernel::{NR, TOGETHER};
use super::vector::{Vector, on_each_path};
use crate::activation::{Activation, activate_on, fix_activation};
use crate::path::{Path, for_each_path};
use crate::shape::ConvShape;
use crate::share::SharedMut;
use std::ops::Range;

/// `y = act(sum + bias) + residual`, or the largest of each 2 x 2 of them: what a convolution does with its sums before it
/// writes them.
#[derive(Clone, Copy, Default, Debug)]
pub struct Epilogue<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<&'a [f32]>,
    /// Add to what the destination holds.
    pub(crate) accumulate: bool,
    /// Write the largest of each 2 x 2 pixels alone.
    pub(crate) pooled: bool,
}

impl<'a> Epilogue<'a> {
    /// Adds `bias: [channels out]` if there is one, then applies the activation.
    pub fn new(bias: Option<&'a [f32]>, activation: Activation) -> Self {
        Self { bias, activation, ..Self::default() }
    }

    /// Adds `residual`, of the output's shape, after the activation: the sum of a linear shortcut.
    pub fn with_residual(self, residual: &'a [f32]) -> Self {
        Self { residual: Some(residual), ..self }
    }

    /// Max pooling over windows of 2 x 2 pixels, side by side: `y` holds a quarter of the output, which must have even
    /// sides. The activation must rise with its input, so that it need be taken of the largest value only.
    ///
    /// # Panics
    /// If the activation does not rise, or a residual is added.
    pub fn with_max_pool(self) -> Self {
        assert!(self.activation.rises() && self.residual.is_none(), "{self:?} can't be pooled");
        Self { pooled: true, ..self }
    }

    /// The epilogue of a gradient, which is written or, if `accumulate`, added.
    pub(crate) fn gradient(accumulate: bool) -> Self {
        Self { accumulate, ..Self::default() }
    }

    /// Activation and residual of values that start at `start` of the output and have their bias already.
    pub(crate) fn finish(&self, path: Path, start: usize, values: &mut [f32]) {
        activate_on(path, values, self.activation);
        if let Some(residual) = self.residual {
            let residual = &residual[start..start + values.len()];
            add(path, values, residual);
        }
    }

    /// Panics on slices that do not fit the output of a convolution.
    pub(crate) fn check(&self, shape: &ConvShape, y: usize) {
        let (channels, len) = (shape.channels_out, shape.output_len());
        let even = shape.out_height().is_multiple_of(2) && shape.out_width().is_multiple_of(2);
        assert!(!self.pooled || even, "a pooled output has even sides: {shape:?}");
        assert!(!self.pooled || self.residual.is_none(), "a residual can't be added to a pooled output");
        assert_eq!(y, if self.pooled { len / 4 } else { len }, "output of {shape:?}");
        assert!(
            self.bias.is_none_or(|bias| bias.len() == channels),
            "a bias is one value for each of {channels} channels"
        );
        assert!(self.residual.is_none_or(|residual| residual.len() == len), "a residual has the output's {len} values");
    }
}

for_each_path! {
    /// `values += others`
    pub(crate) fn add(values: &mut [f32], others: &[f32]) {
        values.iter_mut().zip(others).for_each(|(value, other)| *value += other);
    }
}

/// Values of the widest tile of sums.
pub(crate) const WIDEST: usize = TOGETHER * NR;

/// A tile whose products are summed.
pub(crate) struct Finished<'a> {
    pub(crate) sums: &'a [[f32; WIDEST]],
    pub(crate) bias: &'a [f32; WIDEST],
    /// Where each row's pixel starts, and the columns in it.
    pub(crate) destinations: &'a [usize],
    pub(crate) columns: Range<usize>,
}

on_each_path! {
    /// Bias, activation and residual of a tile, which is then written; no other task may write these columns of these pixels.
    pub(crate) fn finish(tile: Finished, out: SharedMut, epilogue: Epilogue) => finish_rows::<Vector>
}

/// The usual functions by instructions on vectors: loops over arrays are compiled to moves of single values.
#[inline(always)]
fn activate<V: Vector>(sums: V, activation: Activation) -> V {
    match activation {
        Activation::Linear => sums,
        // What is added to the product, -0, changes no number.
        Activation::Leaky => sums.max(sums.mul_add(V::splat(0.1), V::splat(-0.0))),
        _ => {
            let mut values = [0.0; NR];
            // SAFETY: there is room for as many values as the widest vector has.
            unsafe { sums.store(values.as_mut_ptr()) };
            values[..V::LANES].iter_mut().for_each(|value| *value = activation.apply(*value));
            // SAFETY: they are at least as many as lanes.
            unsafe { V::load(values.as_ptr()) }
        }
    }
}

#[inline(always)]
fn finish_rows<V: Vector>(tile: Finished, out: SharedMut, epilogue: Epilogue) {
    let (first, width) = (tile.columns.start, tile.columns.len());
    fix_activation!(epilogue.activation, ACT => {
        for (row, &to) in tile.sums.iter().zip(tile.destinations) {
            let residual = epilogue.residual.map(|all| &all[to + first..][..width]);
            // SAFETY: the caller vouches that nobody else writes there.
            let to = unsafe { out.part(to + first, width) };
            for (at, (sums, bias)) in row.chunks_exact(V::LANES).zip(tile.bias.chunks_exact(V::LANES)).enumerate() {
                let Some(to) = to.get_mut(at * V::LANES..) else { break };
                let residual = residual.map(|all| &all[at * V::LANES..]);
                // SAFETY: each has as many values as lanes.
                let sums = unsafe { V::load(sums.as_ptr()).add(V::load(bias.as_ptr())) };
                let values = activate::<V>(sums, ACT);
                // SAFETY: where there are fewer than lanes, their number is given.
                unsafe {
                    if to.len() >= V::LANES {
                        let values = residual.map_or(values, |all| values.add(V::load(all.as_ptr())));
                        let values = if epilogue.accumulate { values.add(V::load(to.as_ptr())) } else { values };
                        values.store(to.as_mut_ptr());
                    } else {
                        let count = to.len();
                        let values = residual.map_or(values, |all| values.add(V::load_part(all.as_ptr(), count)));
                        let before = || V::load_part(to.as_ptr(), count);
                        let values = if epilogue.accumulate { values.add(before()) } else { values };
                        values.store_part(to.as_mut_ptr(), count);
                    }
                }
            }
        }
    });
}
