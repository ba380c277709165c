//! How much the loss would change without each filter, to first order, from gradients over training batches.

use std::collections::BTreeMap;

use yoloslim_core::graph::Yolo;
use yoloslim_core::labels::Dataset;
use yoloslim_core::prune::PerFilter;
use yoloslim_core::{Network, Result};

use crate::data::{Augment, Batch, Labels, Loader, LoaderOptions, require_detector};
use crate::model::{TrainNet, Watch};
use crate::train::LossOptions;
use crate::train::loss::yolo_loss;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaylorOptions {
    /// Batches; fewer where the data has fewer.
    pub batches: usize,
    /// Images of a batch.
    pub batch: usize,
    /// Threads of the loader.
    pub threads: usize,
}

/// |dL/dg| of every filter, summed over batches, where a gate g fades from what the filter gives, g = 1, to what takes its
/// place, g = 0.
pub struct TaylorScores {
    /// Where zero does (Molchanov et al. 2019): the sum over all positions of dL/da a.
    pub to_zero: PerFilter,
    /// Where the filter's constant does: the sum of dL/da (a - constant).
    pub to_constants: PerFilter,
}

/// Taylor's scores by the loss of training, on images as inference sees them; nothing is trained. `constants` are those of each
/// convolution's filters, `[filters]` by layer. `progress` is told how many batches are done.
///
/// # Errors
/// A net without a head, for other classes or that does not read RGB; an image that can't be read.
pub fn taylor_scores(
    network: &Network,
    dataset: &Dataset,
    constants: &PerFilter,
    options: TaylorOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<TaylorScores> {
    require_detector(&network.graph)?;
    let heads: Vec<Yolo> = network.graph.heads().map(|(_, y)| y.clone()).collect();
    yoloslim_core::labels::check_classes(dataset, network.graph.classes())?;
    let loader = Loader::new(dataset, loader_options(network, options))?;
    let mut net = TrainNet::new(network.clone());
    let mut gradients = vec![0.0; net.layout().parameters()];
    let none: PerFilter = constants.iter().map(|(layer, of)| (*layer, vec![0.0; of.len()])).collect();
    let mut scores = TaylorScores { to_zero: none.clone(), to_constants: none };
    for (done, batch) in loader.epoch(0, 0).take(options.batches).enumerate() {
        let mut gates = Gates { constants, slopes: BTreeMap::new() };
        backward(&mut net, &heads, batch?, &mut gradients, &mut gates)?;
        for (layer, slopes) in gates.slopes {
            for (scores, slopes) in [&mut scores.to_zero, &mut scores.to_constants].into_iter().zip(slopes) {
                let sums = scores.entry(layer).or_default();
                sums.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope.abs() as f32);
            }
        }
        progress(done + 1);
    }
    Ok(scores)
}

/// The slopes of one batch's loss along all gates.
struct Gates<'c> {
    constants: &'c PerFilter,
    /// By layer: to zero, to constants.
    slopes: BTreeMap<usize, [Vec<f64>; 2]>,
}

impl Watch for Gates<'_> {
    fn wants_output(&self, layer: usize) -> bool {
        self.constants.contains_key(&layer)
    }

    fn output(&mut self, layer: usize, output: &[f32], slopes: &[f32]) {
        let constants = &self.constants[&layer];
        let sums_with = |constants: &[f32]| {
            let mut sums = vec![0.0; constants.len()];
            for (given, slope) in output.chunks_exact(sums.len()).zip(slopes.chunks_exact(sums.len())) {
                for (((sum, given), slope), constant) in sums.iter_mut().zip(given).zip(slope).zip(constants) {
                    *sum += f64::from(*slope) * f64::from(given - constant);
                }
            }
            sums
        };
        self.slopes.insert(layer, [sums_with(&vec![0.0; constants.len()]), sums_with(constants)]);
    }
}

fn loader_options(network: &Network, options: TaylorOptions) -> LoaderOptions {
    let TaylorOptions { batch, threads, .. } = options;
    let input = network.graph.input;
    LoaderOptions {
        width: input.width,
        height: input.height,
        batch,
        threads,
        augment: Augment::none(),
        ..LoaderOptions::default()
    }
}

