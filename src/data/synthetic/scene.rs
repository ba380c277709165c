//! One generated picture: a ground, clutter, shapes to be left alone and objects to be found.

use std::f64::consts::{PI, TAU};

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use yoloslim_core::boxes::BBox;
use yoloslim_core::labels::Object;

use super::shapes::{Form, Shape, mix};
use crate::data::Rgb;

/// The names of the classes, in their order.
pub const CLASSES: [&str; 3] = ["disc", "square", "triangle"];

const FORMS: [Form; 3] = [Form::Disc, Form::Square, Form::Triangle];
/// Length of an object's longer side in pixels.
const LENGTHS: std::ops::Range<f64> = 8.0..28.0;
/// The least difference between an object and its ground in one of the three colours, of 255.
const CONTRAST: f64 = 70.0;
/// Free pixels around each object.
const GAP: f64 = 2.0;

/// A picture of `size` x `size` pixels and the objects on it.
pub(super) fn draw(size: usize, rng: &mut ChaCha8Rng) -> (Rgb, Vec<Object>) {
    let mut picture = Rgb::filled(size, size, [0; 3]);
    gradient(&mut picture, rng);
    for _ in 0..rng.random_range(3..=6) {
        blob(&mut picture, rng);
    }
    for _ in 0..rng.random_range(2..=6) {
        line(&mut picture, rng);
    }
    let mut taken = Vec::new();
    for _ in 0..rng.random_range(0..=4) {
        let form = if rng.random() { Form::Ring } else { Form::Cross };
        let shape = Shape::of_length(form, rng.random_range(LENGTHS), rng.random_range(0.0..PI));
        place(shape, &mut picture, &mut taken, colour, rng);
    }
    let mut objects = Vec::new();
    let wanted = if rng.random_range(0.0..1.0) < 0.1 { 0 } else { rng.random_range(1..=6) };
    for _ in 0..wanted {
        let class = rng.random_range(0..FORMS.len());
        // Turned a little only: at eight pixels a square on its corner is a disc.
        let shape = Shape::of_length(FORMS[class], rng.random_range(LENGTHS), rng.random_range(-0.3..0.3));
        if let Some(bbox) = place(shape, &mut picture, &mut taken, |rng| family_colour(class, rng), rng) {
            let area = (bbox.x1 - bbox.x0) * (bbox.y1 - bbox.y0);
            objects.push(Object { class, bbox, area, difficult: false, crowd: false });
        }
    }
    noise(&mut picture, rng);
    (picture, objects)
}

fn colour(rng: &mut ChaCha8Rng) -> [f64; 3] {
    std::array::from_fn(|_| rng.random_range(0.0..255.0))
}

/// A colour of a class: discs are reddish, squares greenish, triangles bluish, so that a small net learns the classes
/// in minutes. Clutter has every colour, so that it has to learn the forms too.
fn family_colour(class: usize, rng: &mut ChaCha8Rng) -> [f64; 3] {
    std::array::from_fn(|c| if c == class { rng.random_range(170.0..255.0) } else { rng.random_range(0.0..110.0) })
}

fn gradient(picture: &mut Rgb, rng: &mut ChaCha8Rng) {
    let (from, to) = (colour(rng), colour(rng));
    let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
    let size = picture.width as f64;
    for y in 0..picture.height {
        for x in 0..picture.width {
            let along = ((x as f64 / size - 0.5) * cos + (y as f64 / size - 0.5) * sin) / 1.4 + 0.5;
            mix(picture, x, y, std::array::from_fn(|c| from[c] + (to[c] - from[c]) * along), 1.0);
        }
    }
}

/// A soft spot, much larger than any object.
fn blob(picture: &mut Rgb, rng: &mut ChaCha8Rng) {
    let size = picture.width as f64;
    let (centre_x, centre_y) = (rng.random_range(0.0..size), rng.random_range(0.0..size));
    let radius = rng.random_range(0.08..0.25) * size;
    let (ink, strength) = (colour(rng), rng.random_range(0.2..0.6));
    for y in 0..picture.height {
        for x in 0..picture.width {
            let distance = (x as f64 - centre_x).hypot(y as f64 - centre_y) / radius;
            mix(picture, x, y, ink, strength * (-distance * distance).exp());
        }
    }
}

