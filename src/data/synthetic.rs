//! A generated data set: small discs, squares and triangles in clutter.
//!
//! It needs no download, its labels are exact, and it is what the tool is for: small objects that a detector
//! learns in minutes, though a ring is no disc and a cross is no square.

mod scene;
mod shapes;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use yoloslim_core::labels::Object;
use yoloslim_core::{Error, Result, files};

use super::random::{Purpose, stream};
use super::save::encode;

pub use scene::CLASSES;

/// The sides of the square pictures that objects of 8 to 28 pixels fit into, in pixels.
const SIZES: std::ops::RangeInclusive<usize> = 96..=4096;

/// Writes a YOLO data set into `folder`: `data.yaml`, `images/train`, `images/val` and `labels/..` with
/// `train` and `val` PNG pictures of `size` x `size` pixels. The same seed gives the same pictures.
///
/// A picture shows one to six objects of 8 to 28 pixels; one in ten shows none.
///
/// # Errors
/// If `folder` holds something already, can't be written, or a number makes no data set.
pub fn generate(folder: &Path, seed: u64, train: usize, val: usize, size: usize) -> Result<()> {
    generate_with(folder, seed, (train, val), size, &mut |_, _| {})
}

/// Pictures that are drawn between two tellings of progress.
const AT_ONCE: usize = 32;

/// [`generate`] that tells how many of how many pictures are drawn.
///
/// # Errors
/// As [`generate`].
pub fn generate_with(
    folder: &Path,
    seed: u64,
    (train, val): (usize, usize),
    size: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    if train == 0 || val == 0 {
        let error = Error::at("generated data", format!("{train} training and {val} validation pictures"));
        return Err(error.fix("ask for at least one of each"));
    }
    if !SIZES.contains(&size) {
        let error = Error::at("generated data", format!("pictures of {size} pixels"));
        return Err(error.fix(format!("ask for a size from {} to {}", SIZES.start(), SIZES.end())));
    }
    refuse_overwriting(folder)?;
    for (number, (split, count)) in [("train", train), ("val", val)].into_iter().enumerate() {
        let images = made(folder.join("images").join(split))?;
        let labels = made(folder.join("labels").join(split))?;
        let drawn = |index| {
            let (picture, objects) = scene::draw(size, &mut stream(seed, number, Purpose::Scene, index));
            let image = images.join(format!("{index:05}.png"));
            written(&image, &encode(&picture, &image)?)?;
            let text: String = objects.iter().map(|object| label(object, size as f64)).collect();
            written(&labels.join(format!("{index:05}.txt")), text.as_bytes())
        };
        for first in (0..count).step_by(AT_ONCE) {
            let end = count.min(first + AT_ONCE);
            (first..end).into_par_iter().try_for_each(drawn)?;
            progress(end + number * train, train + val);
        }
    }
    let names: String = CLASSES.iter().enumerate().map(|(i, name)| format!("  {i}: {name}\n")).collect();
    let yaml =
        format!("# Generated pictures, seed {seed}.\npath: .\ntrain: images/train\nval: images/val\nnames:\n{names}");
    // Last, so that a folder with a data.yaml is a complete data set.
    files::write_whole(&folder.join("data.yaml"), yaml.as_bytes())
}

fn refuse_overwriting(folder: &Path) -> Result<()> {
    let occupied = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if occupied || folder.is_file() {
        let error = Error::at(folder.display(), "there is something already, and nothing is overwritten");
        return Err(error.fix("name a new folder or delete this one"));
    }
    Ok(())
}

fn made(folder: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&folder).map_err(|e| {
        Error::at(folder.display(), format!("cannot make the folder: {e}")).fix("check the path and its permissions")
    })?;
    Ok(folder)
}

/// Writes a file without waiting for the disk, which for hundreds of small ones takes longer than drawing
/// them; they can be generated again, and without data.yaml they are no data set.
fn written(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|e| {
        Error::at(path.display(), format!("cannot write: {e}")).fix("check the disk's free space and the permissions")
    })
}

/// A line of a YOLO label file: class, centre and size as shares of the picture.
fn label(object: &Object, size: f64) -> String {
    let b = object.bbox;
    let (cx, cy) = ((b.x0 + b.x1) / 2.0 / size, (b.y0 + b.y1) / 2.0 / size);
    let (w, h) = ((b.x1 - b.x0) / size, (b.y1 - b.y0) / size);
    format!("{} {cx:.6} {cy:.6} {w:.6} {h:.6}\n", object.class)
}

#[cfg(test)]
mod tests {
    use yoloslim_core::labels::{Split, load};

    use super::*;

    #[test]
    fn the_generated_set_reads_as_a_data_set_without_repairs() {
        let folder = tempfile::tempdir().unwrap();
        generate(folder.path(), 3, 30, 5, 160).unwrap();
        for (split, count) in [(Split::Train, 30), (Split::Val, 5)] {
            let dataset = load(&folder.path().join("data.yaml"), &split).unwrap();
            assert_eq!(
                (dataset.samples.len(), dataset.names.as_slice()),
                (count, CLASSES.map(String::from).as_slice())
            );
            assert_eq!(dataset.warnings, Vec::<String>::new());
            assert!(dataset.samples.iter().all(|s| (s.width, s.height) == (160, 160)));
            assert!(dataset.samples.iter().map(|s| s.objects.len()).sum::<usize>() > count);
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.tex"), "").unwrap();
        assert!(generate(folder.path(), 3, 1, 1, 160).unwrap_err().to_string().contains("overwritten"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn numbers_that_make_no_data_set_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (train, val, size) in [(0, 1, 160), (1, 0, 160), (1, 1, 20)] {
            assert!(generate(folder.path(), 3, train, val, size).is_err());
        }
    }
}
