//! Images of a data set as a compiler for a chip takes them: letterboxed to the net's input, as files.

use std::path::PathBuf;

use yoloslim_core::boxes::Fit;
use yoloslim_core::graph::Shape;
use yoloslim_core::{Error, Result};

use crate::data::{self, InferenceBatches, Rgb};

/// What the pictures are called in messages.
const NAME: &str = "calibration.jpg";

/// A picture of the net's input size as a JPEG file's bytes.
pub type Jpeg = Vec<u8>;

/// The images of `paths`, letterboxed on grey to a net's input, in their order, without colours for a net of one
/// channel; `progress` is told how many are done.
///
/// # Errors
/// The first image that can't be read.
pub fn letterboxed(paths: Vec<PathBuf>, input: Shape, progress: &mut dyn FnMut(usize)) -> Result<Vec<Jpeg>> {
    let Shape { channels, height, width } = input;
    let mut pictures = Vec::with_capacity(paths.len());
    for batch in InferenceBatches::new(paths, (width, height), Fit::Letterbox, 1, rayon::current_num_threads())? {
        let pixels = batch?.images.iter().map(|value| (value * 255.0).round() as u8).collect();
        let picture = Rgb { width, height, pixels };
        pictures.push(if channels == 1 {
            data::encode_grey(&picture)?
        } else {
            data::encode(&picture, NAME.as_ref())?
        });
        progress(pictures.len());
    }
    if pictures.is_empty() {
        return Err(Error::at("calibration", "there are no images").fix("give a data set with images"));
    }
    Ok(pictures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_picture_is_of_the_nets_size_with_the_image_in_the_middle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wide.png");
        data::save(&Rgb::filled(40, 20, [200, 100, 50]), &path).unwrap();
        let input = Shape { channels: 3, height: 32, width: 32 };
        let pictures = letterboxed(vec![path.clone()], input, &mut |_| {}).unwrap();
        let written = folder.path().join("out.jpg");
        std::fs::write(&written, &pictures[0]).unwrap();
        let read = Rgb::open(&written).unwrap();
        assert_eq!((read.width, read.height), (32, 32));
        let near = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 4);
        assert!(
            near(read.pixel(16, 16), [200, 100, 50]) && near(read.pixel(16, 2), [128; 3]),
            "{:?}",
            read.pixel(16, 16)
        );
        let grey = &letterboxed(vec![path], Shape { channels: 1, ..input }, &mut |_| {}).unwrap()[0];
        let grey = image::load_from_memory(grey).unwrap();
        assert_eq!(grey.color(), image::ColorType::L8);
        assert!(grey.into_luma8().get_pixel(16, 16)[0].abs_diff(124) <= 4, "0.299 * 200 + 0.587 * 100 + 0.114 * 50");
    }

    #[test]
    fn no_images_are_an_error() {
        assert!(letterboxed(vec![], Shape { channels: 3, height: 32, width: 32 }, &mut |_| {}).is_err());
    }
}