/// A straight line across the picture.
fn line(picture: &mut Rgb, rng: &mut ChaCha8Rng) {
    let size = picture.width as f64;
    let (through_x, through_y) = (rng.random_range(0.0..size), rng.random_range(0.0..size));
    let (sin, cos) = rng.random_range(0.0..PI).sin_cos();
    let (ink, half) = (colour(rng), rng.random_range(0.5..1.5));
    for y in 0..picture.height {
        for x in 0..picture.width {
            let distance = ((x as f64 - through_x) * sin - (y as f64 - through_y) * cos).abs();
            mix(picture, x, y, ink, 0.5 + half - distance);
        }
    }
}

/// Paints `shape` at a free place in a colour, drawn by `ink`, that stands out there; None if none was found.
fn place(
    shape: Shape,
    picture: &mut Rgb,
    taken: &mut Vec<BBox>,
    ink: impl Fn(&mut ChaCha8Rng) -> [f64; 3],
    rng: &mut ChaCha8Rng,
) -> Option<BBox> {
    let size = picture.width as f64;
    let extent = shape.bounds();
    for _ in 0..50 {
        let x = rng.random_range(1.0 - extent.x0..size - 1.0 - extent.x1);
        let y = rng.random_range(1.0 - extent.y0..size - 1.0 - extent.y1);
        let shape = Shape { centre: (x, y), ..shape };
        let bbox = shape.bounds();
        let meets = |other: &BBox| {
            bbox.x0 < other.x1 + GAP && other.x0 < bbox.x1 + GAP && bbox.y0 < other.y1 + GAP && other.y0 < bbox.y1 + GAP
        };
        if taken.iter().any(meets) {
            continue;
        }
        let ground = mean(picture, bbox);
        let contrast = |ink: &[f64; 3]| ink.iter().zip(ground).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let Some(ink) = (0..20).map(|_| ink(rng)).find(|ink| contrast(ink) >= CONTRAST) else { continue };
        shape.paint(picture, ink);
        taken.push(bbox);
        return Some(bbox);
    }
    None
}

/// The mean colour of the pixels in a box that lies within the picture.
fn mean(picture: &Rgb, bbox: BBox) -> [f64; 3] {
    let (xs, ys) = (bbox.x0 as usize..bbox.x1.ceil() as usize, bbox.y0 as usize..bbox.y1.ceil() as usize);
    let count = (xs.len() * ys.len()).max(1) as f64;
    let mut sum = [0.0; 3];
    for y in ys {
        for x in xs.clone() {
            sum.iter_mut().zip(picture.pixel(x, y)).for_each(|(sum, value)| *sum += f64::from(value));
        }
    }
    sum.map(|sum| sum / count)
}

fn noise(picture: &mut Rgb, rng: &mut ChaCha8Rng) {
    for value in &mut picture.pixels {
        *value = value.saturating_add_signed(rng.random_range(-10..=10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Purpose, stream};

    fn scenes(seed: u64) -> impl Iterator<Item = (Rgb, Vec<Object>)> {
        (0..100).map(move |index| draw(160, &mut stream(seed, 0, Purpose::Scene, index)))
    }

    #[test]
    fn objects_lie_within_the_picture_apart_from_each_other_and_are_small() {
        let mut classes = [0; 3];
        let mut empty = 0;
        for (_, objects) in scenes(1) {
            empty += usize::from(objects.is_empty());
            assert!(objects.len() <= 6);
            for (i, object) in objects.iter().enumerate() {
                classes[object.class] += 1;
                let b = object.bbox;
                assert!(b.x0 >= 0.0 && b.y0 >= 0.0 && b.x1 <= 160.0 && b.y1 <= 160.0, "{b:?}");
                assert!((7.9..28.1).contains(&(b.x1 - b.x0).max(b.y1 - b.y0)), "{b:?}");
                for other in &objects[..i] {
                    let o = other.bbox;
                    assert!(b.x0 >= o.x1 || o.x0 >= b.x1 || b.y0 >= o.y1 || o.y0 >= b.y1, "{b:?} meets {o:?}");
                }
            }
        }
        assert!((2..25).contains(&empty), "{empty} of 100 are empty");
        assert!(classes.iter().all(|&count| count > 60), "{classes:?}");
    }

    #[test]
    fn the_seed_alone_decides_the_picture() {
        assert!(scenes(4).take(3).eq(scenes(4).take(3)));
        assert!(scenes(4).take(3).ne(scenes(5).take(3)));
    }
}
