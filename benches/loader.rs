//! Milliseconds a sample of the training loader and the inference iterator on one thread.
//!
//! `cargo bench --bench loader` makes 32 JPEG files of 640x480 and prints the best of five epochs over them.

use std::path::PathBuf;
use std::time::Instant;

use yoloslim::data::{self, Augment, InferenceBatches, Loader, LoaderOptions, Rgb};
use yoloslim_core::boxes::{BBox, Fit};
use yoloslim_core::labels::{Dataset, Object, Sample};
use yoloslim_core::{Error, Result};

const IMAGES: usize = 32;

fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| Error::at("temporary folder", e))?;
    let samples = (0..IMAGES).map(|i| sample(folder.path().join(format!("{i}.jpg")), i)).collect::<Result<_>>()?;
    let dataset = Dataset { samples, ..Dataset::default() };
    let single = Augment { mosaic: 0.0, ..Augment::default() };
    for (name, augment, cache_bytes) in [
        ("mosaic, cached", Augment::default(), 1 << 30),
        ("mosaic, decoding", Augment::default(), 0),
        ("single, cached", single, 1 << 30),
        ("plain, cached", Augment::none(), 1 << 30),
    ] {
        let options = LoaderOptions { augment, cache_bytes, threads: 1, batch: 8, ..LoaderOptions::default() };
        let loader = Loader::new(&dataset, options)?;
        report(name, || loader.epoch(0, 0).try_for_each(|batch| batch.map(|_| ())))?;
    }
    let paths: Vec<PathBuf> = dataset.samples.iter().map(|sample| sample.image.clone()).collect();
    report("inference", || {
        InferenceBatches::new(paths.clone(), (416, 416), Fit::Letterbox, 8, 1)?.try_for_each(|batch| batch.map(|_| ()))
    })
}

/// Prints the best time of five; the first fills the cache and doesn't count.
fn report(name: &str, mut epoch: impl FnMut() -> Result<()>) -> Result<()> {
    epoch()?;
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        epoch()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{name:<18} {:6.2} ms a sample at 416x416", best * 1000.0 / IMAGES as f64);
    Ok(())
}

/// An image with some texture, so that decoding it takes what a photograph takes.
fn sample(image: PathBuf, seed: usize) -> Result<Sample> {
    let (width, height) = (640, 480);
    let byte = |i: usize| ((i * 31 + seed * 97) as f64 * 0.013).sin().mul_add(60.0, 128.0) as u8 ^ (i % 7) as u8;
    let pixels = (0..width * height * 3).map(byte).collect();
    data::save(&Rgb { width, height, pixels }, &image)?;
    let bbox = BBox { x0: 100.0, y0: 100.0, x1: 200.0, y1: 180.0 };
    let objects = vec![Object { class: 0, bbox, area: 8000.0, difficult: false, crowd: false }; 5];
    Ok(Sample { image, width, height, objects })
}
