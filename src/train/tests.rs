//! Tests of whole trainings: how they go on, and what they refuse.

use super::*;
use crate::data::synthetic;
use crate::reestimate::reestimate_on;
use darknet_schedule::{DarknetSchedule, Policy};
use distil::{DistilLoss, DistilOptions};
use yoloslim_core::Error;
use yoloslim_core::darknet::Cfg;
use yoloslim_core::labels::{self, Split};
use yoloslim_core::prune::{PruneOptions, Target};

const CFG: &str = "[net]\nwidth=64\nheight=64\n\
    [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=4\npad=1\nactivation=leaky\n\
    [convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
    [convolutional]\nfilters=16\nactivation=linear\n\
    [yolo]\nmask=0,1\nanchors=8,8,16,16\nclasses=3\n";

/// A wider net of the same heads.
fn teacher() -> Network {
    let wider = CFG.replace("filters=8", "filters=12");
    Network::initialise(Cfg::parse(wider.as_bytes()).unwrap(), 7).unwrap()
}

/// What a training is stopped by.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Nothing,
    /// An error in this validation.
    Validation(usize),
    /// The wish to stop after this batch of that epoch.
    Batch(usize, usize),
}

fn train(dataset: &Dataset, folder: &Path, options: &TrainOptions, threads: usize, stop: Stop) -> Result<Trained> {
    let network = Network::initialise(Cfg::parse(CFG.as_bytes())?, 1)?;
    let teacher = options.distil.as_ref().map(|_| teacher());
    let job = Job {
        network,
        teacher,
        dataset,
        val: None,
        options,
        folder,
        threads,
        workers: &Workers::alone(),
        rounding: None,
        interrupt: Interrupt::new("yoloslim train --resume RUN"),
    };
    let interrupt = job.interrupt.clone();
    let mut validations = 0;
    let mut validate = |_: &Network| {
        validations += 1;
        if stop == Stop::Validation(validations) {
            Err(Error::at("here", "stopped"))
        } else {
            Ok(yoloslim_core::eval::evaluate(&Dataset::default(), &[]))
        }
    };
    run(job, &mut validate, &mut |event| {
        if let (Event::Batch { epoch, done, .. }, Stop::Batch(e, b)) = (event, stop)
            && (epoch, done) == (e, b)
        {
            interrupt.ask();
        }
    })
}

