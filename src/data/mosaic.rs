//! One image or four on the net's input, at random sizes and places.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use yoloslim_core::Result;
use yoloslim_core::boxes::BBox;
use yoloslim_core::labels::Sample;

use super::augment::Augment;
use super::batch::Found;
use super::cache::ImageCache;
use super::copy_paste;
use super::image::Rgb;
use super::placement::{Keep, Placement};
use super::resample::Rect;

/// The bars of [`super::letterbox::GREY`] in bytes, as near as they come: 0.502.
const GREY: [u8; 3] = [128; 3];

/// A data set's samples with their images, and the canvas they are put on.
pub(crate) struct Composer<'a> {
    pub samples: &'a [Sample],
    pub cache: &'a ImageCache,
    pub augment: &'a Augment,
    pub width: usize,
    pub height: usize,
}

impl Composer<'_> {
    /// The sample `index` alone or as the first tile of a mosaic, with the objects that show.
    pub fn compose(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<(Rgb, Found)> {
        let mut scene = (Rgb::filled(self.width, self.height, GREY), Found::default());
        for (index, area) in self.layout(index, rng) {
            self.add(index, area, &mut scene)?;
        }
        // Random numbers are drawn only where it is on, so that other runs stay what they are.
        if self.augment.copy_paste > 0.0 {
            copy_paste::paste(self.augment.copy_paste, &mut scene.0, &mut scene.1, rng);
        }
        Ok(scene)
    }

    /// The samples that [`Composer::compose`] would put on the canvas, and where.
    pub fn layout(&self, index: usize, rng: &mut ChaCha8Rng) -> Vec<(usize, BBox)> {
        match rng.random::<f32>() < self.augment.mosaic {
            true => self.mosaic(index, rng),
            false => vec![self.single(index, rng)],
        }
    }

    fn single(&self, index: usize, rng: &mut ChaCha8Rng) -> (usize, BBox) {
        let (scale, shift_x, shift_y) = self.zoom(rng);
        let (width, height) = self.fitted(index, scale);
        let x0 = (self.width as f64 - width) / 2.0 + shift_x;
        let y0 = (self.height as f64 - height) / 2.0 + shift_y;
        (index, BBox { x0, y0, x1: x0 + width, y1: y0 + height })
    }

    /// Four images around a centre on a canvas of twice the size, of which the middle is cut out at a random
    /// scale (Bochkovskiy et al. 2020, section 3.4). Both steps are one map, so each tile is resampled once.
    fn mosaic(&self, index: usize, rng: &mut ChaCha8Rng) -> Vec<(usize, BBox)> {
        let (net_w, net_h) = (self.width as f64, self.height as f64);
        let (scale, shift_x, shift_y) = self.zoom(rng);
        // The centre is drawn from the middle half of the double canvas: half a size about its middle.
        let x = net_w / 2.0 + rng.random_range(-0.5..0.5) * net_w * scale + shift_x;
        let y = net_h / 2.0 + rng.random_range(-0.5..0.5) * net_h * scale + shift_y;
        let tiles = (0..4).map(|tile| {
            let index = if tile == 0 { index } else { rng.random_range(0..self.samples.len()) };
            let (width, height) = self.fitted(index, scale);
            // Tiles touch the centre with the corner that faces it: 0 lies left above, 3 right below.
            let (x0, x1) = if tile % 2 == 0 { (x - width, x) } else { (x, x + width) };
            let (y0, y1) = if tile / 2 == 0 { (y - height, y) } else { (y, y + height) };
            (index, BBox { x0, y0, x1, y1 })
        });
        tiles.collect()
    }

    /// A random scale, and a random shift in pixels, (scale, x, y).
    fn zoom(&self, rng: &mut ChaCha8Rng) -> (f64, f64, f64) {
        let mut within = |most: f32| f64::from(most) * rng.random_range(-1.0..=1.0);
        let Augment { scale, translate, .. } = *self.augment;
        let (scale, x, y) = (within(scale), within(translate), within(translate));
        (1.0 + scale, x * self.width as f64, y * self.height as f64)
    }

    /// The size of an image when it fills the net's input with its aspect kept, times `scale`.
    fn fitted(&self, index: usize, scale: f64) -> (f64, f64) {
        let sample = &self.samples[index];
        let (width, height) = (sample.width.max(1) as f64, sample.height.max(1) as f64);
        let ratio = scale * (self.width as f64 / width).min(self.height as f64 / height);
        (width * ratio, height * ratio)
    }

    /// Puts an image and its objects on the canvas; one that doesn't show isn't even decoded.
    fn add(&self, index: usize, area: BBox, (canvas, found): &mut (Rgb, Found)) -> Result<()> {
        let clip = Rect { left: 0, top: 0, width: self.width, height: self.height };
        let Some(placement) = Placement::new(area, clip) else { return Ok(()) };
        let sample = &self.samples[index];
        let image = self.cache.get(index, &sample.image)?;
        placement.paint(&image, canvas).map_err(|e| e.inside(sample.image.display()))?;
        let keep = Keep { min_box: f64::from(self.augment.min_box) };
        placement.place(sample, keep, (self.width, self.height), found);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use yoloslim_core::labels::Object;

    use super::*;
    use crate::data::Target;
    use crate::data::random::{Purpose, stream};

    /// Images of one colour with one object that fills the left half, or none.
    fn samples(folder: &std::path::Path, colours: &[([u8; 3], bool)]) -> Vec<Sample> {
        let sample = |(i, &(colour, labelled)): (usize, &([u8; 3], bool))| {
            let image = folder.join(format!("{i}.png"));
            image::RgbImage::from_pixel(40, 30, image::Rgb(colour)).save(&image).unwrap();
            let bbox = BBox { x0: 0.0, y0: 0.0, x1: 20.0, y1: 30.0 };
            let object = Object { class: i, bbox, area: 600.0, difficult: false, crowd: false };
            Sample { image, width: 40, height: 30, objects: labelled.then_some(object).into_iter().collect() }
        };
        colours.iter().enumerate().map(sample).collect()
    }

    fn scene(samples: &[Sample], augment: &Augment, index: usize, draw: usize) -> (Rgb, Vec<Target>) {
        let cache = ImageCache::new(samples.len(), 640, 1 << 20);
        let composer = Composer { samples, cache: &cache, augment, width: 96, height: 64 };
        let (canvas, found) = composer.compose(index, &mut stream(5, 0, Purpose::Sample, draw)).unwrap();
        (canvas, found.targets)
    }

    #[test]
    fn without_augmentation_a_sample_is_letterboxed() {
        let folder = tempfile::tempdir().unwrap();
        let samples = samples(folder.path(), &[([200, 100, 50], true)]);
        let (canvas, targets) = scene(&samples, &Augment::none(), 0, 0);
        // 40x30 fits into 96x64 as 85x64, rounded outwards from 5.33 and 90.67 to 5..91.
        assert_eq!([4, 5, 90, 91].map(|x| canvas.pixel(x, 32)), [GREY, [200, 100, 50], [200, 100, 50], GREY]);
        let target = targets[0];
        assert!((target.w - 43.0 / 96.0).abs() < 1e-6 && (target.h - 1.0).abs() < 1e-6, "{target:?}");
        assert!((target.cx - (5.0 + 21.5) / 96.0).abs() < 1e-6 && (target.cy - 0.5).abs() < 1e-6, "{target:?}");
    }

    #[test]
    fn tiles_without_objects_add_none() {
        let folder = tempfile::tempdir().unwrap();
        let colours = [([250, 0, 0], true), ([0, 250, 0], false), ([0, 0, 250], false)];
        let samples = samples(folder.path(), &colours);
        let augment = Augment { mosaic: 1.0, ..Augment::none() };
        for draw in 0..40 {
            let (canvas, targets) = scene(&samples, &augment, draw % 3, draw);
            // An empty tile that took over its forerunner's boxes would put one where no red is.
            for target in targets {
                assert_eq!(target.class, 0);
                let (x, y) = ((target.cx * 96.0) as usize, (target.cy * 64.0) as usize);
                assert_eq!(canvas.pixel(x, y), [250, 0, 0], "draw {draw}: {target:?}");
            }
        }
    }

    #[test]
    fn boxes_lie_on_their_object_at_every_scale_and_shift() {
        let folder = tempfile::tempdir().unwrap();
        let samples = samples(folder.path(), &[([250, 0, 0], true), ([0, 250, 0], true)]);
        let augment = Augment { scale: 0.5, translate: 0.3, min_box: 2.0, ..Augment::none() };
        let mut seen = 0;
        for draw in 0..60 {
            let augment = Augment { mosaic: (draw % 2) as f32, ..augment };
            let (canvas, targets) = scene(&samples, &augment, 0, draw);
            for t in targets {
                seen += 1;
                let colour = [[250, 0, 0], [0, 250, 0]][t.class];
                for (dx, dy) in [(-0.49, -0.49), (0.49, -0.49), (-0.49, 0.49), (0.49, 0.49)] {
                    let (x, y) = ((t.cx + dx * t.w) * 96.0, (t.cy + dy * t.h) * 64.0);
                    assert_eq!(canvas.pixel(x as usize, y as usize), colour, "draw {draw}: {t:?}");
                }
                assert!(t.w * 96.0 > 2.0 && t.h * 64.0 > 2.0);
            }
        }
        assert!(seen > 60, "{seen} boxes are too few to have tested anything");
    }
}
