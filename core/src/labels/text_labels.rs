//! Darknet's label files, which YOLO data sets share: one `class cx cy w h` a line, as shares of the image.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::warnings::Warnings;
use super::{Dataset, Object, Sample, image_files};
use crate::boxes::BBox;
use crate::{Error, Result, files};

/// Reads the sizes and the label files of `images`. `source` is the file that describes the data set.
pub(super) fn load(images: Vec<PathBuf>, names: Vec<String>, source: &Path) -> Result<Dataset> {
    let sizes = image_files::sizes(&images, source)?;
    let mut reader = Reader { classes: names.len(), source, warnings: Warnings::default(), unlabelled: 0 };
    let mut samples = Vec::with_capacity(images.len());
    for (image, (width, height)) in images.into_iter().zip(sizes) {
        let objects = reader.objects(&image, (width, height))?;
        samples.push(Sample { image, width, height, objects });
    }
    let mut warnings = reader.warnings.into_lines();
    if let Some(first) = samples.first().filter(|_| reader.unlabelled == samples.len()) {
        warnings.push(format!(
            "none of the {} images has a label file: the first was looked for at {}",
            samples.len(),
            label_path(&first.image).display()
        ));
    }
    Ok(Dataset { names, samples, warnings })
}

/// Where the labels of an image are: its last folder `images` or `JPEGImages` replaced by `labels`, and `.txt`.
fn label_path(image: &Path) -> PathBuf {
    let parts: Vec<Component> = image.components().collect();
    let named = |part: &Component| [OsStr::new("images"), OsStr::new("JPEGImages")].contains(&part.as_os_str());
    let swap = parts.iter().rposition(named);
    let swapped = |(at, part): (usize, &Component)| {
        if Some(at) == swap { OsStr::new("labels").to_owned() } else { part.as_os_str().to_owned() }
    };
    parts.iter().enumerate().map(swapped).collect::<PathBuf>().with_extension("txt")
}

struct Reader<'a> {
    classes: usize,
    source: &'a Path,
    warnings: Warnings,
    unlabelled: usize,
}

impl Reader<'_> {
    fn objects(&mut self, image: &Path, size: (usize, usize)) -> Result<Vec<Object>> {
        let candidates = [label_path(image), image.with_extension("txt")];
        let Some(path) = candidates.iter().find(|path| path.exists()) else {
            self.unlabelled += 1;
            return Ok(Vec::new());
        };
        let text = files::read_text(path)?;
        let mut objects = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let place = || format!("{}:{}", path.display(), index + 1);
            if line.trim().is_empty() {
                continue;
            }
            let (class, shares) = parse(line).map_err(|cause| {
                Error::at(place(), cause).fix("write `class cx cy width height`, the last four as shares of the image")
            })?;
            if class >= self.classes {
                return Err(self.class_error(&place(), class));
            }
            let pixels = shares.mapped((size.0 as f64, size.1 as f64), (0.0, 0.0));
            if let Some(bbox) = self.warnings.repaired(pixels, size, place) {
                objects.push(Object { class, bbox, area: bbox.area(), difficult: false, crowd: false });
            }
        }
        Ok(objects)
    }

    fn class_error(&self, place: &str, class: usize) -> Error {
        let source = self.source.display();
        Error::at(place, format!("class {class}, but {source} has {} classes", self.classes))
            .fix(format!("use 0 to {}, or name more classes in {source}", self.classes.saturating_sub(1)))
    }
}

/// A coordinate that no box has that merely leaves its image.
const FAR: f64 = 2.0;

/// One line as class and box in shares of the image. More than five numbers are the corners of a polygon, as
/// segmentation sets have them; its bounding box is taken.
fn parse(line: &str) -> Result<(usize, BBox), String> {
    let number = |word: &str| match word.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("`{word}` is not a number")),
    };
    let values = line.split_whitespace().map(number).collect::<Result<Vec<f64>, String>>()?;
    let [class, rest @ ..] = values.as_slice() else {
        return Err("the line is empty".to_owned());
    };
    if *class < 0.0 || class.fract() != 0.0 {
        return Err(format!("`{class}` is not a class number"));
    }
    // A little outside happens and is clipped; what is far outside was never a share.
    if let Some(far) = rest.iter().find(|value| value.abs() > FAR) {
        return Err(format!("{far} is no share of the image: is it in pixels?"));
    }
    let bbox = match rest {
        &[cx, cy, width, height] => BBox::from_center(cx, cy, width, height),
        corners if corners.len() >= 6 && corners.len() % 2 == 0 => around(corners),
        _ => return Err(format!("{} numbers where 5 belong", values.len())),
    };
    Ok((*class as usize, bbox))
}

