//! Where an image lies on the net's input, for its pixels and its boxes alike.

use fast_image_resize::CropBox;
use yoloslim_core::Result;
use yoloslim_core::boxes::BBox;
use yoloslim_core::labels::Sample;

use super::batch::{Found, Target};
use super::image::Rgb;
use super::resample::{Rect, resample};

/// The rectangle of a whole image on a canvas, and the part of it that shows.
///
/// Its edges are whole pixels, so that what is painted and where its boxes go agree exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Placement {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    shown: Rect,
}

/// Which boxes stay labels after a crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Keep {
    /// Boxes must be wider and higher than this many pixels of the canvas.
    pub min_box: f64,
}

/// Less than this share of an object is no longer one to be found.
const MIN_SHARE: f64 = 0.1;
/// What is cut to a splinter longer than this many times its width shows nothing to be found by.
const MAX_ASPECT: f64 = 10.0;

impl Placement {
    /// An image laid over `area` of a canvas, of which it may cover only the part `clip`; None if nothing shows.
    pub fn new(area: BBox, clip: Rect) -> Option<Self> {
        let (left, top) = (area.x0.round(), area.y0.round());
        let (right, bottom) = (area.x1.round().max(left + 1.0), area.y1.round().max(top + 1.0));
        let span = |from: f64, to: f64, start: usize, length: usize| {
            let from = from.max(start as f64);
            (from as usize, (to.min((start + length) as f64) - from).max(0.0) as usize)
        };
        let (x, width) = span(left, right, clip.left, clip.width);
        let (y, height) = span(top, bottom, clip.top, clip.height);
        let shown = Rect { left: x, top: y, width, height };
        (width > 0 && height > 0).then_some(Self { left, top, width: right - left, height: bottom - top, shown })
    }

    /// Draws the part of `image` that shows.
    pub fn paint(&self, image: &Rgb, canvas: &mut Rgb) -> Result<()> {
        let (across, down) = (image.width as f64 / self.width, image.height as f64 / self.height);
        // Rounding may put the far edge of the crop beyond the image's by a hair, which the resampler refuses.
        let left = (self.shown.left as f64 - self.left) * across;
        let top = (self.shown.top as f64 - self.top) * down;
        let width = (self.shown.width as f64 * across).min(image.width as f64 - left);
        let height = (self.shown.height as f64 * down).min(image.height as f64 - top);
        resample(image, CropBox { left, top, width, height }, canvas, self.shown)
    }

    /// Adds the objects of `sample` that show, as shares of a canvas of `width` x `height` pixels.
    ///
    /// Crowds and difficult objects are no training targets, as in the data sets' own protocols; where they are, nothing
    /// is background either.
    pub fn place(&self, sample: &Sample, keep: Keep, (width, height): (usize, usize), found: &mut Found) {
        let across = self.width / sample.width.max(1) as f64;
        let down = self.height / sample.height.max(1) as f64;
        for object in &sample.objects {
            let b = object.bbox;
            let whole = BBox {
                x0: self.left + b.x0 * across,
                y0: self.top + b.y0 * down,
                x1: self.left + b.x1 * across,
                y1: self.top + b.y1 * down,
            };
            let ignored = object.crowd || object.difficult;
            let Some(seen) = (if ignored { cut(whole, self.shown) } else { keep.visible(whole, self.shown) }) else {
                continue;
            };
            let target = Target {
                image: 0,
                class: object.class,
                cx: ((seen.x0 + seen.x1) / 2.0 / width as f64) as f32,
                cy: ((seen.y0 + seen.y1) / 2.0 / height as f64) as f32,
                w: ((seen.x1 - seen.x0) / width as f64) as f32,
                h: ((seen.y1 - seen.y0) / height as f64) as f32,
            };
            match ignored {
                // One region is often there for every class.
                true if found.ignored.iter().any(|other| Target { class: target.class, ..*other } == target) => {}
                true => found.ignored.push(target),
                false => found.targets.push(target),
            }
        }
    }
}

/// The part of `whole` inside `shown`, if there is any.
fn cut(whole: BBox, shown: Rect) -> Option<BBox> {
    let (left, top) = (shown.left as f64, shown.top as f64);
    let (right, bottom) = (left + shown.width as f64, top + shown.height as f64);
    let seen = BBox {
        x0: whole.x0.clamp(left, right),
        y0: whole.y0.clamp(top, bottom),
        x1: whole.x1.clamp(left, right),
        y1: whole.y1.clamp(top, bottom),
    };
    (seen.x1 > seen.x0 && seen.y1 > seen.y0).then_some(seen)
}

