//! Rectangles and blending on a picture.

use crate::data::Rgb;

pub(super) type Colour = [u8; 3];

pub(super) const BLACK: Colour = [0; 3];
pub(super) const WHITE: Colour = [255; 3];

/// A rectangle of pixels, right and bottom exclusive, that may reach beyond the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub left: i64,
    pub top: i64,
    pub right: i64,
    pub bottom: i64,
}

impl Frame {
    pub fn sized(left: i64, top: i64, width: i64, height: i64) -> Self {
        Self { left, top, right: left + width, bottom: top + height }
    }

    pub fn grown(self, by: i64) -> Self {
        Self { left: self.left - by, top: self.top - by, right: self.right + by, bottom: self.bottom + by }
    }

    pub fn area(self) -> i64 {
        (self.right - self.left).max(0) * (self.bottom - self.top).max(0)
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    pub fn within(self, image: &Rgb) -> bool {
        self.left >= 0 && self.top >= 0 && self.right <= image.width as i64 && self.bottom <= image.height as i64
    }
}

/// Mixes `colour` into the pixel at (x, y), all of it for a `share` of 1; outside the picture nothing happens.
pub(super) fn blend(image: &mut Rgb, x: i64, y: i64, colour: Colour, share: f32) {
    if x < 0 || y < 0 || x >= image.width as i64 || y >= image.height as i64 {
        return;
    }
    let at = (y as usize * image.width + x as usize) * 3;
    for (old, new) in image.pixels[at..at + 3].iter_mut().zip(colour) {
        *old = (f32::from(*old) + (f32::from(new) - f32::from(*old)) * share.clamp(0.0, 1.0)).round() as u8;
    }
}

pub(super) fn fill(image: &mut Rgb, frame: Frame, colour: Colour, share: f32) {
    for y in frame.top.max(0)..frame.bottom.min(image.height as i64) {
        for x in frame.left.max(0)..frame.right.min(image.width as i64) {
            blend(image, x, y, colour, share);
        }
    }
}

/// The border of `frame`, `thickness` pixels inwards from its edges.
pub(super) fn outline(image: &mut Rgb, frame: Frame, thickness: i64, colour: Colour, share: f32) {
    let Frame { left, top, right, bottom } = frame;
    if right <= left || bottom <= top {
        return;
    }
    let (inner_top, inner_bottom) = ((top + thickness).min(bottom), (bottom - thickness).max(top + thickness));
    fill(image, Frame { bottom: inner_top, ..frame }, colour, share);
    fill(image, Frame { top: inner_bottom, ..frame }, colour, share);
    let sides = Frame { top: inner_top, bottom: inner_bottom, ..frame };
    fill(image, Frame { right: (left + thickness).min(right), ..sides }, colour, share);
    fill(image, Frame { left: (right - thickness).max(left + thickness), ..sides }, colour, share);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_covers_each_border_pixel_once() {
        for (width, height) in [(6, 5), (2, 2), (1, 7), (3, 1)] {
            let mut image = Rgb::filled(10, 10, [0; 3]);
            outline(&mut image, Frame::sized(1, 2, width, height), 1, [200; 3], 0.5);
            let drawn = image.pixels.chunks_exact(3).filter(|p| p[0] == 100).count() as i64;
            let inner = (width - 2).max(0) * (height - 2).max(0);
            assert_eq!(drawn, width * height - inner, "{width}x{height}");
            assert!(image.pixels.iter().all(|&v| v == 0 || v == 100), "a pixel was drawn twice");
        }
    }
}
