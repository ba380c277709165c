//! Keeps what a person sees of a run up to date: after every epoch and every stage the record, the report and the
//! TensorBoard events are written.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use yoloslim_core::eval::Evaluation;
use yoloslim_core::labels::Dataset;
use yoloslim_core::record::{DataRecord, Environment, EpochRecord, GammaSummary, RECORD, RunRecord, StageRecord};
use yoloslim_core::{Error, Network, Result, cost, files};

use crate::data::fingerprint;
use crate::events::EventsFile;
use crate::input_size::InputSize;
use crate::model::{time_in_turn, time_layers};
use crate::report;
use crate::samples;

/// The journal of one stage.
pub struct Journal<'a> {
    run: &'a Path,
    record: &'a mut RunRecord,
    stage: &'a str,
    /// The folder of the stage, where its events go.
    folder: PathBuf,
    /// Made with the first event, so that a resumption that has nothing to do leaves no empty file.
    events: Option<EventsFile>,
    /// Epochs that the events don't have yet.
    unwritten: Vec<EpochRecord>,
    begin: Instant,
    /// Seconds that earlier processes spent on the stage.
    before: f64,
}

/// What a stage ended with.
pub struct End<'a> {
    /// Its network.
    pub network: &'a Network,
    /// Its epochs.
    pub epochs: Vec<EpochRecord>,
    /// Its accuracy.
    pub evaluation: Option<Evaluation>,
    /// The images that it was measured on.
    pub val: &'a Dataset,
    /// The size of the net's input; the cfg's when none.
    pub size: Option<InputSize>,
}

/// The record of a new run: its command line, this machine, and its data.
#[must_use]
pub fn new_record(command: &[String], train: &Dataset, val: &Dataset) -> RunRecord {
    let objects = |set: &Dataset| set.samples.iter().map(|s| s.objects.len()).sum();
    RunRecord {
        command: command.to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        environment: Some(environment()),
        data: Some(DataRecord {
            names: val.names.clone(),
            train_images: train.samples.len(),
            train_objects: objects(train),
            val_images: val.samples.len(),
            val_objects: objects(val),
            fingerprint: Some(fingerprint(train, Some(val))),
        }),
        ..RunRecord::default()
    }
}

/// The record of what earlier processes did in a run's folder, or a new one.
///
/// # Errors
/// A record that can't be read, or of a run on other images or labels: its stages could not be compared.
pub fn read_or_begin(run: &Path, command: &[String], train: &Dataset, val: &Dataset) -> Result<RunRecord> {
    let (path, new) = (run.join(RECORD), new_record(command, train, val));
    if !path.is_file() {
        return Ok(new);
    }
    let record = RunRecord::read(&path)?;
    let [then, now] = [&record, &new].map(|record| record.data.as_ref().and_then(|data| data.fingerprint.as_ref()));
    if then.is_some() && then != now {
        return Err(Error::at(path.display(), "the run was started on other images or labels")
            .fix("put them back as they were, or start a new run"));
    }
    Ok(record)
}

fn environment() -> Environment {
    Environment {
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        processor: processor(),
        commit: env!("YOLOSLIM_COMMIT").to_owned(),
        features: env!("YOLOSLIM_FEATURES").to_owned(),
        instructions: yoloslim_kernels::cpu_path().to_owned(),
        threads: rayon::current_num_threads(),
        folder: std::env::current_dir().unwrap_or_default(),
        started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    }
}

/// The processor's name, where Linux tells it.
fn processor() -> Option<String> {
    let text = files::read_text(Path::new("/proc/cpuinfo")).ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

impl<'a> Journal<'a> {
    /// Begins the journal of a stage of `planned` epochs, whose events go to `folder`.
    ///
    /// # Errors
    /// A run's folder that can't be written.
    pub fn begin(
        run: &'a Path,
        record: &'a mut RunRecord,
        stage: &'a str,
        planned: usize,
        folder: &Path,
    ) -> Result<Self> {
        record.begin(stage, planned);
        let before = record.running.as_ref().map_or(0.0, |running| running.seconds);
        let (folder, begin) = (folder.to_owned(), Instant::now());
        let journal = Self { run, record, stage, folder, events: None, unwritten: Vec::new(), begin, before };
        journal.write()?;
        Ok(journal)
    }

    /// Notes an epoch. What can't be written now may be with a later epoch, so that training goes on: gives a warning.
    #[must_use]
    pub fn epoch(&mut self, epoch: &EpochRecord) -> Option<String> {
        self.record.add_epoch(epoch);
        self.unwritten.push(epoch.clone());
        let written = self.write_events().and_then(|()| self.pause());
        written.err().map(|e| format!("{e} (the record is written again with the next epoch)"))
    }

    /// Writes down how far the stage has come, for a process that goes on with it.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn pause(&mut self) -> Result<()> {
        let seconds = self.seconds();
        self.record.running.iter_mut().for_each(|running| running.seconds = seconds);
        self.write()
    }

    /// Wall-clock time of the stage so far, that of earlier processes included.
    fn seconds(&self) -> f64 {
        self.before + self.begin.elapsed().as_secs_f64()
    }

    fn write_events(&mut self) -> Result<()> {
        for epoch in self.unwritten.clone() {
            let written = self.events(epoch.epoch + 1).and_then(|events| events.epoch(&epoch));
            if written.is_err() {
                // It may end in half an event, which readers stop at.
                self.events = None;
                return written;
            }
            self.unwritten.remove(0);
        }
        Ok(())
    }

    /// Measures and notes what the stage ended with.
    ///
    /// # Errors
    /// An image that can't be read, or a folder that can't be written.
    pub fn end(mut self, end: End) -> Result<()> {
        let End { network, epochs, evaluation, val, size } = end;
        self.write_events()?;
        if self.record.samples.is_empty() {
            self.record.samples = samples::choose(val, self.run)?;
        }
        samples::show(network, size, self.stage, &mut self.record.samples)?;
        for i in 0..self.record.samples.len() {
            let picture = samples::drawn(&self.record.samples[i], self.run, self.stage, &val.names)?;
            self.events(epochs.len() + 1)?.picture(epochs.len(), &format!("detections/{i}"), &picture)?;
        }
        self.record.complete(StageRecord {
            name: self.stage.to_owned(),
            params: network.parameters(),
            bflops: cost::flops(&network.graph) / 1e9,
            bytes: network.weights_bytes(),
            milliseconds: time_in_turn(std::slice::from_ref(network)).first().map(|seconds| seconds * 1e3),
            layer_milliseconds: time_layers(network).into_iter().map(|seconds| seconds * 1e3).collect(),
            gammas: GammaSummary::of_net(&network.graph, network.gammas()),
            evaluation,
            epochs,
            seconds: self.seconds(),
        });
        self.write()
    }

    fn events(&mut self, first_step: usize) -> Result<&mut EventsFile> {
        let events = match self.events.take() {
            Some(events) => events,
            None => EventsFile::create(&self.folder, first_step)?,
        };
        Ok(self.events.insert(events))
    }

    fn write(&self) -> Result<()> {
        self.record.write(&self.run.join(RECORD))?;
        report::write(self.run).map(|_| ())
    }
}
