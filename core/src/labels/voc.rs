//! Pascal VOC folders: `Annotations/*.xml`, `JPEGImages` and `ImageSets/Main/<split>.txt`.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::warnings::Warnings;
use super::{Dataset, Object, Sample, Split, image_files, names};
use crate::boxes::BBox;
use crate::{Error, Result, files};

#[derive(Deserialize)]
struct Annotation {
    size: Option<Size>,
    #[serde(default, rename = "object")]
    objects: Vec<Labelled>,
}

#[derive(Deserialize)]
struct Size {
    #[serde(default)]
    width: String,
    #[serde(default)]
    height: String,
}

#[derive(Deserialize)]
struct Labelled {
    name: String,
    #[serde(default)]
    difficult: String,
    bndbox: Corners,
}

#[derive(Deserialize)]
struct Corners {
    xmin: String,
    ymin: String,
    xmax: String,
    ymax: String,
}

/// Whether a folder looks like a VOC data set.
pub(super) fn is_voc(folder: &Path) -> bool {
    folder.join("Annotations").is_dir() && folder.join("JPEGImages").is_dir()
}

/// Reads one split. The classes are those of a names file in the folder (`classes.txt`, `labels.txt` or
/// `*.names`), else all names in `Annotations`, sorted.
///
/// Corners are taken as edges, as the tools that write VOC files nowadays mean them, not as VOC's own
/// 1-based inclusive pixels. An image without an annotation is a negative.
pub(super) fn load(folder: &Path, split: &Split) -> Result<Dataset> {
    let ids = ids(folder, split)?;
    let (names, mut parsed) = match names_file(folder)? {
        Some(file) => (names::read(&file)?, HashMap::new()),
        None => names_in(&folder.join("Annotations"))?,
    };
    let classes: HashMap<&str, usize> = names.iter().enumerate().map(|(class, name)| (name.as_str(), class)).collect();
    let images = images(folder, &ids)?;
    let sizes = image_files::sizes(&images, folder)?;
    let mut warnings = Warnings::default();
    let mut samples = Vec::with_capacity(ids.len());
    for ((id, image), size) in ids.iter().zip(images).zip(sizes) {
        let file = folder.join("Annotations").join(format!("{id}.xml"));
        let annotation = match parsed.remove(id) {
            Some(annotation) => Some(annotation),
            None if file.exists() => Some(parse(&file)?),
            None => None,
        };
        let objects = match annotation {
            Some(annotation) => objects(&annotation, &file, &classes, size, &mut warnings)?,
            None => {
                warnings.count("image(s) without an annotation taken as negatives", || image.display().to_string());
                Vec::new()
            }
        };
        samples.push(Sample { image, width: size.0, height: size.1, objects });
    }
    Ok(Dataset { names, samples, warnings: warnings.into_lines() })
}

fn ids(folder: &Path, split: &Split) -> Result<Vec<String>> {
    let lists = folder.join("ImageSets").join("Main");
    let list = split.spellings().iter().map(|name| lists.join(format!("{name}.txt"))).find(|list| list.is_file());
    let list = list.ok_or_else(|| missing_list(&lists, split))?;
    let text = files::read_text(&list)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // VOC's lists of a class say of each image whether it shows one; most show none.
    let verdict = |line: &str| line.rsplit_once(char::is_whitespace).map_or("", |(_, verdict)| verdict).to_owned();
    let verdicts: Vec<String> = lines.clone().map(verdict).collect();
    if verdicts.iter().all(|v| matches!(&**v, "1" | "0" | "-1")) && verdicts.iter().any(|v| v == "-1") {
        return Err(Error::at(list.display(), "this list tells which images show a class, and is no split")
            .fix("choose a list with one image name a line, train or val say"));
    }
    let id = |line: &str| if image_files::is_image(Path::new(line)) { stem(Path::new(line)) } else { line.to_owned() };
    Ok(lines.map(id).collect())
}

