//! How much the loss would change without each filter, to first order, from gradients over training batches.

use yoloslim_core::graph::Yolo;
use yoloslim_core::labels::Dataset;
use yoloslim_core::prune::PerFilter;
use yoloslim_core::{Error, Network, Result};

use crate::data::{Augment, Batch, Labels, Loader, LoaderOptions};
use crate::model::{ConvSlots, TrainNet};
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

/// For every filter, |dL/dg| summed over batches, where g = 1 is a gate on what the filter gives before its
/// activation: gamma dL/dgamma + beta dL/dbeta, or w dL/dw + b dL/db where there is no normalisation (Molchanov et al.
/// 2019). The loss is that of training, on images as inference sees them; nothing is trained. `progress` is told how
/// many batches are done.
///
/// # Errors
/// A net without a head or for other classes; an image that can't be read.
pub fn taylor_scores(
    network: &Network,
    dataset: &Dataset,
    options: TaylorOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<PerFilter> {
    let heads: Vec<Yolo> = network.graph.heads().map(|(_, y)| y.clone()).collect();
    if heads.is_empty() {
        return Err(Error::at("[yolo]", "the net has no such layer").fix("use the cfg of a detector"));
    }
    yoloslim_core::labels::check_classes(dataset, network.graph.classes())?;
    let loader = Loader::new(dataset, loader_options(network, options))?;
    let mut net = TrainNet::new(network.clone());
    let mut gradients = vec![0.0; net.layout().parameters()];
    let mut scores: PerFilter = network.graph.convolutions().map(|(i, c)| (i, vec![0.0; c.filters])).collect();
    for (done, batch) in loader.epoch(0, 0).take(options.batches).enumerate() {
        gradients.fill(0.0);
        backward(&mut net, &heads, batch?, &mut gradients)?;
        for slots in net.layout().convolutions() {
            let sums = scores.entry(slots.layer).or_default();
            let slopes = gate_slopes(slots, net.parameters(), &gradients);
            sums.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope.abs() as f32);
        }
        progress(done + 1);
    }
    Ok(scores)
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

/// Adds the gradient of the loss of one batch to `gradients`.
fn backward(net: &mut TrainNet, heads: &[Yolo], batch: Batch, gradients: &mut [f32]) -> Result<()> {
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
    net.backward(tape, slopes, gradients);
    Ok(())
}

/// The slope of the loss along each filter's gate, `[filters]`.
fn gate_slopes(slots: &ConvSlots, parameters: &[f32], gradients: &[f32]) -> Vec<f64> {
    let product = |i: usize| f64::from(parameters[i]) * f64::from(gradients[i]);
    let filters = slots.bias.len();
    let row = slots.kernel.len() / filters.max(1);
    let scaled = |filter: usize| match &slots.gamma {
        Some(gamma) => product(gamma.start + filter),
        None => (0..row).map(|tap| product(slots.kernel.start + filter * row + tap)).sum(),
    };
    (0..filters).map(|filter| scaled(filter) + product(slots.bias.start + filter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;
    use yoloslim_core::darknet::Cfg;
    use yoloslim_core::labels::{self, Split};

    const CFG: &str = "[net]\nwidth=64\nheight=64\n\
        [convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=4\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
        [convolutional]\nfilters=16\nactivation=linear\n\
        [yolo]\nmask=0,1\nanchors=8,8,16,16\nclasses=3\n";

    /// The loss of one batch when the gate on one filter of `layer` is `gate`.
    fn loss(network: &Network, batch: &Batch, layer: usize, filter: usize, gate: f32) -> f64 {
        let mut network = network.clone();
        let weights = network.conv_mut(layer);
        weights.bias[filter] *= gate;
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
        let mut network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
        for layer in 0..2 {
            network.conv_mut(layer).bias = vec![0.3, -0.2, 0.5, 0.1];
        }
        let options = TaylorOptions { batches: 2, batch: 2, threads: 1 };
        let scores = taylor_scores(&network, &blank, options, &mut |_| {}).unwrap();
        let loader = Loader::new(&blank, loader_options(&network, options)).unwrap();
        let batches: Vec<Batch> = loader.epoch(0, 0).map(Result::unwrap).collect();
        assert_eq!(batches.len(), 2);
        for layer in 0..2 {
            for (filter, score) in scores[&layer].iter().map(|s| f64::from(*s)).enumerate() {
                let slope = |batch: &Batch| {
                    let at = |gate| loss(&network, batch, layer, filter, gate);
                    ((at(1.005) - at(0.995)) / 0.01).abs()
                };
                let wanted: f64 = batches.iter().map(slope).sum();
                assert!((score - wanted).abs() < 0.02 * wanted + 1e-3, "{layer} {filter}: {score} against {wanted}");
            }
        }
    }
}