fn around(corners: &[f64]) -> BBox {
    let start = BBox { x0: f64::INFINITY, y0: f64::INFINITY, x1: f64::NEG_INFINITY, y1: f64::NEG_INFINITY };
    corners.chunks_exact(2).fold(start, |b, corner| BBox {
        x0: b.x0.min(corner[0]),
        y0: b.y0.min(corner[1]),
        x1: b.x1.max(corner[0]),
        y1: b.y1.max(corner[1]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::testing::Folder;

    #[test]
    fn labels_lie_beside_the_last_images_folder() {
        for (image, label) in [
            ("/data/images/train/a.jpg", "/data/labels/train/a.txt"),
            ("/images/x/images/a.b.png", "/images/x/labels/a.b.txt"),
            ("voc/JPEGImages/a.jpg", "voc/labels/a.txt"),
            ("my_images/a.jpg", "my_images/a.txt"),
        ] {
            assert_eq!(label_path(Path::new(image)), Path::new(label));
        }
    }

    #[test]
    fn lines_are_boxes_or_polygons() {
        let square = BBox { x0: 0.25, y0: 0.25, x1: 0.75, y1: 0.75 };
        assert_eq!(parse("3 0.5 0.5 0.5 0.5"), Ok((3, square)));
        assert_eq!(parse(" 3.0\t0.5 0.5 0.5 0.5 "), Ok((3, square)));
        assert_eq!(parse("0 0.25 0.5 0.5 0.25 0.75 0.5 0.5 0.75"), Ok((0, square)));
        for (line, cause) in [
            ("0 0.5 0.5 0.5", "4 numbers where 5 belong"),
            ("0 0.5 0.5 0.5 0.5 0.9", "6 numbers where 5 belong"),
            ("0 0.5 nan 0.5 0.5", "`nan` is not a number"),
            ("0 0.5 inf 0.5 0.5", "`inf` is not a number"),
            ("car 0.5 0.5 0.5 0.5", "`car` is not a number"),
            ("-1 0.5 0.5 0.5 0.5", "`-1` is not a class number"),
            ("1.5 0.5 0.5 0.5 0.5", "`1.5` is not a class number"),
        ] {
            assert_eq!(parse(line), Err(cause.to_owned()), "{line}");
        }
    }

    #[test]
    fn missing_and_empty_label_files_are_negatives_and_bad_boxes_are_counted() {
        let folder = Folder::new();
        let images = ["a", "b", "c"].map(|name| folder.image(&format!("images/{name}.png"), 100, 50));
        folder.text("labels/a.txt", "1 0.5 0.5 0.5 0.5\r\n0 0.5 0.5 0 0.5\r\n\r\n0 0.9 0.5 0.4 0.2\r\n");
        folder.text("labels/b.txt", "");
        let names = vec!["x".to_owned(), "y".to_owned()];
        let dataset = load(images.to_vec(), names, Path::new("d.yaml")).unwrap();
        let counts: Vec<usize> = dataset.samples.iter().map(|sample| sample.objects.len()).collect();
        assert_eq!(counts, [2, 0, 0]);
        let objects = &dataset.samples[0].objects;
        assert_eq!((objects[0].class, objects[0].area), (1, 50.0 * 25.0));
        assert_eq!((objects[1].bbox.x1, objects[1].bbox.y0), (100.0, 20.0));
        assert_eq!(dataset.warnings.len(), 2, "{:?}", dataset.warnings);
        assert!(dataset.warnings[0].contains("a.txt:2") && dataset.warnings[1].contains("a.txt:4"));
    }

    #[test]
    fn labels_in_the_images_own_folder_are_found() {
        let folder = Folder::new();
        let image = folder.image("images/a.png", 100, 50);
        folder.text("images/a.txt", "0 0.5 0.5 0.5 0.5");
        let dataset = load(vec![image], vec!["x".to_owned()], Path::new("d.yaml")).unwrap();
        assert_eq!((dataset.samples[0].objects.len(), dataset.warnings.len()), (1, 0));
    }

    #[test]
    fn a_class_without_a_name_is_an_error_at_its_line() {
        let folder = Folder::new();
        let image = folder.image("images/a.png", 100, 50);
        folder.text("labels/a.txt", "0 0.5 0.5 0.5 0.5\n2 0.5 0.5 0.5 0.5\n");
        let names = vec!["x".to_owned(), "y".to_owned()];
        let message = load(vec![image], names, Path::new("d.yaml")).unwrap_err().to_string();
        assert!(message.contains("a.txt:2: class 2, but d.yaml has 2 classes; use 0 to 1"), "{message}");
    }

    #[test]
    fn a_set_without_any_label_file_says_where_it_looked() {
        let folder = Folder::new();
        let image = folder.image("images/a.png", 100, 50);
        let dataset = load(vec![image], vec!["x".to_owned()], Path::new("d.yaml")).unwrap();
        assert!(dataset.warnings[0].contains("labels/a.txt"), "{:?}", dataset.warnings);
    }
}
