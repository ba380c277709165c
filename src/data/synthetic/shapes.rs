//! Antialiased shapes by their signed distances.

use yoloslim_core::boxes::BBox;

use crate::data::Rgb;

/// What a shape looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Disc,
    Square,
    Triangle,
    Ring,
    Cross,
}

/// A filled shape on a picture; lengths in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    pub form: Form,
    pub centre: (f64, f64),
    /// Radius of a disc or ring, half the side of a square or cross, circumradius of a triangle.
    pub radius: f64,
    /// Radians, clockwise.
    pub angle: f64,
}

/// Half the thickness of a ring or of a cross's bars, in radii.
const HALF_BAR: f64 = 0.22;

impl Shape {
    /// A shape of which the longer side of the box is `length`, around the origin.
    pub fn of_length(form: Form, length: f64, angle: f64) -> Self {
        let unit = Self { form, centre: (0.0, 0.0), radius: 1.0, angle };
        let bounds = unit.bounds();
        let longer = (bounds.x1 - bounds.x0).max(bounds.y1 - bounds.y0);
        Self { radius: length / longer, ..unit }
    }

    /// The smallest box around the shape.
    pub fn bounds(&self) -> BBox {
        let corners: &[(f64, f64)] = match self.form {
            Form::Disc | Form::Ring => {
                let ((x, y), r) = (self.centre, self.radius);
                return BBox { x0: x - r, y0: y - r, x1: x + r, y1: y + r };
            }
            Form::Square => &[(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
            Form::Triangle => &[(0.0, -1.0), (0.866_025, 0.5), (-0.866_025, 0.5)],
            Form::Cross => &[
                (-1.0, -HALF_BAR),
                (-1.0, HALF_BAR),
                (1.0, -HALF_BAR),
                (1.0, HALF_BAR),
                (-HALF_BAR, -1.0),
                (HALF_BAR, -1.0),
                (-HALF_BAR, 1.0),
                (HALF_BAR, 1.0),
            ],
        };
        let (sin, cos) = self.angle.sin_cos();
        let turned = corners.iter().map(|(x, y)| (x * cos - y * sin, x * sin + y * cos));
        let nothing = (f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY);
        let (x0, y0, x1, y1) =
            turned.fold(nothing, |(x0, y0, x1, y1), (x, y)| (x0.min(x), y0.min(y), x1.max(x), y1.max(y)));
        let ((x, y), r) = (self.centre, self.radius);
        BBox { x0: x + x0 * r, y0: y + y0 * r, x1: x + x1 * r, y1: y + y1 * r }
    }

    /// Pixels from (x, y) to the shape's edge, negative inside.
    fn distance(&self, x: f64, y: f64) -> f64 {
        let (dx, dy) = (x - self.centre.0, y - self.centre.1);
        let (sin, cos) = self.angle.sin_cos();
        let (x, y) = ((dx * cos + dy * sin) / self.radius, (dy * cos - dx * sin) / self.radius);
        let distance = match self.form {
            Form::Disc => x.hypot(y) - 1.0,
            Form::Ring => (x.hypot(y) - 1.0 + HALF_BAR).abs() - HALF_BAR,
            Form::Square => x.abs().max(y.abs()) - 1.0,
            Form::Triangle => y.max(x.abs() * 0.866_025 - y * 0.5) - 0.5,
            Form::Cross => {
                let bar = |along: f64, across: f64| (along.abs() - 1.0).max(across.abs() - HALF_BAR);
                bar(x, y).min(bar(y, x))
            }
        };
        distance * self.radius
    }

    /// Fills the shape with `colour`, edge pixels in part.
    pub fn paint(&self, picture: &mut Rgb, colour: [f64; 3]) {
        let bounds = self.bounds();
        let span = |from: f64, to: f64, end: usize| {
            let pixel = |edge: f64| edge.clamp(0.0, end as f64) as usize;
            pixel(from - 1.0)..pixel(to + 2.0)
        };
        for y in span(bounds.y0, bounds.y1, picture.height) {
            for x in span(bounds.x0, bounds.x1, picture.width) {
                let inside = 0.5 - self.distance(x as f64 + 0.5, y as f64 + 0.5);
                mix(picture, x, y, colour, inside);
            }
        }
    }
}

/// Mixes `colour` into a pixel, all of it for a `share` of 1.
pub(super) fn mix(picture: &mut Rgb, x: usize, y: usize, colour: [f64; 3], share: f64) {
    let at = (y * picture.width + x) * 3;
    for (old, new) in picture.pixels[at..at + 3].iter_mut().zip(colour) {
        *old = (f64::from(*old) + (new - f64::from(*old)) * share.clamp(0.0, 1.0)).round() as u8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_box_encloses_the_ink_tightly(
            form in prop::sample::select(vec![Form::Disc, Form::Square, Form::Triangle, Form::Ring, Form::Cross]),
            length in 10.0f64..40.0,
            angle in -3.2f64..3.2,
            centre in (25.0f64..39.0, 25.0f64..39.0),
        ) {
            let shape = Shape { centre, ..Shape::of_length(form, length, angle) };
            let bounds = shape.bounds();
            prop_assert!(((bounds.x1 - bounds.x0).max(bounds.y1 - bounds.y0) - length).abs() < 1e-9);
            let mut picture = Rgb::filled(64, 64, [0; 3]);
            shape.paint(&mut picture, [255.0; 3]);
            let ink = |x: usize, y: usize| picture.pixel(x, y)[0] > 40;
            let xs: Vec<usize> = (0..64).filter(|&x| (0..64).any(|y| ink(x, y))).collect();
            let ys: Vec<usize> = (0..64).filter(|&y| (0..64).any(|x| ink(x, y))).collect();
            // Sharp corners hold little ink, so the ink may end a pixel or two before the box does.
            for (ink, from, to) in [(xs, bounds.x0, bounds.x1), (ys, bounds.y0, bounds.y1)] {
                prop_assert!((ink[0] as f64 - from).abs() <= 2.0, "{ink:?} in {from}..{to}");
                prop_assert!(((ink[ink.len() - 1] + 1) as f64 - to).abs() <= 2.0, "{ink:?} in {from}..{to}");
            }
        }
    }
}
