//! COCO's `instances` JSON.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::json_numbers::{flag, whole};
use super::warnings::Warnings;
use super::{Dataset, Object, Sample, Split, image_files};
use crate::boxes::BBox;
use crate::{Error, Result, files};

/// A COCO file as a data set, with the numbers that the file knows images and classes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Instances {
    /// The images in order of id, as pycocotools goes through them; paths and sizes are as the file has them.
    pub dataset: Dataset,
    /// The id of each sample.
    pub image_ids: Vec<i64>,
    /// The id of each class; classes are in order of id.
    pub category_ids: Vec<i64>,
}

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    #[serde(deserialize_with = "whole")]
    id: i64,
    file_name: String,
    #[serde(deserialize_with = "whole")]
    width: usize,
    #[serde(deserialize_with = "whole")]
    height: usize,
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(default, deserialize_with = "whole")]
    id: i64,
    #[serde(deserialize_with = "whole")]
    image_id: i64,
    #[serde(deserialize_with = "whole")]
    category_id: i64,
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default, deserialize_with = "flag")]
    iscrowd: bool,
}

#[derive(Deserialize)]
struct Category {
    #[serde(deserialize_with = "whole")]
    id: i64,
    name: String,
}

/// Reads a COCO file without looking for its images.
///
/// # Errors
/// When the file is no COCO JSON, an id occurs twice, or an annotation is of an image or a category that is not there.
pub fn read(path: &Path) -> Result<Instances> {
    let bytes = files::read(path)?;
    let mut file: File = serde_json::from_slice(&bytes).map_err(|e| unreadable(path, &e))?;
    file.images.sort_by_key(|image| image.id);
    file.categories.sort_by_key(|category| category.id);
    let image_ids: Vec<i64> = file.images.iter().map(|image| image.id).collect();
    let category_ids: Vec<i64> = file.categories.iter().map(|category| category.id).collect();
    let names = file.categories.into_iter().map(|category| category.name).collect();
    let sample = |image: Image| Sample {
        image: PathBuf::from(image.file_name),
        width: image.width,
        height: image.height,
        objects: Vec::new(),
    };
    let samples = file.images.into_iter().map(sample).collect();
    let mut dataset = Dataset { names, samples, warnings: Vec::new() };
    let positions = (positions(path, "image", &image_ids)?, positions(path, "category", &category_ids)?);
    add_objects(&mut dataset, path, &file.annotations, &positions.0, &positions.1)?;
    Ok(Instances { dataset, image_ids, category_ids })
}

/// What keeps a file from being read: one of its values, or what it lacks.
fn unreadable(path: &Path, e: &serde_json::Error) -> Error {
    let cause = e.to_string();
    let value = e.is_data() && cause.starts_with("invalid") && !cause.starts_with("invalid length");
    let error = Error::at(path.display(), format!("this is no COCO instances file: {cause}"));
    error.fix(if value {
        "correct the value that ends there"
    } else {
        "write `images`, `annotations` with `bbox`, and `categories`"
    })
}

fn positions(path: &Path, kind: &str, ids: &[i64]) -> Result<HashMap<i64, usize>> {
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(Error::at(path.display(), format!("the {kind} id {} occurs twice", pair[0]))
                .fix("give each its own id"))
        }
        None => Ok(ids.iter().enumerate().map(|(position, id)| (*id, position)).collect()),
    }
}

fn add_objects(
    dataset: &mut Dataset,
    path: &Path,
    annotations: &[Annotation],
    images: &HashMap<i64, usize>,
    categories: &HashMap<i64, usize>,
) -> Result<()> {
    let mut warnings = Warnings::default();
    for annotation in annotations {
        let place = || format!("{}, annotation {}", path.display(), annotation.id);
        let unknown = |what: &str, id: i64| {
            Error::at(place(), format!("{what} {id} is not in the file")).fix("add it or leave the annotation out")
        };
        let image = *images.get(&annotation.image_id).ok_or_else(|| unknown("image", annotation.image_id))?;
        let class =
            *categories.get(&annotation.category_id).ok_or_else(|| unknown("category", annotation.category_id))?;
        let sample = &mut dataset.samples[image];
        let [x, y, width, height] = annotation.bbox;
        let given = BBox::from_corner(x, y, width, height);
        if let Some(bbox) = warnings.repaired(given, (sample.width, sample.height), place) {
            let area = annotation.area.unwrap_or_else(|| bbox.area());
            sample.objects.push(Object { class, bbox, area, difficult: false, crowd: annotation.iscrowd });
        }
    }
    dataset.warnings = warnings.into_lines();
    Ok(())
}