/// The backward pass of the loss of one batch, with `watch` told of it.
fn backward(
    net: &mut TrainNet,
    heads: &[Yolo],
    batch: Batch,
    gradients: &mut [f32],
    watch: &mut dyn Watch,
) -> Result<()> {
    let (maps, tape) = net.forward(batch.images, batch.count, batch.width, batch.height)?;
    let heads: Vec<&Yolo> = heads.iter().collect();
    let input = (batch.width, batch.height);
    let (_, slopes) = yolo_loss(
        &LossOptions::default(),
        &heads,
        &maps,
        input,
        Labels { targets: &batch.targets, ignored: &batch.ignored },
    );
    net.backward_watched(tape, slopes, Vec::new(), gradients, watch);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::labels::{self, Split};

    fn cfg(activation: &str) -> String {
        format!(
            "[net]\nwidth=64\nheight=64\n\
            [convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=4\npad=1\nactivation={activation}\n\
            [convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\nactivation={activation}\n\
            [convolutional]\nfilters=16\nactivation=linear\n\
            [yolo]\nmask=0,1\nanchors=8,8,16,16\nclasses=3\n"
        )
    }

    /// The loss of one batch when the gate between one filter of `layer` and `constant` is at `gate`. The gate before the
    /// activation is that behind it where the activation is linear, or scales with what it is given and `constant` is zero.
    fn loss(network: &Network, batch: &Batch, (layer, filter): (usize, usize), constant: f32, gate: f32) -> f64 {
        let mut network = network.clone();
        let weights = network.conv_mut(layer);
        weights.bias[filter] = gate * weights.bias[filter] + (1.0 - gate) * constant;
        let row = weights.kernel.len() / weights.bias.len();
        match &mut weights.norm {
            Some(norm) => norm.gamma[filter] *= gate,
            None => weights.kernel[filter * row..(filter + 1) * row].iter_mut().for_each(|w| *w *= gate),
        }
        let heads: Vec<Yolo> = network.graph.heads().map(|(_, y)| y.clone()).collect();
        let mut net = TrainNet::new(network);
        let (maps, _) = net.forward(batch.images.clone(), batch.count, batch.width, batch.height).unwrap();
        let heads: Vec<&Yolo> = heads.iter().collect();
        yolo_loss(&LossOptions::default(), &heads, &maps, (batch.width, batch.height), Labels::of(&batch.targets))
            .0
            .total()
    }

    #[test]
    fn scores_are_the_slopes_that_finite_differences_give_summed_over_batches() {
        let folder = tempfile::tempdir().unwrap();
        synthetic::generate(folder.path(), 1, 4, 1, 96).unwrap();
        let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
        // Objectness aims at the overlap of the boxes, which its gradient takes as given: without truths it doesn't.
        let mut blank = dataset;
        blank.samples.iter_mut().for_each(|s| s.objects.clear());
        let constants = [0.4, -0.3, 0.0, 1.5];
        for activation in ["leaky", "linear"] {
            let mut network = Network::initialise(Cfg::parse(cfg(activation).as_bytes()).unwrap(), 1).unwrap();
            for layer in 0..2 {
                network.conv_mut(layer).bias = vec![0.3, -0.2, 0.5, 0.1];
            }
            let options = TaylorOptions { batches: 2, batch: 2, threads: 1 };
            let given = PerFilter::from([(0, constants.to_vec()), (1, constants.to_vec())]);
            let scores = taylor_scores(&network, &blank, &given, options, &mut |_| {}).unwrap();
            let loader = Loader::new(&blank, loader_options(&network, options)).unwrap();
            let batches: Vec<Batch> = loader.epoch(0, 0).map(Result::unwrap).collect();
            assert_eq!((batches.len(), scores.to_zero.len(), scores.to_constants.len()), (2, 2, 2));
            let check = |scores: &PerFilter, constants: [f32; 4]| {
                for (layer, filter) in (0..2).flat_map(|layer| (0..4).map(move |filter| (layer, filter))) {
                    let slope = |batch: &Batch| {
                        let at = |gate| loss(&network, batch, (layer, filter), constants[filter], gate);
                        ((at(1.005) - at(0.995)) / 0.01).abs()
                    };
                    let (score, wanted) = (f64::from(scores[&layer][filter]), batches.iter().map(slope).sum::<f64>());
                    let of = format!("{activation}, {layer} {filter}");
                    assert!((score - wanted).abs() < 0.02 * wanted + 1e-3, "{of}: {score} against {wanted}");
                }
            };
            check(&scores.to_zero, [0.0; 4]);
            // A gate before an activation that bends is none behind it.
            if activation == "linear" {
                check(&scores.to_constants, constants);
            }
        }
    }
}
