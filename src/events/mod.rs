//! Events files that TensorBoard shows: scalars, distributions of gammas by layer, pictures of detections.

mod messages;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use yoloslim_core::record::{EpochRecord, GammaSummary, Histogram, LayerGammas};
use yoloslim_core::{Error, Result};

use crate::data::{self, Rgb};
use messages::{Event, HistogramProto, Image, SessionLog, Summary, Value};

/// `SessionLog.START`
const START: i32 = 1;

/// An events file that is appended to. Each process has its own: TensorBoard reads all of a folder as one run.
pub struct EventsFile {
    file: File,
    path: PathBuf,
}

impl EventsFile {
    /// Makes a new file in `folder`; what earlier files there say of steps from `first_step` on no longer counts.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn create(folder: &Path, first_step: usize) -> Result<Self> {
        let seconds = now() as u64;
        let create = |number: usize| {
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.yoloslim.{number}"));
            (OpenOptions::new().write(true).create_new(true).open(&path), path)
        };
        let taken = |e: &std::io::Error| e.kind() == std::io::ErrorKind::AlreadyExists;
        let mut number = 0;
        let (file, path) = loop {
            match create(number) {
                (Err(e), _) if taken(&e) => number += 1,
                (Err(e), path) => return Err(unwritable(&path, &e)),
                (Ok(file), path) => break (file, path),
            }
        };
        let mut events = Self { file, path };
        events.append(&Event {
            wall_time: now(),
            file_version: Some("brain.Event:2".to_owned()),
            ..Event::default()
        })?;
        let session_log = Some(SessionLog { status: START });
        events.append(&Event { wall_time: now(), step: first_step as i64, session_log, ..Event::default() })?;
        Ok(events)
    }

    /// Writes down an epoch; its step is its number from 1.
    ///
    /// # Errors
    /// A file that can't be written any more.
    pub fn epoch(&mut self, epoch: &EpochRecord) -> Result<()> {
        let mut value: Vec<Value> =
            scalars(epoch).into_iter().filter_map(|(tag, v)| Some(scalar(tag.to_owned(), v?))).collect();
        value.extend(epoch.distilled.iter().map(|(name, loss)| scalar(format!("distillation/{name}"), *loss)));
        value.extend(epoch.gammas.iter().flat_map(gammas));
        self.summary(epoch.epoch + 1, value)
    }

    /// Writes down a picture.
    ///
    /// # Errors
    /// A file that can't be written any more.
    pub fn picture(&mut self, step: usize, tag: &str, picture: &Rgb) -> Result<()> {
        let image = Image {
            height: picture.height as i32,
            width: picture.width as i32,
            colorspace: 3,
            encoded_image_string: data::encode(picture, Path::new("picture.jpg"))?,
        };
        self.summary(step, vec![Value { tag: tag.to_owned(), image: Some(image), ..Value::default() }])
    }

    fn summary(&mut self, step: usize, value: Vec<Value>) -> Result<()> {
        let summary = Some(Summary { value });
        self.append(&Event { wall_time: now(), step: step as i64, summary, ..Event::default() })
    }

    fn append(&mut self, event: &Event) -> Result<()> {
        self.file.write_all(&framed(&event.encode_to_vec())).map_err(|e| unwritable(&self.path, &e))
    }
}

fn unwritable(path: &Path, e: &std::io::Error) -> Error {
    Error::at(path.display(), format!("cannot write: {e}")).fix("check the folder and the disk it is on")
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A TFRecord: the length and the bytes, each with its masked CRC-32C (tensorflow/core/lib/io/record_writer.h).
fn framed(bytes: &[u8]) -> Vec<u8> {
    let masked = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), bytes, &masked(bytes)].concat()
}

fn scalar(tag: String, value: f64) -> Value {
    Value { tag, simple_value: Some(value as f32), ..Value::default() }
}

