//! The state of a training run between updates, in one safetensors file that is written whole or not at all.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View};
use yoloslim_core::record::EpochRecord;
use yoloslim_core::{Error, Result, files};

use super::epoch::EpochSoFar;
use super::options::TrainOptions;
use super::trainer::Trainer;

/// The file's name in a run's folder.
const FILE: &str = "last.safetensors";

/// All that going on needs.
pub(super) struct Checkpoint {
    bytes: Vec<u8>,
    /// For messages.
    place: String,
}

/// What a run works on and may not change while it goes on.
pub(super) struct Inputs<'a> {
    pub options: &'a TrainOptions,
    /// The fingerprint of the images and labels.
    pub data: String,
}

/// How far a run has come.
pub(super) struct Progress {
    /// The epochs that are done.
    pub epochs: Vec<EpochRecord>,
    /// The one that is not, if it was begun.
    pub under_way: Option<EpochSoFar>,
    /// The best accuracy so far.
    pub best: f64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { epochs: Vec::new(), under_way: None, best: f64::NEG_INFINITY }
    }
}

/// Names of the arrays of distillation's adaptation layers, where there are any.
const ADAPTATION: [&str; 3] = ["adaptation.parameters", "adaptation.velocity", "adaptation.gradients"];

/// Names of the arrays in the file.
const ARRAYS: [&str; 5] = ["parameters", "statistics", "velocity", "average.parameters", "average.statistics"];

/// An array whose bytes are made when they are written: all at once would be the state a second time.
struct Floats<'a> {
    numbers: &'a [f32],
    shape: [usize; 1],
}

impl View for Floats<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.numbers.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.numbers)
    }
}

impl Checkpoint {
    /// Takes the state down after an epoch, or in one that is under way, with nothing gathered.
    pub fn new(trainer: &Trainer, inputs: &Inputs, progress: &Progress) -> Self {
        let arrays = trainer.numbers();
        let adaptation = trainer.distillation.iter().flat_map(|d| ADAPTATION.into_iter().zip(d.state()));
        let arrays = ARRAYS.into_iter().zip(arrays).chain(adaptation);
        let views = arrays.map(|(name, array)| (name, Floats { numbers: array, shape: [array.len()] }));
        let json = |value| serde_json::to_string(&value).expect("plain data is JSON");
        let mut meta = HashMap::from([
            ("options".to_owned(), json(serde_json::json!(inputs.options))),
            ("data".to_owned(), inputs.data.clone()),
            ("epochs".to_owned(), json(serde_json::json!(progress.epochs))),
            ("under_way".to_owned(), json(serde_json::json!(progress.under_way))),
            ("best".to_owned(), progress.best.to_bits().to_string()),
            ("updates".to_owned(), trainer.updates.to_string()),
        ]);
        if let Some(distillation) = &trainer.distillation {
            meta.insert("teacher".to_owned(), distillation.fingerprint().to_owned());
        }
        let bytes = safetensors::serialize(views, Some(meta)).expect("names are unique and shapes fit");
        Self { bytes, place: FILE.to_owned() }
    }

    /// Writes the file into a run's folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write_whole(&folder.join(FILE), &self.bytes)
    }

    /// Reads the file of a run's folder, if there is one.
    pub fn read_if_there(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Self { bytes: files::read(&path)?, place: path.display().to_string() }))
    }

    fn broken(&self, cause: impl std::fmt::Display) -> Error {
        Error::at(&self.place, format!("no checkpoint of this run: {cause}"))
            .fix("start a new run, from last.cfg and last.weights beside it if you like")
    }

    /// Puts the state into a fresh trainer; gives how far the run has come.
    pub fn resume(&self, trainer: &mut Trainer, inputs: &Inputs) -> Result<Progress> {
        let tensors = SafeTensors::deserialize(&self.bytes).map_err(|e| self.broken(e))?;
        let (_, header) = SafeTensors::read_metadata(&self.bytes).map_err(|e| self.broken(e))?;
        let meta = header.metadata().clone().unwrap_or_default();
        let get = |key: &str| meta.get(key).ok_or_else(|| self.broken(format!("{key} is missing")));
        let before: TrainOptions = serde_json::from_str(get("options")?).map_err(|e| self.broken(e))?;
        if before != *inputs.options {
            return Err(self.broken("it was written with other options"));
        }
        if *get("data")? != inputs.data {
            return Err(self.broken("it was written with other images or labels"));
        }
        let parameters = trainer.net.layout().parameters();
        let statistics = trainer.net.layout().statistics();
        let lengths = [parameters, statistics, parameters, parameters, statistics];
        let mut arrays = Vec::new();
        for (name, len) in ARRAYS.iter().zip(lengths) {
            let array = floats(tensors.tensor(name).map_err(|e| self.broken(e))?.data());
            if array.len() != len {
                return Err(self.broken(format!("{name} holds {} numbers, the cfg wants {len}", array.len())));
            }
            arrays.push(array);
        }
        let mut next = arrays.into_iter();
        let mut take = || next.next().unwrap_or_default();
        *trainer.net.parameters_mut() = take();
        *trainer.net.statistics_mut() = take();
        trainer.velocity = take();
        trainer.averages = (take(), take());
        trainer.updates = get("updates")?.parse().map_err(|e| self.broken(e))?;
        if let Some(distillation) = &mut trainer.distillation {
            let mut state = <[Vec<f32>; 3]>::default();
            for (array, name) in state.iter_mut().zip(ADAPTATION) {
                *array = floats(tensors.tensor(name).map_err(|e| self.broken(e))?.data());
            }
            if get("teacher")? != distillation.fingerprint() || !distillation.restore(state) {
                return Err(self.broken("it was written with another teacher"));
            }
        }
        Ok(Progress {
            epochs: serde_json::from_str(get("epochs")?).map_err(|e| self.broken(e))?,
            under_way: serde_json::from_str(get("under_way")?).map_err(|e| self.broken(e))?,
            best: f64::from_bits(get("best")?.parse().map_err(|e| self.broken(e))?),
        })
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
