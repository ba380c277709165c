//! Pictures in memory and how they come from files.

use std::io::Cursor;
use std::path::Path;

use image::ImageReader;
use image::error::ImageError;
use yoloslim_core::{Error, Result, files};

/// A picture of 8-bit RGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes, row by row, each pixel red, green, blue.
    pub pixels: Vec<u8>,
}

impl Rgb {
    /// A picture of one colour.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, pixels: colour.repeat(width * height) }
    }

    /// Decodes a JPEG, PNG or BMP file, told apart by its content; grey becomes RGB and alpha is dropped.
    ///
    /// Like Darknet, it takes pixels as they are stored: an EXIF rotation isn't applied, because the labels'
    /// tools didn't either.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = files::read(path)?;
        if ends_early(&bytes) {
            return Err(Error::at(path.display(), "the JPEG ends before its last line")
                .fix("copy it again or take it out of the list"));
        }
        let image = ImageReader::new(Cursor::new(&bytes))
            .with_guessed_format()
            .map_err(ImageError::IoError)
            .and_then(ImageReader::decode)
            .map_err(|e| undecodable(path, bytes.is_empty(), &e))?;
        let image = image.into_rgb8();
        let (width, height) = (image.width() as usize, image.height() as usize);
        if width == 0 || height == 0 {
            let error = Error::at(path.display(), format!("the image has no pixels ({width}x{height})"));
            return Err(error.fix("replace the file or take it out of the list"));
        }
        Ok(Self { width, height, pixels: image.into_raw() })
    }

    /// The pixel at column `x` of row `y`.
    ///
    /// # Panics
    /// If it lies outside the picture.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }
}

/// Whether a JPEG has no end after the start of its last scan: the decoder would make the rest grey, without a word.
fn ends_early(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    bytes.starts_with(&[0xff, 0xd8]) && last(0xda).is_some_and(|scan| last(0xd9).is_none_or(|end| end < scan))
}

fn undecodable(path: &Path, empty: bool, e: &ImageError) -> Error {
    let place = path.display();
    match e {
        _ if empty => Error::at(place, "the image file is empty").fix("copy it again or take it out of the list"),
        ImageError::Unsupported(_) => {
            Error::at(place, format!("not a JPEG, PNG or BMP image: {e}")).fix("convert it to JPEG or PNG")
        }
        ImageError::Limits(_) => Error::at(place, format!("the image is too large: {e}")).fix("make it smaller"),
        _ => Error::at(place, format!("the image is damaged: {e}")).fix("copy it again or take it out of the list"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn png(image: &image::DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn grey_and_alpha_become_rgb() {
        let grey = image::DynamicImage::ImageLuma8(image::GrayImage::from_pixel(3, 2, image::Luma([7])));
        let (_folder, path) = written("grey.png", &png(&grey));
        assert_eq!(Rgb::open(&path).unwrap(), Rgb::filled(3, 2, [7, 7, 7]));

        let clear = image::DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(2, 2, image::Rgba([1, 2, 3, 0])));
        let (_folder, path) = written("clear.png", &png(&clear));
        assert_eq!(Rgb::open(&path).unwrap(), Rgb::filled(2, 2, [1, 2, 3]));
    }

    #[test]
    fn the_content_decides_the_format_not_the_name() {
        let image = image::DynamicImage::ImageRgb8(image::RgbImage::from_pixel(2, 1, image::Rgb([9, 8, 7])));
        let (_folder, path) = written("really_a_png.jpg", &png(&image));
        assert_eq!(Rgb::open(&path).unwrap().pixel(1, 0), [9, 8, 7]);
    }

    #[test]
    fn a_bad_file_is_an_error_that_names_it_and_a_remedy() {
        let image = image::DynamicImage::ImageRgb8(image::RgbImage::new(64, 64));
        let whole = png(&image);
        let mut jpeg = Cursor::new(Vec::new());
        image.write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
        let jpeg = jpeg.into_inner();
        let (_folder, path) = written("whole.jpg", &[&jpeg[..], b"what a camera adds"].concat());
        assert_eq!(Rgb::open(&path).unwrap().width, 64);
        let cases: [(&str, &[u8], &str); 5] = [
            ("empty.jpg", b"", "is empty"),
            ("text.jpg", b"<html>not found</html>", "not a JPEG, PNG or BMP"),
            ("half.png", &whole[..whole.len() / 2], "is damaged"),
            ("short.jpg", &jpeg[..jpeg.len() - 2], "ends before its last line"),
            ("cut.jpg", &[0xff, 0xd8, 0xff, 0xe0, 0, 16], "is damaged"),
        ];
        for (name, bytes, cause) in cases {
            let (_folder, path) = written(name, bytes);
            let message = Rgb::open(&path).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(cause) && message.contains("; "), "{message}");
        }
    }
}