fn missing_list(lists: &Path, split: &Split) -> Error {
    let there: Vec<String> = image_files::entries(lists).unwrap_or_default().iter().map(|list| stem(list)).collect();
    let fix = "write it with one image name a line, without extension";
    let error = Error::at(lists.join(format!("{split}.txt")).display(), "the list of this split is missing");
    if there.is_empty() { error.fix(fix) } else { error.fix(format!("{fix}, or choose one of: {}", there.join(", "))) }
}

fn names_file(folder: &Path) -> Result<Option<PathBuf>> {
    let usual = ["classes.txt", "labels.txt"].map(|name| folder.join(name));
    if let Some(file) = usual.into_iter().find(|file| file.is_file()) {
        return Ok(Some(file));
    }
    Ok(image_files::entries(folder)?.into_iter().find(|path| path.extension().is_some_and(|e| e == "names")))
}

type Parsed = HashMap<String, Annotation>;

fn names_in(annotations: &Path) -> Result<(Vec<String>, Parsed)> {
    let mut names = BTreeSet::new();
    let mut parsed = HashMap::new();
    for file in image_files::entries(annotations)?.into_iter().filter(|f| f.extension().is_some_and(|e| e == "xml")) {
        let annotation = parse(&file)?;
        names.extend(annotation.objects.iter().map(|object| object.name.trim().to_owned()));
        parsed.insert(stem(&file), annotation);
    }
    if names.is_empty() {
        return Err(Error::at(annotations.display(), "no annotation has an object, so there are no classes")
            .fix("name the classes in a file classes.txt beside this folder"));
    }
    Ok((names.into_iter().collect(), parsed))
}

