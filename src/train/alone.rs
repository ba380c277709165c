//! Training as a program calls it that has no other processes to share it with.

use std::path::Path;

use yoloslim_core::labels::Dataset;
use yoloslim_core::{Network, Result, files};

use super::distil::read_teacher;
use super::{Event, Interrupt, Job, TrainOptions, Trained, run};
use crate::detect::{DetectOptions, Detector};
use crate::workers::Workers;

/// Trains `network` on the first data set and measures it on the second, on all cores of this process. Checkpoints go
/// to `folder`, which is made; where it holds some already, training goes on from them. `observe` is told of every
/// batch and epoch.
///
/// ```
/// use yoloslim::core::labels::{self, Split};
/// use yoloslim::data::synthetic;
/// use yoloslim::train::{TrainOptions, train_alone};
///
/// let folder = tempfile::tempdir().unwrap();
/// synthetic::generate(folder.path(), 1, 6, 2, 96)?;
/// let [train, val] = [Split::Train, Split::Val].map(|split| labels::load(&folder.path().join("data.yaml"), &split));
/// let options = TrainOptions { epochs: 1, batch: 3, size: Some(64.into()), ..TrainOptions::default() };
/// let network = yoloslim::demo::network()?;
/// let trained = train_alone(network, (&train?, &val?), &options, &folder.path().join("run"), &mut |_| {})?;
/// assert_eq!(trained.epochs.len(), 1);
/// assert!(trained.evaluation.unwrap().map50.is_some());
/// assert!(folder.path().join("run/last.weights").is_file());
/// # Ok::<(), yoloslim::core::Error>(())
/// ```
///
/// # Errors
/// As [`run`]; a teacher that the options name and that can't be read.
pub fn train_alone(
    network: Network,
    (dataset, val): (&Dataset, &Dataset),
    options: &TrainOptions,
    folder: &Path,
    observe: &mut dyn FnMut(Event),
) -> Result<Trained> {
    files::create_folder(folder)?;
    let job = Job {
        teacher: read_teacher(options.distil.as_ref(), &network.graph)?,
        network,
        dataset,
        val: Some(val),
        options,
        folder,
        threads: rayon::current_num_threads(),
        workers: &Workers::alone(),
        rounding: None,
        interrupt: Interrupt::never(),
    };
    let mut validate = |net: &Network| Detector::new(net, DetectOptions::for_evaluation(options.size))?.evaluate(val);
    run(job, &mut validate, observe)
}