#[test]
fn a_net_without_gammas_is_not_trained_sparse() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::generate(folder.path(), 1, 4, 1, 96).unwrap();
    let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
    let plain = CFG.replace("batch_normalize=1\n", "");
    let network = Network::initialise(Cfg::parse(plain.as_bytes()).unwrap(), 1).unwrap();
    let check = |sparsity| {
        let options = TrainOptions { sparsity, ..TrainOptions::default() };
        check_inputs(&network, None, &dataset, &options, &Workers::alone()).map_err(|e| e.to_string())
    };
    assert_eq!(check(None), Ok(()));
    assert!(check(Some(Sparsity::fixed(0.01, Strategy::Constant))).unwrap_err().starts_with("sparsity: no layer has"));
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_bits_with_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::generate(folder.path(), 1, 10, 2, 96).unwrap();
    let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
    let target = Some(PruneOptions { target: Target::Channels(0.5), ..PruneOptions::default() });
    let distil = Some(DistilOptions { losses: DistilLoss::all(), ..DistilOptions::default() });
    let cached = DistilOptions { cache: Some(folder.path().join("cache")), ..DistilOptions::default() };
    let policy = Policy::Steps(vec![(3, 0.5), (5, 0.1)]);
    let darknet = Some(DarknetSchedule { burn_in: 3, power: 4.0, max_batches: 6, policy });
    let default = TrainOptions::default;
    for (name, options) in [
        ("fixed", TrainOptions { sparsity: Some(Sparsity::fixed(0.01, Strategy::Protect)), ..default() }),
        ("auto", TrainOptions { sparsity: Some(Sparsity::auto()), target, ..default() }),
        ("distilled", TrainOptions { distil, ..default() }),
        ("as Darknet", TrainOptions { darknet, multi_scale: true, segments: 2, ..default() }),
        ("by steps, cached", {
            let schedule = Schedule::Steps;
            TrainOptions { schedule, augment_epochs: Some(2), distil: Some(cached), patience: Some(9), ..default() }
        }),
    ] {
        let options = TrainOptions { epochs: 3, batch: 4, accumulate: 2, ..options };
        let run = |run: &str| {
            let path = folder.path().join(format!("{name}-{run}"));
            std::fs::create_dir(&path).unwrap();
            path
        };
        let [whole, stopped, interrupted] = ["whole", "stopped", "interrupted"].map(run);
        let expected = train(&dataset, &whole, &options, 1, Stop::Nothing).unwrap();
        assert!(train(&dataset, &stopped, &options, 2, Stop::Validation(3)).is_err());
        let resumed = train(&dataset, &stopped, &options, 2, Stop::Nothing).unwrap();
        assert_eq!(resumed.network, expected.network);
        // Asked in the middle of an update, twice in different epochs.
        for (epoch, batch, place) in [(0, 1, "in epoch 1, batch 2"), (1, 3, "after epoch 2")] {
            let result = train(&dataset, &interrupted, &options, 1, Stop::Batch(epoch, batch));
            let error = result.err().unwrap().to_string();
            assert!(error == format!("stopped {place}; go on with: yoloslim train --resume RUN"), "{error}");
        }
        let gone_on = train(&dataset, &interrupted, &options, 1, Stop::Nothing).unwrap();
        assert_eq!(gone_on.network, expected.network, "{name}");
        assert_eq!(resumed.epochs.len(), 3);
        let said = |t: &Trained| {
            t.epochs.iter().map(|e| (e.loss, e.sparsity.clone(), e.distilled.clone())).collect::<Vec<_>>()
        };
        assert_eq!(said(&resumed), said(&expected));
        assert_eq!(said(&gone_on), said(&expected));
        let rates = |t: &Trained| t.epochs.iter().map(|e| e.learning_rate).collect::<Vec<_>>();
        assert_eq!(rates(&gone_on), rates(&expected), "{name}");
        let parts = options.distil.as_ref().map_or(0, |distil| distil.losses_or_default().len());
        assert_eq!(resumed.epochs[2].distilled.values().filter(|part| **part > 0.0).count(), parts, "{name}");
        let zeros = gammas_of(&resumed.network).filter(|g| *g == 0.0).count();
        let targets = resumed.epochs[2].sparsity.as_ref().map(|s| s.targets);
        assert!(targets.is_none_or(|targets| targets >= 6 && zeros >= targets), "{zeros} of {targets:?}");
    }
}

#[test]
fn an_epoch_that_could_not_be_measured_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::generate(folder.path(), 1, 6, 1, 96).unwrap();
    let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
    let options = TrainOptions { epochs: 1, batch: 4, ..TrainOptions::default() };
    let [whole, stopped] = ["whole", "stopped"].map(|run| folder.path().join(run));
    [&whole, &stopped].into_iter().for_each(|run| std::fs::create_dir(run).unwrap());
    let expected = train(&dataset, &whole, &options, 1, Stop::Nothing).unwrap();
    assert!(train(&dataset, &stopped, &options, 1, Stop::Validation(1)).is_err());
    // There is nothing left to learn, so that no image is missed.
    std::fs::remove_dir_all(folder.path().join("images/train")).unwrap();
    assert_eq!(train(&dataset, &stopped, &options, 1, Stop::Nothing).unwrap().network, expected.network);
}

fn gammas_of(network: &Network) -> impl Iterator<Item = f32> + '_ {
    let norms = network.graph.convolutions().filter_map(|(layer, _)| network.conv(layer).norm.as_ref());
    norms.flat_map(|norm| norm.gamma.iter().copied())
}

#[test]
fn a_net_that_was_trained_sparse_is_measured_and_ends_with_statistics_that_do_not_lag() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::generate(folder.path(), 1, 6, 2, 96).unwrap();
    let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
    let sparsity = Some(Sparsity::fixed(0.01, Strategy::Constant));
    let options = TrainOptions { epochs: 2, batch: 4, sparsity, ..TrainOptions::default() };
    let network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
    let job = Job {
        network,
        teacher: None,
        dataset: &dataset,
        val: None,
        options: &options,
        folder: folder.path(),
        threads: 1,
        workers: &Workers::alone(),
        rounding: None,
        interrupt: Interrupt::never(),
    };
    let mut measured = None;
    let mut validate = |network: &Network| {
        measured = Some(network.clone());
        Ok(yoloslim_core::eval::evaluate(&Dataset::default(), &[]))
    };
    let trained = run(job, &mut validate, &mut |_| {}).unwrap().network;
    let variances = |network: &Network| -> Vec<f32> {
        let norms = network.graph.convolutions().filter_map(|(layer, _)| network.conv(layer).norm.as_ref());
        norms.flat_map(|norm| norm.variance.iter().copied()).collect()
    };
    let anew = variances(&reestimate_on(&trained, &dataset).unwrap());
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5 * b.abs();
    assert!(variances(&trained).iter().zip(&anew).all(near), "{:?} {anew:?}", variances(&trained));
    assert!(measured.as_ref() == Some(&trained));
    let last = Network::read(&folder.path().join("last.cfg"), &folder.path().join("last.weights")).unwrap();
    assert!(last.weights == trained.weights);
}

