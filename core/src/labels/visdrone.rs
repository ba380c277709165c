//! VisDrone's detection folders: `annotations/*.txt` and `images`.

use std::path::{Path, PathBuf};

use super::image_files::{self, Unread};
use super::warnings::Warnings;
use super::{Dataset, Object, Sample, Split};
use crate::boxes::BBox;
use crate::{Error, Result, files};

/// Categories 1 to 10; 0 is a region to ignore and 11 is `others`, which is not scored either.
const NAMES: [&str; 10] =
    ["pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor"];

/// The folder of a split: `path` or its sibling when it is a VisDrone folder, or the one of that split in it.
pub(super) fn folder_of(path: &Path, split: &Split) -> Result<Option<PathBuf>> {
    if is_visdrone(path)? {
        return split.sibling(path).map(Some);
    }
    for folder in image_files::entries(path)?.into_iter().filter(|folder| folder.is_dir()) {
        let name = folder.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| split.is_in(name)) && is_visdrone(&folder)? {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

fn is_visdrone(folder: &Path) -> Result<bool> {
    let annotations = folder.join("annotations");
    if !annotations.is_dir() || !folder.join("images").is_dir() {
        return Ok(false);
    }
    Ok(image_files::entries(&annotations)?.iter().any(|path| path.extension().is_some_and(|e| e == "txt")))
}

/// Reads the set. Regions to ignore and `others` become one crowd of each class, so that whatever is detected in
/// them counts neither way; objects with score 0, which VisDrone does not score, are marked difficult.
pub(super) fn load(folder: &Path) -> Result<Dataset> {
    let mut unread = Unread::default();
    let images = image_files::in_folder(&folder.join("images"), &mut unread)?;
    let left_out = unread.warning(&images, folder)?;
    let sizes = image_files::sizes(&images, folder)?;
    let mut warnings = Warnings::default();
    let mut samples = Vec::with_capacity(images.len());
    for (image, size) in images.into_iter().zip(sizes) {
        let name = image.with_extension("txt");
        let file = folder.join("annotations").join(name.file_name().unwrap_or_default());
        let objects = if file.exists() {
            objects(&file, size, &mut warnings)?
        } else {
            warnings.count("image(s) without an annotation taken as negatives", || image.display().to_string());
            Vec::new()
        };
        samples.push(Sample { image, width: size.0, height: size.1, objects });
    }
    let warnings = warnings.into_lines().into_iter().chain(left_out).collect();
    Ok(Dataset { names: NAMES.map(str::to_owned).to_vec(), samples, warnings })
}

fn objects(file: &Path, size: (usize, usize), warnings: &mut Warnings) -> Result<Vec<Object>> {
    let text = files::read_text(file)?;
    let mut objects = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = || format!("{}:{}", file.display(), index + 1);
        if line.trim().is_empty() {
            continue;
        }
        let [x, y, width, height, score, category] = numbers(line).ok_or_else(|| {
            Error::at(place(), format!("`{}` is no VisDrone annotation", line.trim()))
                .fix("write x,y,width,height,score,category,truncation,occlusion")
        })?;
        let Some(bbox) = warnings.repaired(BBox::from_corner(x, y, width, height), size, place) else { continue };
        let object = |class, crowd, difficult| Object { class, bbox, area: bbox.area(), difficult, crowd };
        match category as usize {
            0 | 11 => objects.extend((0..NAMES.len()).map(|class| object(class, true, false))),
            class @ 1..=10 => objects.push(object(class - 1, false, score == 0.0)),
            other => return Err(Error::at(place(), format!("category {other}")).fix("use 0 to 11")),
        }
    }
    Ok(objects)
}

/// The first six numbers of a line, the last of them a whole number.
fn numbers(line: &str) -> Option<[f64; 6]> {
    let mut words = line.split(',').map(|word| word.trim().parse::<f64>().ok().filter(|value| value.is_finite()));
    let mut next = || words.next().flatten();
    let numbers = [next()?, next()?, next()?, next()?, next()?, next()?];
    (numbers[5] >= 0.0 && numbers[5].fract() == 0.0).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::testing::Folder;

    fn set(annotations: &str) -> Folder {
        let folder = Folder::new();
        for split in ["train", "val"] {
            folder.image(&format!("VisDrone2019-DET-{split}/images/a.png"), 100, 50);
            folder.text(&format!("VisDrone2019-DET-{split}/annotations/a.txt"), annotations);
        }
        folder
    }

    #[test]
    fn objects_ignored_regions_and_unscored_ones_are_told_apart() {
        let folder = set("10,20,30,20,1,4,0,0\r\n0,0,50,25,0,0,0,0,\n5,5,6,6,0,1,0,2\n0,0,10,10,1,11,0,0\n");
        let dataset = load(&folder.path("VisDrone2019-DET-val")).unwrap();
        let objects = &dataset.samples[0].objects;
        assert_eq!((dataset.names.len(), objects.len()), (10, 22));
        assert_eq!((objects[0].class, objects[0].area), (3, 600.0));
        assert_eq!(objects.iter().filter(|object| object.crowd).count(), 20);
        assert!(objects[11].difficult && objects[11].class == 0);
    }

    #[test]
    fn images_that_are_not_read_are_told() {
        let folder = set("");
        folder.text("VisDrone2019-DET-val/images/b.webp", "");
        let warnings = load(&folder.path("VisDrone2019-DET-val")).unwrap().warnings;
        assert!(warnings[0].contains("webp"), "{warnings:?}");
    }

    #[test]
    fn a_split_is_found_in_the_folder_above_and_beside() {
        let folder = set("");
        let train = folder.path("VisDrone2019-DET-train");
        let val = folder.path("VisDrone2019-DET-val");
        assert_eq!(folder_of(&folder.path(""), &Split::Val).unwrap(), Some(val.clone()));
        assert_eq!(folder_of(&train, &Split::Val).unwrap(), Some(val));
        assert_eq!(folder_of(&folder.path(""), &Split::Test).unwrap(), None);
        assert_eq!(crate::labels::load(&train, &Split::Train).unwrap().samples.len(), 1);
    }

    #[test]
    fn bad_lines_are_errors() {
        for (line, expected) in [
            ("1,2,3", "a.txt:1: `1,2,3` is no VisDrone"),
            ("1,1,5,5,1,12,0,0", "category 12"),
            ("1,1,5,x,1,1", "no VisDrone"),
        ] {
            let message = load(&set(line).path("VisDrone2019-DET-val")).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