fn stem(file: &Path) -> String {
    file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn parse(file: &Path) -> Result<Annotation> {
    let text = files::read_text(file)?;
    quick_xml::de::from_str(&text)
        .map_err(|e| Error::at(file.display(), format!("this is no VOC annotation: {e}")).fix("write it again"))
}

/// The image of every id; where it would be when there is none.
fn images(folder: &Path, ids: &[String]) -> Result<Vec<PathBuf>> {
    let folder = folder.join("JPEGImages");
    let mut by_id: HashMap<String, Vec<PathBuf>> = HashMap::new();
    for path in image_files::entries(&folder)?.into_iter().filter(|path| image_files::is_image(path)) {
        by_id.entry(stem(&path)).or_default().push(path);
    }
    let image = |id: &String| match by_id.get(id).map(Vec::as_slice) {
        None | Some([]) => Ok(folder.join(format!("{id}.jpg"))),
        Some([image]) => Ok(image.clone()),
        Some([first, second, ..]) => Err(Error::at(first.display(), format!("{} has the same name", second.display()))
            .fix("take away the one that was not labelled")),
    };
    ids.iter().map(image).collect()
}

fn objects(
    annotation: &Annotation,
    file: &Path,
    classes: &HashMap<&str, usize>,
    size: (usize, usize),
    warnings: &mut Warnings,
) -> Result<Vec<Object>> {
    let declared = annotation.size.as_ref().map(|s| (s.width.trim().parse().ok(), s.height.trim().parse().ok()));
    if declared.is_some_and(|declared| declared != (Some(size.0), Some(size.1))) {
        warnings.count("annotation(s) with another size than their image's", || file.display().to_string());
    }
    let mut objects = Vec::with_capacity(annotation.objects.len());
    for (index, labelled) in annotation.objects.iter().enumerate() {
        let place = || format!("{}, object {}", file.display(), index + 1);
        let name = labelled.name.trim();
        let class = *classes.get(name).ok_or_else(|| unnamed(name, classes).inside(place()))?;
        let bbox = corners(&labelled.bndbox).map_err(|cause| Error::at(place(), cause).fix("correct the number"))?;
        if let Some(bbox) = warnings.repaired(bbox, size, place) {
            let difficult = labelled.difficult.trim() == "1";
            objects.push(Object { class, bbox, area: bbox.area(), difficult, crowd: false });
        }
    }
    Ok(objects)
}

/// A class that no name stands for; most often one is mistyped, here or there.
fn unnamed(name: &str, classes: &HashMap<&str, usize>) -> Error {
    let mut names: Vec<&str> = classes.keys().copied().collect();
    names.sort_unstable();
    let error = Error::at("", format!("the class `{name}` is not in the names file"));
    match names::nearest(name, &names) {
        Some(meant) => error.fix(format!("write `{meant}` if that is what is meant, else add it there")),
        None => error.fix("add it there"),
    }
}

fn corners(corners: &Corners) -> Result<BBox, String> {
    let number = |text: &str| match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("`{text}` is not a coordinate")),
    };
    Ok(BBox {
        x0: number(&corners.xmin)?,
        y0: number(&corners.ymin)?,
        x1: number(&corners.xmax)?,
        y1: number(&corners.ymax)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::testing::{Folder, shared};

    fn object(name: &str, corners: [&str; 4]) -> String {
        let [x0, y0, x1, y1] = corners;
        format!(
            "<object><name>{name}</name><pose>Left</pose><difficult>{}</difficult><part><name>head</name>\
             <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part><bndbox><xmax>{x1}</xmax>\
             <xmin>{x0}</xmin><ymin>{y0}</ymin><ymax>{y1}</ymax></bndbox></object>",
            u8::from(name == "dog")
        )
    }

    fn set(objects: &str) -> Folder {
        let folder = Folder::new();
        folder.image("JPEGImages/a.png", 100, 50);
        folder.image("JPEGImages/b.png", 100, 50);
        folder.text("ImageSets/Main/train.txt", "a\r\nb.png\r\n");
        folder.text(
            "Annotations/a.xml",
            &format!(
                "\u{feff}<?xml version=\"1.0\"?>\n<annotation><filename>a.png</filename>\
                 <size><width>100</width><height>50</height><depth>3</depth></size>{objects}</annotation>"
            ),
        );
        folder.text("Annotations/b.xml", "<annotation><filename>b.png</filename></annotation>");
        folder
    }

    #[test]
    fn objects_parts_and_difficult_ones_are_read() {
        let dog = object("dog", ["10", "20", "30.5", "40"]);
        let folder = set(&format!("{dog}<segmented>0</segmented>{}", object(" cat ", ["1", "1", "5", "5"])));
        let dataset = load(&folder.path(""), &Split::Train).unwrap();
        assert_eq!(dataset.names, ["cat", "dog"]);
        let objects = &dataset.samples[0].objects;
        assert_eq!((objects[0].class, objects[0].difficult), (1, true));
        assert_eq!(objects[0].bbox, BBox { x0: 10.0, y0: 20.0, x1: 30.5, y1: 40.0 });
        assert_eq!((objects[1].class, objects[1].difficult, objects[1].area), (0, false, 16.0));
        assert!(dataset.samples[1].objects.is_empty() && dataset.warnings.is_empty());
    }

    #[test]
    fn a_names_file_decides_the_order_and_misses_are_errors() {
        let folder = set(&object("dog", ["10", "20", "30", "40"]));
        folder.text("classes.txt", "zebra\ndog\n");
        assert_eq!(load(&folder.path(""), &Split::Train).unwrap().samples[0].objects[0].class, 1);
        folder.text("classes.txt", "zebra\n");
        let message = load(&folder.path(""), &Split::Train).unwrap_err().to_string();
        assert!(message.contains("a.xml, object 1: the class `dog` is not in the names file"), "{message}");
        folder.text("classes.txt", "zebra\ndogs\n");
        let message = load(&folder.path(""), &Split::Train).unwrap_err().to_string();
        assert!(message.contains("write `dogs` if that is what is meant"), "{message}");
    }

    #[test]
    fn bad_numbers_files_and_splits_are_errors() {
        for (corners, expected) in
            [(["1", "x", "3", "4"], "object 1: `x` is not a coordinate"), (["nan", "1", "3", "4"], "`nan`")]
        {
            let message = load(&set(&object("dog", corners)).path(""), &Split::Train).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let folder = set("<object>");
        let message = load(&folder.path(""), &Split::Train).unwrap_err().to_string();
        assert!(message.contains("a.xml: this is no VOC annotation"), "{message}");
        let message = load(&folder.path(""), &Split::Test).unwrap_err().to_string();
        assert!(message.contains("Main/test.txt: the list of this split is missing"), "{message}");
        assert!(message.contains("or choose one of: train"), "{message}");
        let folder = set(&object("dog", ["10", "20", "30", "40"]));
        folder.text("ImageSets/Main/dog_train.txt", "a  1\nb -1\n");
        let message = load(&folder.path(""), &Split::Named("dog_train".to_owned())).unwrap_err().to_string();
        assert!(message.contains("dog_train.txt: this list tells which images show a class"), "{message}");
        folder.text("ImageSets/Main/empty.txt", "\n");
        assert_eq!(load(&folder.path(""), &Split::Named("empty".to_owned())).unwrap().samples, []);
        folder.image("JPEGImages/cat 1.png", 100, 50);
        folder.text("ImageSets/Main/spaced.txt", "cat 1\n");
        assert_eq!(load(&folder.path(""), &Split::Named("spaced".to_owned())).unwrap().samples.len(), 1);
        folder.image("JPEGImages/a.jpg", 100, 50);
        let message = load(&folder.path(""), &Split::Train).unwrap_err().to_string();
        assert!(
            message.contains("a.png has the same name") || message.contains("a.jpg has the same name"),
            "{message}"
        );
    }

    #[test]
    fn an_annotation_may_say_nothing_of_the_size() {
        for size in ["<size/>", "<size><width></width></size>", ""] {
            let labelled = object("dog", ["10", "20", "30", "40"]);
            let folder = set(&labelled);
            folder.text("Annotations/a.xml", &format!("<annotation>{size}{labelled}</annotation>"));
            assert_eq!(load(&folder.path(""), &Split::Train).unwrap().samples[0].objects.len(), 1, "{size}");
        }
    }

    #[test]
    fn an_image_without_annotation_or_of_another_size_is_told() {
        let folder = set(&object("dog", ["10", "20", "30", "40"]));
        folder.image("JPEGImages/a.png", 120, 50);
        std::fs::remove_file(folder.path("Annotations/b.xml")).unwrap();
        let warnings = load(&folder.path(""), &Split::Train).unwrap().warnings;
        assert!(warnings[0].contains("another size") && warnings[0].contains("a.xml"), "{warnings:?}");
        assert!(warnings[1].contains("without an annotation") && warnings[1].contains("b.png"), "{warnings:?}");
    }

    #[test]
    fn facemask_is_read_whole() {
        let Some(folder) = shared("data/facemask") else { return };
        let train = load(&folder, &Split::Train).unwrap();
        let val = load(&folder, &Split::Val).unwrap();
        assert_eq!(train.names, ["con_mascarilla", "mascarilla_mal_puesta", "sin_mascarilla"]);
        assert_eq!((train.samples.len(), val.samples.len()), (686, 162));
        assert!(crate::labels::duplicates(&train, &val).is_empty());
    }

    #[test]
    fn the_degenerate_boxes_of_bccd_are_counted() {
        let Some(folder) = shared("data/bccd") else { return };
        let splits = ["trainval", "test"].map(|name| load(&folder, &name.parse().unwrap()).unwrap());
        assert_eq!(splits[0].names, ["Platelets", "RBC", "WBC"]);
        let objects: usize = splits.iter().flat_map(|split| &split.samples).map(|sample| sample.objects.len()).sum();
        assert_eq!(objects, 4886);
        let told: Vec<&String> = splits.iter().flat_map(|split| &split.warnings).collect();
        assert!(told.iter().any(|line| line.contains("without width or height")), "{told:?}");
    }
}