#[test]
fn going_on_with_another_teacher_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::generate(folder.path(), 1, 4, 2, 96).unwrap();
    let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
    let distil = Some(DistilOptions::default());
    let options = TrainOptions { epochs: 1, batch: 4, distil, ..TrainOptions::default() };
    train(&dataset, folder.path(), &options, 1, Stop::Nothing).unwrap();
    let network = Network::initialise(Cfg::parse(CFG.as_bytes()).unwrap(), 1).unwrap();
    let go_on = |teacher| {
        let (network, folder) = (network.clone(), folder.path());
        let workers = &Workers::alone();
        let job = Job {
            network,
            teacher,
            dataset: &dataset,
            val: None,
            options: &options,
            folder,
            threads: 1,
            workers,
            rounding: None,
            interrupt: Interrupt::never(),
        };
        run(job, &mut |_| Ok(yoloslim_core::eval::evaluate(&Dataset::default(), &[])), &mut |_| {})
    };
    assert!(go_on(Some(teacher())).is_ok());
    for (other, reason) in [(Some(network.clone()), "another teacher"), (None, "no teacher")] {
        let message = go_on(other).err().unwrap().to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn going_on_with_other_options_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::generate(folder.path(), 1, 4, 2, 96).unwrap();
    let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
    let options = TrainOptions { epochs: 1, batch: 4, ..TrainOptions::default() };
    train(&dataset, folder.path(), &options, 1, Stop::Nothing).unwrap();
    let other = TrainOptions { epochs: 2, ..options };
    let message = train(&dataset, folder.path(), &other, 1, Stop::Nothing).err().unwrap().to_string();
    assert!(message.contains("other options"), "{message}");
}

#[test]
fn going_on_with_other_labels_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::generate(folder.path(), 1, 4, 2, 96).unwrap();
    let mut dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
    let options = TrainOptions { epochs: 1, batch: 4, ..TrainOptions::default() };
    train(&dataset, folder.path(), &options, 1, Stop::Nothing).unwrap();
    dataset.samples.iter_mut().find_map(|sample| sample.objects.pop()).unwrap();
    let message = train(&dataset, folder.path(), &options, 1, Stop::Nothing).err().unwrap().to_string();
    assert!(message.contains("other images or labels"), "{message}");
}

#[test]
fn a_training_that_diverges_ends_with_the_batches_images_and_writes_no_broken_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::generate(folder.path(), 1, 4, 2, 96).unwrap();
    let dataset = labels::load(&folder.path().join("data.yaml"), &Split::Train).unwrap();
    for (name, on_nan) in [("stop", OnNan::Stop), ("skip", OnNan::Skip)] {
        let run = folder.path().join(name);
        std::fs::create_dir(&run).unwrap();
        let options = TrainOptions {
            epochs: 5,
            batch: 16,
            learning_rate: 1e30,
            warmup_epochs: 0.0,
            on_nan,
            ..TrainOptions::default()
        };
        for _ in 0..2 {
            let message = train(&dataset, &run, &options, 1, Stop::Nothing).err().unwrap().to_string();
            assert!(message.contains("no number") && message.contains("nan-batch.txt"), "{message}");
            assert_eq!(message.contains("--on-nan skip"), on_nan == OnNan::Stop, "{message}");
        }
        let list = std::fs::read_to_string(run.join("nan-batch.txt")).unwrap();
        assert_eq!(list.lines().filter(|line| line.ends_with(".png") || line.ends_with(".jpg")).count(), 16, "{list}");
        if let Ok(bytes) = std::fs::read(run.join("last.safetensors")) {
            let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            for (name, tensor) in tensors.tensors() {
                let mut numbers = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
                assert!(numbers.all(f32::is_finite), "{name}");
            }
        }
    }
}
