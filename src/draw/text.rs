//! Words on a picture.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};

use super::ink::{Colour, blend};
use crate::data::Rgb;

/// Hack (MIT and Bitstream Vera licences): its letters stay apart at small sizes; Latin, Greek and Cyrillic.
static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(epaint_default_fonts::HACK_REGULAR).expect("the font in the program is sound")
});

/// The advance and the glyph of each character of a line, in pixels from its start.
fn glyphs(text: &str, size: f32) -> impl Iterator<Item = (f32, GlyphId)> {
    let font = FONT.as_scaled(PxScale::from(size));
    text.chars().scan(0.0, move |x, character| {
        let (at, id) = (*x, font.glyph_id(character));
        *x += font.h_advance(id);
        Some((at, id))
    })
}

/// Width of a line in pixels at a line height of `size`.
pub(super) fn width(text: &str, size: f32) -> i64 {
    let font = FONT.as_scaled(PxScale::from(size));
    glyphs(text, size).last().map_or(0, |(x, id)| (x + font.h_advance(id)).ceil() as i64)
}

/// Writes a line of height `size` with its top left corner at (left, top).
pub(super) fn write(image: &mut Rgb, text: &str, (left, top): (i64, i64), size: f32, colour: Colour) {
    let scale = PxScale::from(size);
    let baseline = FONT.as_scaled(scale).ascent();
    for (x, id) in glyphs(text, size) {
        let Some(outline) = FONT.outline_glyph(id.with_scale_and_position(scale, point(x, baseline))) else { continue };
        let corner = outline.px_bounds().min;
        let (x, y) = (left + corner.x as i64, top + corner.y as i64);
        outline.draw(|dx, dy, share| blend(image, x + i64::from(dx), y + i64::from(dy), colour, share));
    }
}

/// The longest beginning of `text` that fits `room` pixels, with an ellipsis where something was cut off.
pub(super) fn fitted(text: &str, size: f32, room: i64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let cuts = text.char_indices().map(|(at, _)| format!("{}…", &text[..at]));
    cuts.take_while(|cut| width(cut, size) <= room).last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stay_within_the_measured_width_and_height() {
        let mut image = Rgb::filled(200, 40, [0; 3]);
        write(&mut image, "Ångström jqy", (10, 10), 16.0, [255; 3]);
        let right = 10 + width("Ångström jqy", 16.0) as usize;
        let mut drawn = 0;
        for y in 0..40 {
            for x in 0..200 {
                let inside = (9..=right).contains(&x) && (9..=26).contains(&y);
                drawn += usize::from(image.pixel(x, y)[0] > 128);
                assert!(inside || image.pixel(x, y) == [0; 3], "ink at {x},{y}");
            }
        }
        assert!(drawn > 100, "{drawn} bright pixels are no words");
    }

    #[test]
    fn what_does_not_fit_is_cut_with_an_ellipsis() {
        let room = width("twelve…", 14.0);
        assert_eq!(fitted("twelve letters", 14.0, room), "twelve…");
        assert_eq!(fitted("twelve", 14.0, room), "twelve");
        assert_eq!(fitted("twelve", 14.0, 0), "");
    }
}