impl Keep {
    /// The part of `whole` inside `shown`, if enough of it is left.
    fn visible(self, whole: BBox, shown: Rect) -> Option<BBox> {
        let seen = cut(whole, shown)?;
        let (w, h) = (seen.x1 - seen.x0, seen.y1 - seen.y0);
        let share = w * h / ((whole.x1 - whole.x0) * (whole.y1 - whole.y0));
        // A long thin object is one by nature; only what a cut has made so is judged by its aspect.
        let splinter = share < 0.999 && (w / h).max(h / w) >= MAX_ASPECT;
        (w > self.min_box && h > self.min_box && share > MIN_SHARE && !splinter).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: Rect = Rect { left: 0, top: 0, width: 100, height: 100 };

    fn bbox(x0: f64, y0: f64, x1: f64, y1: f64) -> BBox {
        BBox { x0, y0, x1, y1 }
    }

    #[test]
    fn boxes_stay_while_enough_of_them_shows() {
        let keep = Keep { min_box: 4.0 };
        let cases = [
            ("inside", bbox(10.0, 10.0, 20.0, 20.0), Some(bbox(10.0, 10.0, 20.0, 20.0))),
            ("cut in half", bbox(-10.0, 10.0, 10.0, 20.0), Some(bbox(0.0, 10.0, 10.0, 20.0))),
            ("outside", bbox(-30.0, 10.0, -10.0, 20.0), None),
            ("a twentieth shows", bbox(-95.0, 10.0, 5.0, 20.0), None),
            ("four pixels wide", bbox(10.0, 10.0, 14.0, 30.0), None),
            ("cut to a splinter", bbox(-20.0, 10.0, 5.0, 90.0), None),
            ("thin by nature", bbox(50.0, 10.0, 55.0, 90.0), Some(bbox(50.0, 10.0, 55.0, 90.0))),
            ("degenerate", bbox(50.0, 50.0, 50.0, 60.0), None),
        ];
        for (name, whole, expected) in cases {
            assert_eq!(keep.visible(whole, CLIP), expected, "{name}");
        }
    }

    #[test]
    fn crowds_and_difficult_objects_are_regions_to_ignore_however_little_of_them_shows() {
        use yoloslim_core::labels::Object;
        let object = |class, x0, crowd, difficult| Object {
            class,
            bbox: bbox(x0, 10.0, x0 + 40.0, 50.0),
            area: 1600.0,
            crowd,
            difficult,
        };
        let objects = vec![
            object(0, 10.0, false, false),
            object(0, -39.0, true, false),
            object(1, -39.0, true, false),
            object(2, 50.0, false, true),
        ];
        let sample = Sample { image: "a.png".into(), width: 100, height: 100, objects };
        let mut found = Found::default();
        let placement = Placement::new(bbox(0.0, 0.0, 100.0, 100.0), CLIP).unwrap();
        placement.place(&sample, Keep { min_box: 2.0 }, (100, 100), &mut found);
        assert_eq!(found.targets.len(), 1);
        let widths: Vec<f32> = found.ignored.iter().map(|region| region.w).collect();
        assert_eq!(widths, [0.01, 0.4], "the crowd of both classes once");
    }

    #[test]
    fn what_lies_outside_the_clip_is_no_placement() {
        assert_eq!(Placement::new(bbox(100.0, 0.0, 150.0, 50.0), CLIP), None);
        assert_eq!(Placement::new(bbox(-50.0, 0.0, -0.0, 50.0), CLIP), None);
        assert!(Placement::new(bbox(-50.0, 0.0, 1.0, 50.0), CLIP).is_some());
    }

    #[test]
    fn a_cut_image_shows_its_right_part() {
        // Eight columns of 0, 10, .. 70 shown at double size, six pixels cut off on the left.
        let row: Vec<u8> = (0..8).flat_map(|x| [x * 10; 3]).collect();
        let image = Rgb { width: 8, height: 8, pixels: row.repeat(8) };
        let clip = Rect { left: 0, top: 0, width: 10, height: 16 };
        let mut canvas = Rgb::filled(10, 16, [255; 3]);
        Placement::new(bbox(-6.0, 0.0, 10.0, 16.0), clip).unwrap().paint(&image, &mut canvas).unwrap();
        let seen: Vec<u8> = (0..10).map(|x| canvas.pixel(x, 8)[0]).collect();
        for (x, &value) in seen.iter().enumerate() {
            let centre = ((x as f64 + 6.5) / 2.0 - 0.5) * 10.0;
            assert!((f64::from(value) - centre.min(70.0)).abs() <= 1.0, "column {x} of {seen:?}");
        }
    }
}