/// Reads a COCO file and finds its images: beside it, in its folder's siblings `images`, `<split>`,
/// `<split>2017` or in `images/<split>..`.
///
/// # Errors
/// As [`read`], and when an image is missing, unreadable or of another size than the file says.
pub(super) fn load(path: &Path, split: &Split) -> Result<Dataset> {
    let mut dataset = read(path)?.dataset;
    let folders = image_folders(path, split);
    let mut last = 0;
    for sample in &mut dataset.samples {
        // Most often all images are in one folder, so that the last one is tried first.
        let order = std::iter::once(last).chain(0..folders.len());
        let found = order.into_iter().find(|&folder| folders[folder].join(&sample.image).is_file());
        last = found.unwrap_or(last);
        sample.image = folders[last].join(&sample.image);
    }
    let images: Vec<PathBuf> = dataset.samples.iter().map(|sample| sample.image.clone()).collect();
    let sizes = image_files::sizes(&images, path)?;
    for (sample, (width, height)) in dataset.samples.iter().zip(sizes) {
        if (sample.width, sample.height) != (width, height) {
            let cause = format!(
                "the image is {width}x{height}, but {} says {}x{}",
                path.display(),
                sample.width,
                sample.height
            );
            return Err(Error::at(sample.image.display(), cause).fix("use the images that the labels were made for"));
        }
    }
    Ok(dataset)
}

fn image_folders(path: &Path, split: &Split) -> Vec<PathBuf> {
    let beside = path.parent().unwrap_or(Path::new("")).to_owned();
    let above = beside.join("..");
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    // `val2017` of instances_val2017.json, then the split's own spellings.
    let own = stem.rsplit('_').next().unwrap_or_default().to_owned();
    let spelled = split.spellings().into_iter().flat_map(|s| [s.to_owned(), format!("{s}2017"), format!("{s}2014")]);
    let names: Vec<String> = std::iter::once(own).chain(spelled).filter(|name| !name.is_empty()).collect();
    let roots = [beside.clone(), above.clone(), beside.join("images"), above.join("images")];
    let named = roots.iter().flat_map(|root| names.iter().map(move |name| root.join(name)));
    roots.iter().cloned().chain(named).filter(|folder| folder.is_dir() || *folder == beside).collect()
}

