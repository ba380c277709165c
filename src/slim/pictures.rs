//! Pictures of what the net found before and after, side by side.

use std::path::Path;

use yoloslim_core::labels::Dataset;
use yoloslim_core::{Network, Result};

use crate::data::{self, Rgb, spread_samples};
use crate::detect::{DetectOptions, Detector};
use crate::draw::{self, Panel};

/// Width of one panel in pixels.
const PANEL: usize = 480;

/// Writes one picture to `path`: `images` images of the data set, the baseline's detections left and the slim
/// net's right.
///
/// # Errors
/// An image that can't be read, or a path that can't be written.
pub(super) fn compare(baseline: &Network, slim: &Network, dataset: &Dataset, images: usize, path: &Path) -> Result<()> {
    let mut before = Detector::new(baseline, DetectOptions::default())?;
    let mut after = Detector::new(slim, DetectOptions::default())?;
    let mut found = Vec::new();
    for sample in spread_samples(dataset, images) {
        let image = Rgb::open(&sample.image)?;
        let detections = [before.detect(&image)?, after.detect(&image)?];
        found.push((image, detections));
    }
    let panel = |image, detections, title| Panel { image, detections, title };
    let panels: Vec<Panel> = found
        .iter()
        .flat_map(|(image, [before, after])| [panel(image, before, "baseline"), panel(image, after, "slim")])
        .collect();
    data::save(&draw::sheet(&panels, &dataset.names, 2, PANEL)?, path)
}
