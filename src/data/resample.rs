//! Bilinear resampling of part of one picture into part of another.

use fast_image_resize::images::{TypedCroppedImageMut, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer, SrcCropping};
use yoloslim_core::{Error, Result};

use super::image::Rgb;

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rect {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

/// Fills `to` of `canvas` with `crop` of `image`.
///
/// Plain bilinear as in Darknet and OpenCV's INTER_LINEAR, but from a reduction by two on, where its two taps a
/// pixel begin to skip source pixels and with them small objects, the filter is widened by the reduction.
pub(crate) fn resample(image: &Rgb, crop: CropBox, canvas: &mut Rgb, to: Rect) -> Result<()> {
    let reduction = (crop.width / to.width as f64).max(crop.height / to.height as f64);
    let algorithm = match reduction >= 2.0 {
        true => ResizeAlg::Convolution(FilterType::Bilinear),
        false => ResizeAlg::Interpolation(FilterType::Bilinear),
    };
    let options = ResizeOptions { algorithm, cropping: SrcCropping::Crop(crop), mul_div_alpha: false };

    let failed = |e: &dyn std::fmt::Display| {
        Error::at(format!("image of {}x{}", image.width, image.height), format!("cannot be resized: {e}"))
    };
    // The views are typed: an untyped resize compiles the filters for every pixel format there is.
    let source = TypedImageRef::<U8x3>::from_buffer(image.width as u32, image.height as u32, &image.pixels)
        .map_err(|e| failed(&e))?;
    let (width, height) = (canvas.width as u32, canvas.height as u32);
    let target = TypedImage::<U8x3>::from_buffer(width, height, &mut canvas.pixels).map_err(|e| failed(&e))?;
    let mut target =
        TypedCroppedImageMut::new(target, to.left as u32, to.top as u32, to.width as u32, to.height as u32)
            .map_err(|e| failed(&e))?;
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|e| failed(&e))
}

/// The crop that is the whole of `image`.
pub(crate) fn whole(image: &Rgb) -> CropBox {
    CropBox { left: 0.0, top: 0.0, width: image.width as f64, height: image.height as f64 }
}

/// `image` itself, or made smaller so that no side is longer than `longest` pixels.
pub(crate) fn shrunk(image: Rgb, longest: usize) -> Result<Rgb> {
    let long = image.width.max(image.height);
    if long <= longest {
        return Ok(image);
    }
    let side = |length: usize| ((length * longest) as f64 / long as f64).round().max(1.0) as usize;
    let (width, height) = (side(image.width), side(image.height));
    let mut small = Rgb::filled(width, height, [0; 3]);
    resample(&image, whole(&image), &mut small, Rect { left: 0, top: 0, width, height })?;
    Ok(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripes(width: usize, height: usize, period: usize) -> Rgb {
        let row = (0..width).flat_map(|x| [if x % period == 0 { 255 } else { 0 }; 3]).collect::<Vec<u8>>();
        Rgb { width, height, pixels: row.repeat(height) }
    }

    #[test]
    fn a_copy_at_scale_one_is_exact_and_leaves_the_rest_alone() {
        let image = stripes(4, 3, 2);
        let mut canvas = Rgb::filled(8, 8, [9; 3]);
        resample(&image, whole(&image), &mut canvas, Rect { left: 2, top: 1, width: 4, height: 3 }).unwrap();
        for y in 0..8 {
            for x in 0..8 {
                let inside = (2..6).contains(&x) && (1..4).contains(&y);
                let expected = if inside { image.pixel(x - 2, y - 1) } else { [9; 3] };
                assert_eq!(canvas.pixel(x, y), expected, "{x},{y}");
            }
        }
    }

    #[test]
    fn one_bright_column_in_eight_survives_a_reduction_by_eight() {
        let small = shrunk(stripes(512, 256, 8), 64).unwrap();
        assert_eq!((small.width, small.height), (64, 32));
        let middle = small.pixel(30, 16)[0];
        assert!((28..=36).contains(&middle), "the mean of the stripes is 32, got {middle}");
    }

    #[test]
    fn shrinking_keeps_at_least_one_row() {
        let small = shrunk(Rgb::filled(1000, 1, [3; 3]), 10).unwrap();
        assert_eq!((small.width, small.height), (10, 1));
    }
}
