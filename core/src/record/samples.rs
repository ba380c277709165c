//! Detections as data, on a few images that every stage is shown.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::boxes::{BBox, Detection};
use crate::path_text;

/// A validation image, and what the nets find on it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The image file.
    #[serde(serialize_with = "path_text::one")]
    pub image: PathBuf,
    /// A copy small enough to be shown, in the run's folder.
    pub picture: String,
    /// Width of the image in pixels: that which boxes are measured in.
    pub width: usize,
    /// Its height in pixels.
    pub height: usize,
    /// The labelled objects.
    pub objects: Vec<SampleObject>,
    /// What the nets found, stage by stage.
    pub found: Vec<Found>,
}

/// A labelled object of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SampleObject {
    /// Index of the class, from 0.
    pub class: usize,
    /// Where it is, in pixels of the image.
    pub bbox: BBox,
    /// Whether finding it counts as neither a hit nor missing it as a miss: a crowd, or difficult.
    pub ignored: bool,
}

/// What one stage's net found on a sample.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Found {
    /// The stage's name.
    pub stage: String,
    /// From best to worst score, boxes in pixels of the image.
    pub detections: Vec<Detection>,
}

impl SampleRecord {
    /// What the net of that stage found, if it was shown the image.
    #[must_use]
    pub fn found_by(&self, stage: &str) -> Option<&[Detection]> {
        self.found.iter().find(|found| found.stage == stage).map(|found| found.detections.as_slice())
    }
}
