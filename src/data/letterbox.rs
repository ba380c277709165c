//! An image laid into the net's input as inference does it.

use yoloslim_core::Result;
use yoloslim_core::boxes::{Fit, Letterbox};

use super::image::Rgb;
use super::resample::{Rect, resample, whole};

/// The value of the bars beside an image, halfway from black to white as in Darknet's `letterbox_image`.
pub const GREY: f32 = 0.5;

/// `image` resized as `fit` says, with its aspect kept centred on grey: `[net_height][net_width][3]` RGB of 0 to 1, and
/// the geometry that takes detections back to the image.
pub fn fitted(image: &Rgb, fit: Fit, net_width: usize, net_height: usize) -> Result<(Vec<f32>, Letterbox)> {
    let geometry = Letterbox::fitted(fit, (image.width, image.height), (net_width, net_height));
    let mut input = vec![GREY; net_width * net_height * 3];
    fill(image, &geometry, net_width, &mut input)?;
    Ok((input, geometry))
}

/// Writes `image` to its place in `input`, `[net_height][net_width][3]`, and leaves the rest as it is.
pub(crate) fn fill(image: &Rgb, geometry: &Letterbox, net_width: usize, input: &mut [f32]) -> Result<()> {
    let ((left, top), (width, height)) = (geometry.offset(), geometry.content());
    let mut content = Rgb::filled(width, height, [0; 3]);
    resample(image, whole(image), &mut content, Rect { left: 0, top: 0, width, height })?;
    let rows = input.chunks_exact_mut(net_width * 3).skip(top);
    for (row, bytes) in rows.zip(content.pixels.chunks_exact(width * 3)) {
        for (value, &byte) in row[left * 3..].iter_mut().zip(bytes) {
            *value = f32::from(byte) / 255.0;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_lies_centred_between_grey_bars() {
        let (input, geometry) = fitted(&Rgb::filled(8, 4, [255, 0, 51]), Fit::Letterbox, 16, 16).unwrap();
        assert_eq!((geometry.offset(), geometry.content()), ((0, 4), (16, 8)));
        for (y, row) in input.chunks_exact(16 * 3).enumerate() {
            let expected = if (4..12).contains(&y) { [1.0, 0.0, 0.2] } else { [GREY; 3] };
            assert!(row.chunks_exact(3).all(|pixel| pixel == expected), "row {y}: {row:?}");
        }
    }

    #[test]
    fn a_stretched_image_has_no_bars() {
        let (input, geometry) = fitted(&Rgb::filled(8, 4, [255, 0, 51]), Fit::Stretch, 16, 16).unwrap();
        assert_eq!((geometry.offset(), geometry.content()), ((0, 0), (16, 16)));
        assert!(input.chunks_exact(3).all(|pixel| pixel == [1.0, 0.0, 0.2]));
    }

    #[test]
    fn a_tall_image_gets_its_bars_left_and_right() {
        let (input, _) = fitted(&Rgb::filled(2, 4, [255; 3]), Fit::Letterbox, 8, 8).unwrap();
        let row: Vec<f32> = input[..8 * 3].iter().step_by(3).copied().collect();
        assert_eq!(row, [0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5]);
    }
}
