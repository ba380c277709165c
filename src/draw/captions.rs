//! Captions that keep out of each other's way.

use super::ink::{Colour, Frame, fill};
use super::palette::letters_on;
use super::text;
use crate::data::Rgb;

/// Objects of so many times a caption's area may be covered by one.
const LARGE: i64 = 4;

/// The captions of one picture and where they lie.
pub(super) struct Captions {
    size: f32,
    taken: Vec<Frame>,
    objects: Vec<Frame>,
}

impl Captions {
    /// Letters of a 26th of the picture's shorter side, within what can be read and what isn't a shout;
    /// `objects` are what they shall not hide.
    pub fn new(image: &Rgb, objects: Vec<Frame>) -> Self {
        let size = (image.width.min(image.height) as f32 / 26.0).clamp(11.0, 36.0).round();
        Self { size, taken: Vec::new(), objects }
    }

    /// Writes the first of `wordings` that finds a free place above, below or beside `owner`, or none.
    pub fn add(&mut self, image: &mut Rgb, owner: Frame, wordings: &[String], colour: Colour) {
        for wording in wordings {
            let Some(place) = self.places(image, owner, wording).find(|&place| self.is_free(image, place)) else {
                continue;
            };
            fill(image, place, colour, 1.0);
            text::write(image, wording, (place.left + self.margin(), place.top), self.size, letters_on(colour));
            self.taken.push(place);
            return;
        }
    }

    fn margin(&self) -> i64 {
        (self.size / 5.0).round() as i64
    }

    /// Over a part of a large object a caption does no harm; a small one it would hide.
    fn is_free(&self, image: &Rgb, place: Frame) -> bool {
        let hides = |object: &Frame| object.overlaps(place) && object.area() < LARGE * place.area();
        place.within(image) && !self.taken.iter().any(|taken| taken.overlaps(place)) && !self.objects.iter().any(hides)
    }

    /// Above and below flush left, then flush right, then beside, then inside a box that has room for it.
    fn places(&self, image: &Rgb, owner: Frame, wording: &str) -> impl Iterator<Item = Frame> + use<> {
        let width = text::width(wording, self.size) + 2 * self.margin();
        let height = self.size.ceil() as i64;
        let left = owner.left.clamp(0, (image.width as i64 - width).max(0));
        let beside_top = owner.top.clamp(0, (image.height as i64 - height).max(0));
        let roomy = (owner.right - owner.left >= 2 * width) && (owner.bottom - owner.top >= 4 * height);
        let inside = (owner.left.max(0), owner.top.max(0));
        [
            Some((left, owner.top - height)),
            Some((left, owner.bottom)),
            Some((owner.right - width, owner.top - height)),
            Some((owner.right - width, owner.bottom)),
            Some((owner.right, beside_top)),
            Some((owner.left - width, beside_top)),
            roomy.then_some(inside),
        ]
        .into_iter()
        .flatten()
        .map(move |(left, top)| Frame::sized(left, top, width, height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_never_overlap_and_never_leave_the_picture() {
        let mut image = Rgb::filled(300, 200, [0; 3]);
        let mut captions = Captions::new(&image, Vec::new());
        for i in 0..60 {
            let owner = Frame::sized((i * 37) % 290 - 5, (i * 53) % 190 - 5, 20, 20);
            captions.add(&mut image, owner, &["platelets 0.93".into(), "0.93".into()], [200; 3]);
        }
        assert!(captions.taken.len() > 10, "only {} found a place", captions.taken.len());
        for (i, a) in captions.taken.iter().enumerate() {
            assert!(a.within(&image));
            assert!(captions.taken[..i].iter().all(|b| !a.overlaps(*b)));
        }
    }

    #[test]
    fn a_box_that_fills_the_picture_gets_its_caption_inside() {
        let mut image = Rgb::filled(300, 200, [0; 3]);
        let mut captions = Captions::new(&image, Vec::new());
        captions.add(&mut image, Frame::sized(-2, -2, 304, 204), &["cat 0.9".into()], [200; 3]);
        assert_eq!(captions.taken.first().map(|place| (place.left, place.top)), Some((0, 0)));
    }
    #[test]
    fn a_caption_makes_way_for_a_small_object_but_not_for_a_large_one() {
        let owner = Frame::sized(100, 100, 20, 20);
        let cases = [("small", Frame::sized(100, 78, 20, 20), 120), ("large", Frame::sized(0, 0, 300, 98), 88)];
        for (name, object, top) in cases {
            let mut image = Rgb::filled(300, 300, [0; 3]);
            let mut captions = Captions::new(&image, vec![owner, object]);
            captions.add(&mut image, owner, &["cat 0.9".into()], [200; 3]);
            assert_eq!(captions.taken.iter().map(|place| place.top).collect::<Vec<_>>(), [top], "{name}");
        }
    }
}