fn scalars(e: &EpochRecord) -> Vec<(&'static str, Option<f64>)> {
    let gammas = e.gammas.as_ref();
    let sparsity = e.sparsity.as_ref();
    vec![
        ("loss/box", Some(e.loss.boxes)),
        ("loss/objectness", Some(e.loss.objectness)),
        ("loss/class", Some(e.loss.class)),
        ("accuracy/mAP50", e.map50),
        ("accuracy/mAP50-95", e.map),
        ("training/learning_rate", Some(e.learning_rate)),
        ("training/seconds", Some(e.seconds)),
        ("training/waited_for_images", Some(e.waited)),
        ("gammas/near_zero", gammas.map(|g| g.near_zero)),
        ("gammas/zero", gammas.map(|g| g.zero)),
        ("gammas/safe_to_prune", gammas.map(|g| g.safe)),
        ("gammas/median", gammas.map(|g| f64::from(g.quantiles[2]))),
        ("sparsity/factor", sparsity.map(|s| s.s)),
        ("sparsity/targets", sparsity.map(|s| s.targets as f64)),
        ("sparsity/reached", sparsity.map(|s| s.reached as f64)),
    ]
}

fn gammas(summary: &GammaSummary) -> impl Iterator<Item = Value> + '_ {
    summary.layers.iter().map(|layer| Value {
        tag: format!("gamma/layer {:03}", layer.layer),
        histo: Some(histogram(layer)),
        ..Value::default()
    })
}

fn histogram(layer: &LayerGammas) -> HistogramProto {
    let Histogram { counts, sum, sum_squares } = &layer.histogram;
    HistogramProto {
        min: f64::from(layer.quantiles[0]),
        max: f64::from(layer.quantiles[4]),
        num: counts.iter().map(|n| f64::from(*n)).sum(),
        sum: *sum,
        sum_squares: *sum_squares,
        bucket_limit: (0..counts.len()).map(|bin| Histogram::limit(bin).min(f64::MAX)).collect(),
        bucket: counts.iter().map(|n| f64::from(*n)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a file, checksums checked.
    fn read(path: &Path) -> Vec<Event> {
        let bytes = std::fs::read(path).unwrap();
        let (mut rest, mut events) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let message = &rest[12..12 + length];
            assert_eq!(framed(message), rest[..16 + length]);
            events.push(Event::decode(message).unwrap());
            rest = &rest[16 + length..];
        }
        events
    }

    #[test]
    fn frames_carry_the_checksums_of_tfrecord() {
        // Masked CRC-32C of eight bytes that say 24: computed with TensorBoard's own `masked_crc32c`.
        assert_eq!(framed(&[0; 24])[8..12], [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn what_is_written_is_read_again_and_a_second_file_never_replaces_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = EventsFile::create(folder.path(), 0).unwrap();
        let gammas = GammaSummary::new([(4, &[0.0, 0.5][..])]);
        let distilled = [("hint".to_owned(), 0.25)].into();
        first.epoch(&EpochRecord { epoch: 2, map50: Some(0.5), gammas, distilled, ..EpochRecord::default() }).unwrap();
        first.picture(3, "detections/0", &Rgb::filled(8, 4, [9; 3])).unwrap();
        let second = EventsFile::create(folder.path(), 4).unwrap();
        assert_ne!(first.path, second.path);
        let events = read(&first.path);
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        let values = &events[2].summary.as_ref().unwrap().value;
        let named = |tag: &str| values.iter().find(|v| v.tag == tag);
        assert_eq!((events[2].step, named("accuracy/mAP50").unwrap().simple_value), (3, Some(0.5)));
        assert_eq!(named("distillation/hint").unwrap().simple_value, Some(0.25));
        assert!(named("accuracy/mAP50-95").is_none() && named("gammas/safe_to_prune").is_some());
        let histogram = named("gamma/layer 004").unwrap().histo.as_ref().unwrap();
        assert_eq!((histogram.num, histogram.max, histogram.sum, histogram.bucket[0]), (2.0, 0.5, 0.5, 1.0));
        assert!(histogram.bucket_limit.iter().all(|limit| limit.is_finite()));
        let image = events[3].summary.as_ref().unwrap().value[0].image.as_ref().unwrap();
        assert_eq!((image.width, image.height), (8, 4));
        assert_eq!(read(&second.path)[1].step, 4);
    }
}
