//! What training does with a batch whose numbers are none: neither a checkpoint nor an update ever holds them.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use yoloslim_core::labels::Dataset;
use yoloslim_core::{Error, Result, files};

use super::Event;
use super::epoch::EpochSoFar;
use crate::data::Loader;
use crate::workers::Workers;

/// What happens when the loss or its gradient is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNan {
    /// Training ends; the last checkpoint is whole.
    #[default]
    Stop,
    /// The update that the batch belongs to is left out, and the statistics are put back.
    Skip,
}

/// What was no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    Loss,
    Gradient,
    Statistics,
    Weights,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "the loss of a batch is no number",
            Self::Gradient => "the gradient is no number",
            Self::Statistics => "the batch statistics are no numbers",
            Self::Weights => "the weights are no numbers",
        })
    }
}

/// The images of the last batch that was no number, in a run's folder.
pub(super) const NAN_BATCH: &str = "nan-batch.txt";

/// Watches over the batches of a training.
pub(super) struct Guard<'a> {
    pub on_nan: OnNan,
    pub folder: &'a Path,
    pub dataset: &'a Dataset,
    pub workers: &'a Workers,
    /// Why the last batch was dropped.
    pub last: Cell<Option<Defect>>,
}

impl Guard<'_> {
    /// Deals with batches (counted from 0) that were dropped for a number that is none: the images that it may be of are written
    /// down.
    pub fn defective(
        &self,
        defect: Defect,
        epoch: usize,
        batches: Range<usize>,
        loader: &Loader,
        observe: &mut dyn FnMut(Event),
    ) -> Result<()> {
        self.last.set(Some(defect));
        // A loss is that of the last; a gradient was gathered from all.
        let batches = if defect == Defect::Loss { batches.end - 1..batches.end } else { batches };
        let place = match (batches.start + 1, batches.end) {
            (first, last) if first < last => format!("epoch {}, batches {first} to {last}", epoch + 1),
            (_, last) => format!("epoch {}, batch {last}", epoch + 1),
        };
        let images = batches.flat_map(|number| loader.tiles(epoch, number));
        let names = images.map(|i| self.dataset.samples[i].image.display().to_string());
        let list: Vec<String> = std::iter::once(format!("{place}: {defect}")).chain(names).collect();
        if self.workers.leads() {
            files::write_whole(&self.folder.join(NAN_BATCH), (list.join("\n") + "\n").as_bytes())?;
        }
        match self.on_nan {
            OnNan::Stop => Err(self.diverged(&place, defect)),
            OnNan::Skip => {
                let list = self.folder.join(NAN_BATCH);
                observe(Event::Warning(&format!("{place}: {defect}: left out (images: {})", list.display())));
                Ok(())
            }
        }
    }

    /// Refuses an epoch that nothing was learnt in.
    pub fn require_some(&self, so_far: &EpochSoFar, epoch: usize) -> Result<()> {
        if so_far.skipped < so_far.done {
            return Ok(());
        }
        Err(self.diverged(&format!("epoch {}", epoch + 1), self.last.get().unwrap_or(Defect::Loss)))
    }

    /// Refuses to go on with, or to write, numbers that are none.
    pub fn require_finite<'n>(&self, numbers: impl IntoIterator<Item = &'n [f32]>, epoch: usize) -> Result<()> {
        if numbers.into_iter().flatten().all(|number| number.is_finite()) {
            return Ok(());
        }
        Err(self.diverged(&format!("epoch {}", epoch + 1), Defect::Weights))
    }

    fn diverged(&self, place: &str, defect: Defect) -> Error {
        let (list, folder) = (self.folder.join(NAN_BATCH), self.folder.display());
        let images =
            if list.is_file() { format!("look at the images in {}, or ", list.display()) } else { String::new() };
        let from = match self.folder.join("last.weights").is_file() {
            true => format!(" from {folder}/last.cfg and {folder}/last.weights"),
            false => String::new(),
        };
        let skip = if self.on_nan == OnNan::Stop { ", or --on-nan skip" } else { "" };
        Error::at(place, defect).fix(format!("{images}start a new run{from} with a lower --lr or --sparsity{skip}"))
    }
}
