//! Tests of what training by several workers has in common with training by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use yoloslim_core::darknet::Cfg;
use yoloslim_core::eval::Evaluation;
use yoloslim_core::labels::{self, Dataset, Split};
use yoloslim_core::prune::{PruneOptions, Target};
use yoloslim_core::{Error, Network};

use super::distil::DistilOptions;
use super::{Interrupt, Job, OnNan, Sparsity, Strategy, TrainOptions, Trained, run};
use crate::data::{Augment, synthetic};
use crate::model::Rounding;
use crate::workers::{Workers, threads};

const CFG: &str = "[net]\nwidth=64\nheight=64\n\
    [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=4\npad=1\nactivation=leaky\n\
    [maxpool]\nsize=2\nstride=1\n\
    [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
    [convolutional]\nbatch_normalize=1\nfilters=8\nsize=1\nactivation=mish\n\
    [dropout]\nprobability=.2\n\
    [shortcut]\nfrom=-3\nactivation=linear\n\
    [convolutional]\nfilters=16\nactivation=linear\n\
    [yolo]\nmask=0,1\nanchors=8,8,16,16\nclasses=3\n\
    [route]\nlayers=-3\n\
    [upsample]\nstride=2\n\
    [route]\nlayers=-1,1\n\
    [convolutional]\nfilters=16\nactivation=linear\n\
    [yolo]\nmask=0,1\nanchors=4,4,8,8\nclasses=3\n";

/// A folder with `images` training images, and them read.
fn data(images: usize) -> (tempfile::TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    synthetic::generate(folder.path(), 1, images, 1, 96).unwrap();
    let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
    (folder, dataset)
}

fn options() -> TrainOptions {
    TrainOptions { epochs: 2, batch: 4, sync_bn: true, augment: Augment::default(), ..TrainOptions::default() }
}

/// Trains in a folder of the leader's; the others' does not exist. Validation `stop_in` fails.
fn train(
    dataset: &Dataset,
    folder: &std::path::Path,
    options: &TrainOptions,
    workers: &Workers,
    stop_in: Option<usize>,
) -> yoloslim_core::Result<Trained> {
    train_rounded(dataset, folder, options, workers, (stop_in, None))
}

/// [`train`] with something that rounds the numbers of forward passes.
fn train_rounded(
    dataset: &Dataset,
    folder: &std::path::Path,
    options: &TrainOptions,
    workers: &Workers,
    (stop_in, rounding): (Option<usize>, Option<Arc<dyn Rounding>>),
) -> yoloslim_core::Result<Trained> {
    let network = Network::initialise(Cfg::parse(CFG.as_bytes())?, 1)?;
    // Its anchors lie in another order, so that its maps are moved to the student's.
    let wider = CFG.replacen("filters=8", "filters=12", 1).replace("mask=0,1", "mask=1,0");
    let teacher = match &options.distil {
        Some(_) => Some(Network::initialise(Cfg::parse(wider.as_bytes())?, 7)?),
        None => None,
    };
    let job = Job {
        network,
        teacher,
        dataset,
        val: None,
        options,
        folder,
        threads: 1,
        workers,
        rounding,
        interrupt: Interrupt::never(),
    };
    let mut validations = 0;
    let mut validate = |_: &Network| {
        validations += 1;
        assert!(workers.leads(), "the leader alone validates");
        if Some(validations) == stop_in {
            return Err(Error::at("here", "stopped"));
        }
        Ok(Evaluation { map50: Some(0.5), ..Evaluation::default() })
    };
    run(job, &mut validate, &mut |_| {})
}

/// The networks and mean losses by epoch of all workers.
fn train_with(size: usize, dataset: &Dataset, options: &TrainOptions) -> Vec<(Network, Vec<f64>)> {
    let folder = tempfile::tempdir().unwrap();
    threads::run(size, |workers| {
        let trained = train(dataset, folder.path(), options, workers, None).unwrap();
        let losses = trained.epochs.iter().flat_map(|e| [e.loss.boxes, e.loss.objectness, e.loss.class]).collect();
        (trained.network, losses)
    })
}

/// The largest difference of two networks' numbers, as a share of the largest number of the same layer.
fn difference(a: &Network, b: &Network) -> f32 {
    let numbers = |n: &Network| {
        let layers = n.graph.convolutions().map(|(layer, _)| n.conv(layer).clone());
        let parts = layers.flat_map(|c| {
            let norm = c.norm.map_or(vec![], |norm| vec![norm.gamma, norm.mean, norm.variance]);
            [vec![c.kernel, c.bias], norm].concat()
        });
        parts.collect::<Vec<_>>()
    };
    let pairs = numbers(a).into_iter().zip(numbers(b));
    let layer = |(a, b): (Vec<f32>, Vec<f32>)| {
        // `max` passes over what is not a number.
        assert!(a.iter().chain(&b).all(|v| v.is_finite()));
        let largest = a.iter().fold(1e-2_f32, |m, v| m.max(v.abs()));
        a.iter().zip(&b).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / largest
    };
    pairs.map(layer).fold(0.0, f32::max)
}

fn assert_like_one(size: usize, dataset: &Dataset, options: &TrainOptions) {
    let alone = train_with(1, dataset, options).remove(0);
    let together = train_with(size, dataset, options);
    for (network, losses) in &together {
        assert!(network == &together[0].0, "all workers hold the same bits");
        let apart = difference(&alone.0, network);
        assert!(apart < 2e-4, "{size} workers, {} images: {apart}", dataset.samples.len());
        assert!(alone.1.iter().zip(losses).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + a.abs())), "{losses:?}");
    }
}

