//! How an image is laid into the net's input, and back.

use super::BBox;

/// How an image is brought to the net's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fit {
    /// Its aspect kept, bars beside it: as pjreddie's detector does, and training here.
    #[default]
    Letterbox,
    /// Its aspect lost: as AlexeyAB's trainer and detector do, unless told `-letter_box`.
    Stretch,
}

/// The geometry of an image inside the net's input.
///
/// Either letterboxed (aspect kept, grey bars, as pjreddie's detector does) or stretched to
/// fill (AlexeyAB's default). The image covers whole pixels of the net input, so that a
/// resampler and this geometry agree to the pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    image: (usize, usize),
    net: (usize, usize),
    offset: (usize, usize),
    content: (usize, usize),
}

impl Letterbox {
    /// The largest size of the image's aspect that fits, centred. All sizes are (width, height) in pixels;
    /// a size of 0 is taken as 1.
    pub fn new(image_width: usize, image_height: usize, net_width: usize, net_height: usize) -> Self {
        let whole = Self::stretch(image_width, image_height, net_width, net_height);
        let ((iw, ih), (nw, nh)) = (whole.image, whole.net);
        // Darknet's letterbox_image: the tighter side fills, the other is rounded down.
        let content = if nw * ih < nh * iw { (nw, (ih * nw / iw).max(1)) } else { ((iw * nh / ih).max(1), nh) };
        let offset = ((nw - content.0) / 2, (nh - content.1) / 2);
        Self { offset, content, ..whole }
    }

    /// The image brought to the net's size as `fit` says.
    pub fn fitted(
        fit: Fit,
        (image_width, image_height): (usize, usize),
        (net_width, net_height): (usize, usize),
    ) -> Self {
        match fit {
            Fit::Letterbox => Self::new(image_width, image_height, net_width, net_height),
            Fit::Stretch => Self::stretch(image_width, image_height, net_width, net_height),
        }
    }

    /// The image stretched to fill the whole input, its aspect lost.
    fn stretch(image_width: usize, image_height: usize, net_width: usize, net_height: usize) -> Self {
        let net = (net_width.max(1), net_height.max(1));
        Self { image: (image_width.max(1), image_height.max(1)), net, offset: (0, 0), content: net }
    }

    /// Where the image's top left corner lies in the net input, (x, y) in pixels.
    pub fn offset(&self) -> (usize, usize) {
        self.offset
    }

    /// The size the image is resampled to, (width, height) in pixels.
    pub fn content(&self) -> (usize, usize) {
        self.content
    }

    /// A box in pixels of the image as a box in pixels of the net input.
    pub fn to_net(&self, bbox: BBox) -> BBox {
        bbox.mapped(self.scale(), (self.offset.0 as f64, self.offset.1 as f64))
    }

    /// A box in shares (0 to 1) of the net input as a box in pixels of the image, clipped to it.
    pub fn to_image(&self, bbox: BBox) -> BBox {
        let (sx, sy) = self.scale();
        let scale = (self.net.0 as f64 / sx, self.net.1 as f64 / sy);
        let shift = (-(self.offset.0 as f64) / sx, -(self.offset.1 as f64) / sy);
        bbox.mapped(scale, shift).clipped(self.image.0 as f64, self.image.1 as f64)
    }

    /// Pixels of the net input for one pixel of the image, (x, y).
    fn scale(&self) -> (f64, f64) {
        (self.content.0 as f64 / self.image.0 as f64, self.content.1 as f64 / self.image.1 as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wide_image_gets_bars_above_and_below() {
        let fit = Letterbox::new(400, 200, 416, 416);
        assert_eq!((fit.content(), fit.offset()), ((416, 208), (0, 104)));
        let whole = fit.to_net(BBox { x0: 0.0, y0: 0.0, x1: 400.0, y1: 200.0 });
        assert_eq!(whole, BBox { x0: 0.0, y0: 104.0, x1: 416.0, y1: 312.0 });
    }

    #[test]
    fn a_tall_image_gets_bars_left_and_right() {
        let fit = Letterbox::new(100, 300, 96, 48);
        assert_eq!((fit.content(), fit.offset()), ((16, 48), (40, 0)));
    }

    #[test]
    fn stretching_fills_the_input() {
        let stretch = Letterbox::stretch(400, 200, 416, 416);
        let whole = BBox { x0: 0.0, y0: 0.0, x1: 400.0, y1: 200.0 };
        assert_eq!(stretch.to_net(whole), BBox { x0: 0.0, y0: 0.0, x1: 416.0, y1: 416.0 });
        assert_eq!(stretch.to_image(BBox { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 }), whole);
    }

    #[test]
    fn boxes_on_the_bars_are_clipped_to_the_image() {
        let fit = Letterbox::new(400, 200, 416, 416);
        let clipped = fit.to_image(BBox { x0: -0.5, y0: 0.0, x1: 0.5, y1: 0.5 });
        assert_eq!(clipped, BBox { x0: 0.0, y0: 0.0, x1: 200.0, y1: 100.0 });
    }

    #[test]
    fn sizes_of_zero_and_extreme_aspects_still_have_a_pixel() {
        for (w, h) in [(0, 0), (1, 100_000), (100_000, 1)] {
            let (width, height) = Letterbox::new(w, h, 32, 32).content();
            assert!(width >= 1 && height >= 1, "{w}x{h}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn going_to_the_net_is_undone_by_going_back(
            (iw, ih) in (10usize..3000, 10usize..3000),
            (nw, nh) in (1usize..20, 1usize..20),
            (x, y) in (0.0..0.5, 0.0..0.5),
            stretch in any::<bool>(),
        ) {
            let (nw, nh) = (nw * 32, nh * 32);
            let geometry = if stretch { Letterbox::stretch(iw, ih, nw, nh) } else { Letterbox::new(iw, ih, nw, nh) };
            let pixels = BBox::from_corner(x * iw as f64, y * ih as f64, 0.5 * iw as f64, 0.5 * ih as f64);
            let shares = geometry.to_net(pixels).mapped((1.0 / nw as f64, 1.0 / nh as f64), (0.0, 0.0));
            prop_assert!(shares.x0 > -1e-9 && shares.y0 > -1e-9 && shares.x1 < 1.0 + 1e-9 && shares.y1 < 1.0 + 1e-9);
            let back = geometry.to_image(shares);
            for (a, b) in [(back.x0, pixels.x0), (back.y0, pixels.y0), (back.x1, pixels.x1), (back.y1, pixels.y1)] {
                prop_assert!((a - b).abs() < 1e-6, "{back:?} is not {pixels:?}");
            }
        }
    }
}
