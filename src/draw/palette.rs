//! Colours of classes.

use super::ink::{BLACK, Colour, WHITE};

/// Bright colours that stay apart from each other, for people who see red and green alike too; in the order
/// in which they are easiest to tell apart.
const FIRST: [Colour; 8] = [
    [255, 176, 0],
    [30, 144, 255],
    [220, 38, 127],
    [0, 200, 130],
    [150, 90, 255],
    [254, 97, 0],
    [120, 220, 255],
    [240, 228, 66],
];

/// The golden ratio's fraction of a turn puts each new hue into the largest gap between those before.
const GOLDEN: f32 = 0.618_034;

/// The colour that pictures give to class `class`, red, green, blue.
pub fn class_colour(class: usize) -> [u8; 3] {
    if let Some(&colour) = FIRST.get(class) {
        return colour;
    }
    let hue = (class as f32 * GOLDEN).fract() * 6.0;
    let (saturation, value) = [(0.85, 1.0), (0.55, 0.95), (0.9, 0.75)][class % 3];
    [5.0, 3.0, 1.0].map(|start: f32| {
        let k = (start + hue) % 6.0;
        let channel = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (channel * 255.0).round() as u8
    })
}

/// Black or white, whichever reads better on `ground` (ITU-R BT.601 luma).
pub(super) fn letters_on(ground: Colour) -> Colour {
    let [red, green, blue] = ground.map(f32::from);
    if 0.299 * red + 0.587 * green + 0.114 * blue > 128.0 { BLACK } else { WHITE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classes_of_coco_all_differ() {
        let colours: std::collections::BTreeSet<_> = (0..80).map(class_colour).collect();
        assert_eq!(colours.len(), 80);
    }

    #[test]
    fn letters_contrast_with_their_ground() {
        assert_eq!([letters_on([255, 230, 0]), letters_on([40, 0, 120])], [BLACK, WHITE]);
    }
}