#[test]
fn two_or_three_workers_train_as_one_does_whatever_is_left_for_the_last_batch() {
    for (size, images) in [(2, 9), (3, 8), (3, 5), (2, 1)] {
        let (_folder, dataset) = data(images);
        assert_like_one(size, &dataset, &options());
    }
}

#[test]
fn accumulation_segments_and_sparsity_are_the_same_for_all_workers() {
    let (_folder, dataset) = data(9);
    assert_like_one(2, &dataset, &TrainOptions { accumulate: 2, segments: 3, multi_scale: true, ..options() });
    let sparsity = Some(Sparsity::fixed(0.05, Strategy::Protect));
    assert_like_one(3, &dataset, &TrainOptions { sparsity, ..options() });
    let target = Some(PruneOptions { target: Target::Channels(0.5), ..PruneOptions::default() });
    assert_like_one(2, &dataset, &TrainOptions { sparsity: Some(Sparsity::auto()), target, ..options() });
}

#[test]
fn all_losses_distil_the_same_for_all_workers() {
    let (_folder, dataset) = data(9);
    let distil = |names: &[&str]| {
        let losses = names.iter().map(|name| name.parse().unwrap()).collect();
        TrainOptions { distil: Some(DistilOptions { losses, ..DistilOptions::default() }), ..options() }
    };
    let all = [
        distil(&["soft-targets", "weighted-class", "bounded-box", "row-softmax", "score-softmax"]),
        distil(&["hint", "masked", "channel-wise"]),
    ];
    all.iter().for_each(|losses| assert_like_one(2, &dataset, losses));
    // In batches of one image a worker has none.
    let (_folder, dataset) = data(1);
    all.iter().for_each(|losses| assert_like_one(2, &dataset, losses));
}

#[test]
fn without_shared_statistics_all_workers_still_hold_the_same_network() {
    let (_folder, dataset) = data(7);
    let options = TrainOptions { sync_bn: false, ..options() };
    let together = train_with(3, &dataset, &options);
    assert!(together.iter().all(|(network, _)| network == &together[0].0));
    let alone = train_with(1, &dataset, &options).remove(0);
    assert!(difference(&alone.0, &together[0].0) > 1e-3, "batch statistics are each worker's own");
}

/// Makes the images of one forward pass no numbers.
struct Poison {
    /// Which one, from 0; none for no worker's harm.
    at: Option<usize>,
    seen: AtomicUsize,
}

impl Rounding for Poison {
    fn images(&self, images: &mut [f32]) {
        if Some(self.seen.fetch_add(1, Ordering::Relaxed)) == self.at {
            images.fill(f32::NAN);
        }
    }
    fn weights(&self, _: usize, _: &mut [f32], _: &mut [f32]) {}
    fn before(&self, _: usize, _: &mut [f32]) {}
    fn after(&self, _: usize, _: &mut [f32]) {}
    fn before_range(&self, _: usize) -> Option<crate::model::Ends> {
        None
    }
    fn after_range(&self, _: usize) -> Option<crate::model::Ends> {
        None
    }
}

#[test]
fn a_batch_that_is_no_number_for_one_worker_is_left_out_by_all() {
    let (_folder, dataset) = data(12);
    for (sync_bn, accumulate, on_nan) in
        [(true, 1, OnNan::Skip), (false, 1, OnNan::Skip), (false, 2, OnNan::Skip), (true, 1, OnNan::Stop)]
    {
        let options = TrainOptions { sync_bn, accumulate, on_nan, ..options() };
        let folder = tempfile::tempdir().unwrap();
        let results = threads::run(2, |workers| {
            let at = (workers.rank() == 1).then_some(1);
            let rounding: Arc<dyn Rounding> = Arc::new(Poison { at, seen: AtomicUsize::new(0) });
            train_rounded(&dataset, folder.path(), &options, workers, (None, Some(rounding)))
        });
        let list = std::fs::read_to_string(folder.path().join("nan-batch.txt")).unwrap();
        assert!(list.starts_with("epoch 1, batch 2: the loss") && list.lines().count() == 1 + 4 * 4, "{list}");
        if on_nan == OnNan::Stop {
            let messages: Vec<String> = results.into_iter().map(|r| r.err().unwrap().to_string()).collect();
            assert!(messages.iter().all(|m| m.contains("epoch 1, batch 2")), "{messages:?}");
            continue;
        }
        let trained: Vec<Trained> = results.into_iter().map(Result::unwrap).collect();
        assert!(trained[0].network == trained[1].network, "all workers hold the same bits");
        for epochs in trained.iter().map(|t| &t.epochs) {
            assert_eq!(epochs.iter().map(|e| e.skipped).collect::<Vec<_>>(), [accumulate, 0]);
            assert!(epochs.iter().all(|e| e.loss.boxes.is_finite()));
        }
        trained[0].network.check_finite().unwrap();
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_workers() {
    let (_folder, dataset) = data(7);
    let expected = train_with(1, &dataset, &options()).remove(0).0;
    for size in [3, 1] {
        let folder = tempfile::tempdir().unwrap();
        let stopped = threads::run(1, |workers| train(&dataset, folder.path(), &options(), workers, Some(2)).is_err());
        assert!(stopped[0]);
        let networks =
            threads::run(size, |workers| train(&dataset, folder.path(), &options(), workers, None).unwrap().network);
        assert!(difference(&expected, &networks[0]) < 2e-4, "gone on with by {size}");
    }
}
