//! A few validation images that every stage's net is shown: what it finds on them is recorded, for reports and
//! TensorBoard.

use std::path::Path;

use yoloslim_core::boxes::{BBox, Detection};
use yoloslim_core::labels::{Dataset, Sample};
use yoloslim_core::record::{Found, SampleObject, SampleRecord};
use yoloslim_core::{Network, Result, files};

use crate::data::resample::{Rect, resample, whole};
use crate::data::{self, Rgb, spread_samples};
use crate::detect::{DetectOptions, Detector};
use crate::draw;
use crate::input_size::InputSize;

/// How many.
const SAMPLES: usize = 6;
/// Longer side of their copies in pixels, so that reports stay small.
const SIDE: usize = 640;
/// The folder of the copies in a run's folder.
const FOLDER: &str = "samples";

/// Chooses images evenly spaced over the data set and puts small copies into the run's folder.
///
/// # Errors
/// An image that can't be read, or a folder that can't be written.
pub fn choose(dataset: &Dataset, run: &Path) -> Result<Vec<SampleRecord>> {
    files::create_folder(&run.join(FOLDER))?;
    let chosen = spread_samples(dataset, SAMPLES).enumerate();
    chosen.map(|(i, sample)| copy(sample, run, format!("{FOLDER}/{i}.jpg"))).collect()
}

fn copy(sample: &Sample, run: &Path, picture: String) -> Result<SampleRecord> {
    let image = Rgb::open(&sample.image)?;
    let shrink = (SIDE as f64 / image.width.max(image.height) as f64).min(1.0);
    let side = |pixels: usize| ((pixels as f64 * shrink).round() as usize).max(1);
    let mut small = Rgb::filled(side(image.width), side(image.height), [0; 3]);
    let to = Rect { left: 0, top: 0, width: small.width, height: small.height };
    resample(&image, whole(&image), &mut small, to)?;
    data::save(&small, &run.join(&picture))?;
    let object = |o: &yoloslim_core::labels::Object| SampleObject {
        class: o.class,
        bbox: o.bbox,
        ignored: o.crowd || o.difficult,
    };
    Ok(SampleRecord {
        image: sample.image.clone(),
        picture,
        width: image.width,
        height: image.height,
        objects: sample.objects.iter().map(object).collect(),
        found: Vec::new(),
    })
}

/// Shows the images to a net of a stage; `size` is that of its input, the cfg's when none.
///
/// # Errors
/// An image that can't be read any more.
pub fn show(network: &Network, size: Option<InputSize>, stage: &str, samples: &mut [SampleRecord]) -> Result<()> {
    let options = DetectOptions { size: size.map(Into::into), ..DetectOptions::default() };
    let mut detector = Detector::new(network, options)?;
    for sample in samples {
        let detections = detector.detect(&Rgb::open(&sample.image)?)?;
        sample.found.retain(|found| found.stage != stage);
        sample.found.push(Found { stage: stage.to_owned(), detections });
    }
    Ok(())
}

/// The copy of an image with what a stage's net found drawn on it.
///
/// # Errors
/// A copy that is gone.
pub fn drawn(sample: &SampleRecord, run: &Path, stage: &str, names: &[String]) -> Result<Rgb> {
    let mut picture = Rgb::open(&run.join(&sample.picture))?;
    let scale = picture.width as f64 / sample.width.max(1) as f64;
    let scaled = |b: BBox| b.mapped((scale, scale), (0.0, 0.0));
    let found = sample.found_by(stage).unwrap_or_default();
    let found: Vec<Detection> = found.iter().map(|d| Detection { bbox: scaled(d.bbox), ..*d }).collect();
    draw::draw_detections(&mut picture, &found, names);
    Ok(picture)
}
