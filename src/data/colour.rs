//! Jitter of hue, saturation and brightness, and the step from bytes to the net's numbers.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::augment::Augment;
use super::image::Rgb;

/// One draw of the colour jitter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Jitter {
    /// Added to the hue, in sixths of the colour circle.
    pub hue: f32,
    /// Multiplies the saturation.
    pub saturation: f32,
    /// Multiplies the value (the largest of the three colours).
    pub value: f32,
}

impl Jitter {
    /// Changes nothing.
    pub const NONE: Self = Self { hue: 0.0, saturation: 1.0, value: 1.0 };

    /// Draws within the strengths of `augment`.
    pub fn draw(augment: &Augment, rng: &mut ChaCha8Rng) -> Self {
        let mut within = |most: f32| most * rng.random_range(-1.0..=1.0f32);
        let hue = 6.0 * within(augment.hue);
        Self { hue, saturation: 1.0 + within(augment.saturation), value: 1.0 + within(augment.value) }
    }

    /// Writes `image` as `[height][width][3]` of 0 to 1, jittered and, with `flip`, mirrored left to right.
    pub fn write(self, image: &Rgb, flip: bool, input: &mut [f32]) {
        let length = image.width * 3;
        let mut planes = vec![[0.0; 3]; image.width];
        for (bytes, row) in image.pixels.chunks_exact(length).zip(input.chunks_exact_mut(length)) {
            for (pixel, byte) in planes.iter_mut().zip(bytes.chunks_exact(3)) {
                *pixel = [byte[0], byte[1], byte[2]].map(|b| f32::from(b) / 255.0);
            }
            if self != Self::NONE {
                planes.iter_mut().for_each(|pixel| *pixel = self.apply(*pixel));
            }
            if flip {
                planes.reverse();
            }
            row.copy_from_slice(planes.as_flattened());
        }
    }

    /// The jittered colour of `[red, green, blue]`, 0 to 1.
    ///
    /// With chroma C = V * S each channel is V - C * clamp(min(k, 4 - k), 0, 1), where k runs around the
    /// colour circle from 5, 3 and 1 (red, green, blue); written without branches so that it vectorises.
    #[inline]
    fn apply(self, [red, green, blue]: [f32; 3]) -> [f32; 3] {
        let value = red.max(green).max(blue);
        let chroma = value - red.min(green).min(blue);
        let per_chroma = if chroma > 0.0 { 1.0 / chroma } else { 0.0 };
        let of_red = (green - blue) * per_chroma;
        let of_green = 2.0 + (blue - red) * per_chroma;
        let of_blue = 4.0 + (red - green) * per_chroma;
        let hue = if value == green { of_green } else { of_blue };
        let hue = if value == red { of_red } else { hue } + self.hue;

        let saturation = if value > 0.0 { chroma / value } else { 0.0 };
        let value = (value * self.value).min(1.0);
        let chroma = value * (saturation * self.saturation).min(1.0);
        [5.0, 3.0, 1.0].map(|start| {
            // The distance from k = 2 around a circle of 6; hue is -4 to 8, so at most one turn off.
            let off = (start + hue - 2.0).abs();
            let off = off.min((off - 6.0).abs()).min((off - 12.0).abs());
            value - chroma * (2.0 - off).clamp(0.0, 1.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: [f32; 3], b: [f32; 3]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    }

    #[test]
    fn jitter_matches_hand_computed_colours() {
        let cases = [
            ("a third of a turn makes red green", [1.0, 0.0, 0.0], (2.0, 1.0, 1.0), [0.0, 1.0, 0.0]),
            ("a third back makes red blue", [1.0, 0.0, 0.0], (-2.0, 1.0, 1.0), [0.0, 0.0, 1.0]),
            ("half a turn makes blue yellow", [0.0, 0.0, 1.0], (3.0, 1.0, 1.0), [1.0, 1.0, 0.0]),
            ("a sixth makes magenta red", [1.0, 0.0, 1.0], (1.0, 1.0, 1.0), [1.0, 0.0, 0.0]),
            ("no saturation is grey", [0.8, 0.4, 0.2], (0.0, 0.0, 1.0), [0.8, 0.8, 0.8]),
            ("saturation is at most one", [0.8, 0.4, 0.2], (0.0, 9.0, 1.0), [0.8, 0.8 / 3.0, 0.0]),
            ("half the value is half of all", [0.8, 0.4, 0.2], (0.0, 1.0, 0.5), [0.4, 0.2, 0.1]),
            ("value is at most one", [0.8, 0.4, 0.2], (0.0, 1.0, 2.0), [1.0, 0.5, 0.25]),
            ("black stays black", [0.0, 0.0, 0.0], (1.0, 1.5, 1.5), [0.0, 0.0, 0.0]),
        ];
        for (name, colour, (hue, saturation, value), expected) in cases {
            let got = Jitter { hue, saturation, value }.apply(colour);
            assert!(close(got, expected), "{name}: {got:?}");
        }
    }

    #[test]
    fn a_flip_mirrors_each_row() {
        let image = Rgb { width: 2, height: 2, pixels: vec![0, 51, 102, 153, 204, 255, 255, 0, 255, 0, 255, 0] };
        let mut input = [0.0; 12];
        Jitter::NONE.write(&image, true, &mut input);
        assert_eq!(input, [0.6, 0.8, 1.0, 0.0, 0.2, 0.4, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_jitter_changes_no_colour_and_any_keeps_it_a_colour(
            colour in prop::array::uniform3(0.0f32..=1.0),
            (hue, saturation, value) in (-3.0f32..=3.0, 0.0f32..=2.0, 0.0f32..=2.0),
        ) {
            prop_assert!(close(Jitter::NONE.apply(colour), colour));
            let jittered = Jitter { hue, saturation, value }.apply(colour);
            prop_assert!(jittered.iter().all(|c| (-1e-6..=1.000001).contains(c)), "{jittered:?}");
        }
    }
}
