//! Labelled data sets: which images there are and what is on them.

use std::path::PathBuf;

use crate::boxes::BBox;

/// One labelled object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Index of the class, from 0.
    pub class: usize,
    /// Where it is, in pixels of the image.
    pub bbox: BBox,
    /// Area in square pixels that decides between small, medium and large: the box's, or COCO's segment area.
    pub area: f64,
    /// VOC's `difficult`: neither a hit nor a miss in evaluation.
    pub difficult: bool,
    /// COCO's `iscrowd`: may swallow any number of detections in evaluation.
    pub crowd: bool,
}

/// One image and its objects; none is a negative image.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The image file.
    pub image: PathBuf,
    /// Width in pixels, from the image's header.
    pub width: usize,
    /// Height in pixels, from the image's header.
    pub height: usize,
    /// The labelled objects.
    pub objects: Vec<Object>,
}

/// One split of a data set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dataset {
    /// Class names; their number is the number of classes.
    pub names: Vec<String>,
    /// The images in the order of the split's list.
    pub samples: Vec<Sample>,
    /// What was repaired or left out while reading, for the user: one line a kind, with counts.
    pub warnings: Vec<String>,
}
