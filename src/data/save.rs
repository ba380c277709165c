//! Pictures to files.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use yoloslim_core::{Error, Result, files};

use super::Rgb;

/// High enough that thin lines and letters don't fray.
const JPEG_QUALITY: u8 = 92;

/// Writes `image` as JPEG (`.jpg`, `.jpeg`) or PNG (`.png`), whole or not at all.
///
/// # Errors
/// For another extension, a picture too large for its format or a file that can't be written.
pub fn save(image: &Rgb, path: &Path) -> Result<()> {
    files::write_whole(path, &encode(image, path)?)
}

/// The bytes of the file `path`, in the format that its extension names.
pub(crate) fn encode(image: &Rgb, path: &Path) -> Result<Vec<u8>> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let mut bytes = Vec::new();
    let (pixels, width, height) = (&image.pixels, image.width as u32, image.height as u32);
    let colour = ExtendedColorType::Rgb8;
    let encoded = match extension.as_str() {
        "jpg" | "jpeg" => {
            JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).write_image(pixels, width, height, colour)
        }
        "png" => PngEncoder::new(&mut bytes).write_image(pixels, width, height, colour),
        _ => {
            let error = Error::at(path.display(), format!("'{extension}' isn't a format that pictures are written in"));
            return Err(error.fix("end the name in .jpg or .png"));
        }
    };
    encoded.map_err(|e| {
        Error::at(path.display(), format!("a picture of {width}x{height} can't be encoded: {e}")).fix("make it smaller")
    })?;
    Ok(bytes)
}

/// The bytes of a JPEG file of one channel: the brightness of each pixel, weighted as ITU-R BT.601 has it.
pub(crate) fn encode_grey(image: &Rgb) -> Result<Vec<u8>> {
    let brightness = |pixel: &[u8]| {
        let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
        (0.299 * red + 0.587 * green + 0.114 * blue).round() as u8
    };
    let pixels: Vec<u8> = image.pixels.chunks_exact(3).map(brightness).collect();
    let (width, height) = (image.width as u32, image.height as u32);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
        .write_image(&pixels, width, height, ExtendedColorType::L8)
        .map_err(|e| {
            Error::at("a grey picture", format!("{width}x{height} can't be encoded: {e}")).fix("make it smaller")
        })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_pictures_open_again() {
        let folder = tempfile::tempdir().unwrap();
        let image = Rgb::filled(20, 10, [200, 100, 50]);
        save(&image, &folder.path().join("a.png")).unwrap();
        assert_eq!(Rgb::open(&folder.path().join("a.png")).unwrap(), image);
        save(&image, &folder.path().join("a.JPG")).unwrap();
        let lossy = Rgb::open(&folder.path().join("a.JPG")).unwrap();
        assert!(lossy.pixels.iter().zip(&image.pixels).all(|(a, b)| a.abs_diff(*b) <= 3));
    }

    #[test]
    fn other_formats_and_impossible_sizes_are_errors_and_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        assert!(save(&Rgb::filled(2, 2, [0; 3]), &path).unwrap_err().to_string().contains(".jpg or .png"));
        let wide = folder.path().join("wide.jpg");
        assert!(save(&Rgb::filled(70_000, 1, [0; 3]), &wide).unwrap_err().to_string().contains("smaller"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
