//! How the numbers of all tensors that may be quantised are distributed over calibration images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rayon::prelude::*;
use yoloslim_core::graph::Op;
use yoloslim_core::quant::{Histogram, Places, Profile, Scheme, Tensor, places};
use yoloslim_core::{Network, Result};
use yoloslim_kernels as k;

use super::simulation::take_activations;
use crate::data::InferenceBatches;
use crate::model::{self, Predictor};

/// Images of a forward pass.
const BATCH: usize = 4;

/// What calibration images showed.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    histograms: BTreeMap<Tensor, Histogram>,
    /// The largest magnitude of each channel that a convolution gives.
    pub largest: BTreeMap<usize, Vec<f32>>,
}

impl Observed {
    /// The distribution of each tensor.
    #[must_use]
    pub fn histograms(&self) -> &BTreeMap<Tensor, Histogram> {
        &self.histograms
    }

    fn add(&mut self, tensor: Tensor, map: &[f32]) {
        let part = map.len().div_ceil(rayon::current_num_threads()).max(1);
        let parts: Vec<Histogram> = map.par_chunks(part).map(Histogram::of).collect();
        let all = self.histograms.entry(tensor).or_default();
        parts.into_iter().for_each(|part| all.merge(part));
    }

    /// `map` is `[image][row][column][channel]`.
    fn add_channels(&mut self, layer: usize, filters: usize, map: &[f32]) {
        let largest = self.largest.entry(layer).or_insert_with(|| vec![0.0; filters]);
        for pixel in map.chunks_exact(filters) {
            largest.iter_mut().zip(pixel).for_each(|(m, v)| *m = m.max(v.abs()));
        }
    }
}

/// Runs a net in floating point on the images of `paths`, with the largest value of each channel where `channels` are asked
/// for; `progress` is told how many images are done.
///
/// # Errors
/// The first image that can't be read.
pub fn observe(
    network: &Network,
    paths: &[PathBuf],
    channels: bool,
    progress: &mut dyn FnMut(usize),
) -> Result<Observed> {
    let mut linear = network.clone();
    let activations = take_activations(&mut linear.graph);
    let mut predictor = Predictor::new(&linear);
    // This profile has the most tensors.
    let Places { before, after, .. } = places(&network.graph, Scheme::Int8(Profile::OnnxRuntime), &BTreeSet::new());
    let mut observed = Observed::default();
    let input = network.graph.input;
    let mut done = 0;
    for batch in InferenceBatches::for_net(paths.to_vec(), input, BATCH)? {
        let batch = batch?;
        observed.add(Tensor::Image, &batch.images);
        predictor.heads_altered(&batch.images, batch.count, &mut |layer, map| {
            if before[layer] {
                observed.add(Tensor::Before(layer), map);
            }
            k::activate(map, model::activation(activations[layer]));
            if after[layer] {
                observed.add(Tensor::After(layer), map);
            }
            if channels && let Op::Convolution(c) = &network.graph.layers[layer].op {
                observed.add_channels(layer, c.filters, map);
            }
        });
        done += batch.count;
        progress(done);
    }
    Ok(observed)
}
