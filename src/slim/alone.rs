//! Slimming by this process alone.

use std::path::Path;

use yoloslim_core::labels::Dataset;
use yoloslim_core::record::RunRecord;
use yoloslim_core::{Network, Result, files};

use super::{Observer, Pipeline, SlimOptions};
use crate::journal::read_or_begin;
use crate::train::Interrupt;
use crate::workers::Workers;

/// Slims a network: baseline, sparsity training, pruning and fine-tuning on the images of `train`, measured on those of `val`.
/// Gives the slim network and the record of all stages, which lie in `folder` with reports and checkpoints; stages that are
/// complete there are passed over, so that the same call goes on where it was stopped.
///
/// ```no_run
/// use yoloslim::core::labels::{self, Split};
/// use yoloslim::core::{Network, Result};
/// use yoloslim::slim::{SlimOptions, slim_alone};
///
/// fn main() -> Result<()> {
///     let start = Network::read("trained.cfg".as_ref(), "trained.weights".as_ref())?;
///     let [train, val] = [Split::Train, Split::Val].map(|split| labels::load("my.data".as_ref(), &split));
///     let options = SlimOptions { baseline_epochs: 0, ..SlimOptions::default() };
///     let (slim, record) = slim_alone(start, (&train?, &val?), &options, "run".as_ref(), &mut |_| {})?;
///     println!("{} parameters\n{}", slim.parameters(), yoloslim::slim::table(&record));
///     Ok(())
/// }
/// ```
///
/// # Errors
/// Options out of range, or that do not fit the net or the images; as [`Pipeline::run`].
pub fn slim_alone(
    start: Network,
    (train, val): (&Dataset, &Dataset),
    options: &SlimOptions,
    folder: &Path,
    observe: &mut Observer,
) -> Result<(Network, RunRecord)> {
    let workers = &Workers::alone();
    options.check()?;
    options.rehearse(&start)?;
    options.rehearse_training(&start, train, workers)?;
    files::create_folder(folder)?;
    let mut record = read_or_begin(folder, &[], train, val)?;
    let threads = rayon::current_num_threads();
    let pipeline = Pipeline { train, val, options, folder, threads, workers, interrupt: Interrupt::never() };
    let slim = pipeline.run(start, &mut record, observe)?;
    Ok((slim, record))
}
