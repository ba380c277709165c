//! Labelled data sets: which images there are and what is on them.

mod check;
pub mod coco;
mod darknet;
mod image_files;
mod json_numbers;
mod names;
mod split;
#[cfg(test)]
mod testing;
mod text_labels;
mod visdrone;
mod voc;
mod warnings;
mod yolo;

use std::path::{Path, PathBuf};

pub use check::{check_classes, duplicates};
pub use image_files::images_in;
pub use names::{nearest, read as read_names};
pub use split::Split;

use crate::boxes::BBox;
use crate::{Error, Result};

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

/// Reads one split of a labelled data set whose format is found by looking at `path`: a Darknet `.data`
/// file, a YOLO `.yaml`, a COCO `.json`, a folder of VOC, VisDrone or COCO, or a folder with just one such file.
///
/// Boxes without area are left out and boxes that leave their image are clipped, each kind with one counted
/// warning. EXIF orientation is ignored: labels and sizes are those of the stored pixels.
///
/// # Errors
/// When the format is none of these, a file is missing or unreadable, or a label makes no sense (not a
/// number, a class that has no name).
pub fn load(path: &Path, split: &Split) -> Result<Dataset> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let dataset = match extension.as_str() {
        _ if path.is_dir() => load_folder(path, split),
        _ if !path.exists() => Err(Error::at(path.display(), "no such data set").fix("check the path")),
        "data" => darknet::load(path, split),
        "yaml" | "yml" => yolo::load(path, split),
        "json" => coco::load(&split.sibling(path)?, split),
        _ => Err(unknown_format(path)),
    }?;
    if dataset.samples.is_empty() {
        return Err(Error::at(path.display(), format!("the split `{split}` has no images"))
            .fix("list some images in it or choose another split"));
    }
    Ok(dataset)
}

fn load_folder(path: &Path, split: &Split) -> Result<Dataset> {
    if voc::is_voc(path) {
        return voc::load(path, split);
    }
    if let Some(folder) = visdrone::folder_of(path, split)? {
        return visdrone::load(&folder);
    }
    if let Some(file) = coco::file_of(path, split)? {
        return coco::load(&file, split);
    }
    let described = |file: &PathBuf| file.extension().is_some_and(|e| e == "data" || e == "yaml" || e == "yml");
    let files: Vec<PathBuf> = image_files::entries(path)?.into_iter().filter(described).collect();
    match files.as_slice() {
        [file] => load(file, split),
        [] => Err(unknown_format(path)),
        [first, ..] => Err(Error::at(path.display(), format!("there are {} data set files in it", files.len()))
            .fix(format!("name one of them, for example {}", first.display()))),
    }
}

fn unknown_format(path: &Path) -> Error {
    Error::at(path.display(), "this is no data set that can be read").fix(
        "give a Darknet .data, a YOLO .yaml, a COCO .json, a VOC folder (Annotations, JPEGImages, ImageSets/Main), a \
         VisDrone folder (annotations, images) or a COCO folder (annotations/instances_*.json)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::testing::Folder;

    #[test]
    fn a_folder_with_one_description_is_read_through_it() {
        let folder = Folder::new();
        folder.image("images/a.png", 10, 10);
        folder.text("data.yaml", "train: images\nval: empty.txt\nnames: [a]\n");
        folder.text("empty.txt", "");
        assert_eq!(load(&folder.path(""), &Split::Train).unwrap().samples.len(), 1);
        let message = load(&folder.path(""), &Split::Val).unwrap_err().to_string();
        assert!(message.contains("the split `val` has no images"), "{message}");
        folder.text("other.data", "");
        let message = load(&folder.path(""), &Split::Train).unwrap_err().to_string();
        assert!(message.contains("there are 2 data set files in it; name one of them"), "{message}");
    }

    #[test]
    fn what_is_no_data_set_is_told_what_one_is() {
        let folder = Folder::new();
        let text = folder.text("a.csv", "1,2");
        for path in [folder.path("gone.yaml"), folder.path(""), text] {
            let message = load(&path, &Split::Train).unwrap_err().to_string();
            assert!(message.contains("no such data set") || message.contains("give a Darknet .data"), "{message}");
        }
    }
}
