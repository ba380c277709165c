//! Pictures in memory and how they come from files.

use std::io::Cursor;
use std::path::Path;

use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader};
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
    ///
    /// # Errors
    /// A file that can't be read or is no whole picture.
    pub fn open(path: &Path) -> Result<Self> {
        Self::decode(path, false)
    }

    /// [`Rgb::open`] that turns the picture as its EXIF data say: as a viewer shows it, where no labels come with it.
    ///
    /// # Errors
    /// As [`Rgb::open`].
    pub fn open_upright(path: &Path) -> Result<Self> {
        Self::decode(path, true)
    }

    fn decode(path: &Path, upright: bool) -> Result<Self> {
        let bytes = files::read(path)?;
        if ends_early(&bytes) {
            return Err(Error::at(path.display(), "the JPEG ends before its last line")
                .fix("copy it again or take it out of the list"));
        }
        let image = ImageReader::new(Cursor::new(&bytes))
            .with_guessed_format()
            .map_err(ImageError::IoError)
            .and_then(ImageReader::into_decoder)
            .and_then(|mut decoder| {
                let orientation = if upright { decoder.orientation()? } else { Orientation::NoTransforms };
                let mut image = DynamicImage::from_decoder(decoder)?;
                image.apply_orientation(orientation);
                Ok(image)
            })
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

/// Whether a JPEG ends within a scan: the decoder would make the rest grey, without a word. What comes after its end (a motion
/// photo's film, say) is not looked at; nor is a file whose headers are cut, which the decoder refuses.
fn ends_early(bytes: &[u8]) -> bool {
    const START_OF_IMAGE: u8 = 0xd8;
    const END_OF_IMAGE: u8 = 0xd9;
    const START_OF_SCAN: u8 = 0xda;
    if !bytes.starts_with(&[0xff, START_OF_IMAGE]) {
        return false;
    }
    let (mut at, mut scanned) = (2, false);
    loop {
        // Within a scan 0xff is followed by a zero or by the number of a restart.
        let stuffed = |next: u8| matches!(next, 0 | 0xd0..=0xd7 | 0xff);
        let Some(found) =
            bytes.get(at..).and_then(|rest| rest.windows(2).position(|pair| pair[0] == 0xff && !stuffed(pair[1])))
        else {
            return scanned;
        };
        let (marker, header) = (bytes[at + found + 1], at + found + 2);
        if marker == END_OF_IMAGE {
            return false;
        }
        let Some(length) = bytes.get(header..header + 2) else { return scanned };
        scanned |= marker == START_OF_SCAN;
        at = header + usize::from(u16::from_be_bytes([length[0], length[1]]));
    }
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
    fn a_picture_that_was_taken_sideways_is_upright_only_where_asked_for() {
        let mut jpeg = Cursor::new(Vec::new());
        image::RgbImage::new(16, 8).write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
        // One entry: orientation (0x0112), a short, one of them, 6: a quarter to the right.
        let tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let exif = [b"\xff\xe1\0", &[8 + tiff.len() as u8][..], b"Exif\0\0", tiff].concat();
        let jpeg = jpeg.into_inner();
        let (_folder, path) = written("turned.jpg", &[&jpeg[..2], &exif, &jpeg[2..]].concat());
        let size = |image: Rgb| (image.width, image.height);
        assert_eq!(size(Rgb::open(&path).unwrap()), (16, 8));
        assert_eq!(size(Rgb::open_upright(&path).unwrap()), (8, 16));
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
        // Behind its end, what looks like the start of a scan is none.
        let (_folder, path) = written("whole.jpg", &[&jpeg[..], b"what a camera adds\xff\xda\0\x0c\x01"].concat());
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