/// The JSON file of a split in a COCO folder: in it or its `annotations`, `instances_` files first. None in a folder of
/// another kind.
///
/// # Errors
/// A folder with files of other splits alone.
pub(super) fn file_of(folder: &Path, split: &Split) -> Result<Option<PathBuf>> {
    let places = [folder.join("annotations"), folder.to_owned()];
    let mut files = Vec::new();
    for place in places.iter().filter(|place| place.is_dir()) {
        files.extend(image_files::entries(place)?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "json")));
    }
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let instances = |path: &&PathBuf| name(path).starts_with("instances");
    let found: Vec<&PathBuf> = files.iter().filter(|path| split.is_in(&name(path))).collect();
    let best = found.iter().copied().find(instances).or(found.first().copied()).cloned();
    let of_any = |path: &&PathBuf| [Split::Train, Split::Val, Split::Test].iter().any(|split| split.is_in(&name(path)));
    let others: Vec<String> = files.iter().filter(instances).filter(of_any).map(name).collect();
    if best.is_none() && !others.is_empty() {
        return Err(Error::at(folder.display(), format!("no file in it is of the split `{split}`"))
            .fix(format!("choose that of {}", others.join(" or "))));
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::testing::Folder;

    const IMAGES: &str = r#"[{"id": 9, "file_name": "b.png", "width": 100, "height": 50},
        {"id": 4, "file_name": "a.png", "width": 100, "height": 50, "license": 1}]"#;
    const CATEGORIES: &str = r#"[{"id": 90, "name": "dog"}, {"id": 18, "name": "cat", "supercategory": "animal"}]"#;

    fn json(annotations: &str) -> String {
        format!(r#"{{"info": {{}}, "images": {IMAGES}, "annotations": [{annotations}], "categories": {CATEGORIES}}}"#)
    }

    #[test]
    fn ids_become_positions_and_crowds_and_areas_are_kept() {
        let folder = Folder::new();
        let annotations = r#"{"id": 1, "image_id": 9, "category_id": 90, "bbox": [10, 20, 30, 20], "area": 123.5,
            "iscrowd": 1, "segmentation": {"counts": [1, 2], "size": [50, 100]}},
            {"image_id": 4, "category_id": 18, "bbox": [90, 0, 20, 10.5]},
            {"id": 3, "image_id": 4, "category_id": 18, "bbox": [90, 0, 0, 10.5]}"#;
        let read = read(&folder.text("a.json", &json(annotations))).unwrap();
        assert_eq!((read.image_ids, read.category_ids), (vec![4, 9], vec![18, 90]));
        assert_eq!(read.dataset.names, ["cat", "dog"]);
        let [first, second] = read.dataset.samples.as_slice() else { panic!("two images") };
        assert_eq!((first.objects.len(), first.objects[0].area, first.objects[0].bbox.x1), (1, 105.0, 100.0));
        let crowd = &second.objects[0];
        assert_eq!((crowd.class, crowd.area, crowd.crowd), (1, 123.5, true));
        assert_eq!(read.dataset.warnings.len(), 2);
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats_and_crowds_as_booleans() {
        let text = r#"{"images": [{"id": 4.0, "file_name": "a.png", "width": 100.0, "height": 50}], "annotations": [
            {"id": 1, "image_id": 4, "category_id": 2.0, "bbox": [1, 1, 5, 5], "iscrowd": true},
            {"id": 2, "image_id": 4.0, "category_id": 2, "bbox": [1, 1, 5, 5], "iscrowd": false},
            {"id": 3, "image_id": 4, "category_id": 2, "bbox": [1, 1, 5, 5], "iscrowd": 1.0}],
            "categories": [{"id": 2, "name": "a"}]}"#;
        let folder = Folder::new();
        let samples = read(&folder.text("a.json", text)).unwrap().dataset.samples;
        assert_eq!((samples[0].width, samples[0].height), (100, 50));
        assert_eq!(samples[0].objects.iter().map(|o| o.crowd).collect::<Vec<_>>(), [true, false, true]);
        for (from, to) in [("100.0", "100.5"), ("100.0", "-1"), ("100.0", "\"wide\""), ("true", "\"yes\"")] {
            let message = read(&folder.text("b.json", &text.replace(from, to))).unwrap_err().to_string();
            assert!(message.contains("whole number") && message.contains("at line"), "{message}");
            assert!(message.ends_with("; correct the value that ends there"), "{message}");
        }
    }

    #[test]
    fn a_folder_without_the_split_that_is_asked_for_tells_which_it_has() {
        let folder = Folder::new();
        let val = folder.text("annotations/instances_val2017.json", "{}");
        folder.text("annotations/captions_val2017.json", "{}");
        let file = |name: &str| file_of(&folder.path(""), &name.parse().unwrap());
        for name in ["val", "val2017"] {
            assert_eq!(file(name), Ok(Some(val.clone())));
        }
        for name in ["test", "val2014"] {
            let message = file(name).unwrap_err().to_string();
            let wanted = format!("no file in it is of the split `{name}`; choose that of instances_val2017.json");
            assert!(message.ends_with(&wanted), "{message}");
        }
        assert!(file_of(&folder.path("annotations"), &Split::Train).is_err());
        folder.text("other/notes.json", "{}");
        assert_eq!(file_of(&folder.path("other"), &Split::Train), Ok(None));
    }

    #[test]
    fn images_are_found_in_the_usual_folders_for_file_and_folder() {
        for images in ["annotations", "images", "val2017", "images/val", "annotations/images"] {
            let folder = Folder::new();
            for name in ["a", "b"] {
                folder.image(&format!("{images}/{name}.png"), 100, 50);
            }
            let file = folder.text("annotations/instances_val2017.json", &json(""));
            folder.text("annotations/captions_val2017.json", "{}");
            for path in [file, folder.path("")] {
                let dataset = crate::labels::load(&path, &Split::Val).unwrap_or_else(|e| panic!("{images}: {e}"));
                assert_eq!(dataset.samples.len(), 2, "{images}");
            }
        }
    }

    #[test]
    fn mistakes_are_named_with_a_fix() {
        let annotation = |image: u32, category: u32| {
            json(&format!(r#"{{"id": 5, "image_id": {image}, "category_id": {category}, "bbox": [1, 1, 5, 5]}}"#))
        };
        let twice = format!(r#"{{"images": [], "categories": [{0}, {0}]}}"#, r#"{"id": 1, "name": "a"}"#);
        for (text, expected) in [
            (annotation(1, 18), "annotation 5: image 1 is not in the file"),
            (annotation(4, 2), "annotation 5: category 2 is not in the file"),
            (twice, "the category id 1 occurs twice"),
            ("[]".to_owned(), "this is no COCO instances file"),
            (json(r#"{"image_id": 4, "category_id": 18, "bbox": [1, null, 5, 5]}"#), "this is no COCO instances file"),
        ] {
            let folder = Folder::new();
            let message = read(&folder.text("a.json", &text)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn missing_images_and_other_sizes_are_errors() {
        let folder = Folder::new();
        folder.image("images/a.png", 100, 50);
        let file = folder.text("a.json", &json(""));
        let message = load(&file, &Split::Val).unwrap_err().to_string();
        assert!(message.contains("b.png: this image is missing, 1 of the 2"), "{message}");
        folder.image("images/b.png", 50, 100);
        let message = load(&file, &Split::Val).unwrap_err().to_string();
        assert!(message.contains("the image is 50x100, but"), "{message}");
    }
}
