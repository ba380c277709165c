//! Several pictures on one sheet.

use yoloslim_core::boxes::{BBox, Detection};
use yoloslim_core::{Error, Result};

use super::ink::{Colour, Frame, fill};
use super::{class_colour, draw_detections, text};
use crate::data::Rgb;
use crate::data::resample::{Rect, resample, whole};

/// One picture of a sheet.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    /// What stands above it; may be empty.
    pub title: &'a str,
    /// The picture.
    pub image: &'a Rgb,
    /// What was found on it, in pixels of `image`.
    pub detections: &'a [Detection],
}

const PAPER: Colour = [24, 26, 30];
const LETTERS: Colour = [225, 228, 232];
/// Letters of titles and legend, in pixels.
const SIZE: f32 = 18.0;
/// Height of the strip for a title or a row of the legend, in pixels.
const STRIP: i64 = 28;
/// Space around pictures, in pixels.
const GAP: i64 = 10;

/// Two pictures beside each other, each `width` pixels wide, with their titles and the classes' colours below.
///
/// # Errors
/// If a picture holds no pixels.
pub fn side_by_side(left: Panel<'_>, right: Panel<'_>, names: &[String], width: usize) -> Result<Rgb> {
    sheet(&[left, right], names, 2, width)
}

/// A grid of pictures, row by row, each fitted into `width` pixels (and at most as high), with titles and the
/// colours of the classes that occur.
///
/// Pictures are resized before the boxes are drawn, so that captions are readable on small ones too.
///
/// # Errors
/// If there is no panel or column, or a picture holds no pixels.
pub fn sheet(panels: &[Panel<'_>], names: &[String], columns: usize, width: usize) -> Result<Rgb> {
    if panels.is_empty() || columns == 0 || width == 0 {
        return Err(Error::at("sheet", "there is nothing to show").fix("give at least one picture, column and pixel"));
    }
    let pictures = panels.iter().map(|panel| fitted(panel, names, width)).collect::<Result<Vec<_>>>()?;
    let columns = columns.min(panels.len());
    let sheet_width = columns as i64 * (width as i64 + GAP) + GAP;
    let titled = panels.iter().any(|panel| !panel.title.is_empty());
    let strip = if titled { STRIP } else { GAP };
    let row_heights =
        pictures.chunks(columns).map(|row| strip + row.iter().map(|p| p.height).max().unwrap_or(0) as i64);
    let row_heights: Vec<i64> = row_heights.collect();
    let legend = Legend::new(panels, names, sheet_width);
    let height = row_heights.iter().sum::<i64>() + GAP + legend.height();
    let mut sheet = Rgb::filled(sheet_width as usize, height as usize, PAPER);

    let mut top = 0;
    let rows = panels.chunks(columns).zip(pictures.chunks(columns)).zip(&row_heights);
    for ((panels, pictures), row_height) in rows {
        for (column, (panel, picture)) in panels.iter().zip(pictures).enumerate() {
            let left = GAP + column as i64 * (width as i64 + GAP);
            let title = text::fitted(panel.title, SIZE, width as i64);
            text::write(&mut sheet, &title, (left, top + (STRIP - SIZE as i64) / 2), SIZE, LETTERS);
            let aside = (width - picture.width) / 2;
            paste(&mut sheet, picture, left as usize + aside, (top + strip) as usize);
        }
        top += row_height;
    }
    legend.write(&mut sheet, top + GAP);
    Ok(sheet)
}

/// The panel's picture within `width` x `width` pixels, its detections drawn.
fn fitted(panel: &Panel<'_>, names: &[String], width: usize) -> Result<Rgb> {
    let image = panel.image;
    if image.width == 0 || image.height == 0 {
        return Err(Error::at(panel.title, "the picture holds no pixels"));
    }
    let scale = width as f64 / image.width.max(image.height) as f64;
    let side = |length: usize| ((length as f64 * scale).round() as usize).clamp(1, width);
    let mut picture = Rgb::filled(side(image.width), side(image.height), [0; 3]);
    let to = Rect { left: 0, top: 0, width: picture.width, height: picture.height };
    resample(image, whole(image), &mut picture, to)?;
    let scaled = |b: BBox| BBox { x0: b.x0 * scale, y0: b.y0 * scale, x1: b.x1 * scale, y1: b.y1 * scale };
    let detections: Vec<_> = panel.detections.iter().map(|d| Detection { bbox: scaled(d.bbox), ..*d }).collect();
    draw_detections(&mut picture, &detections, names);
    Ok(picture)
}

fn paste(sheet: &mut Rgb, picture: &Rgb, left: usize, top: usize) {
    for (y, row) in picture.pixels.chunks_exact(picture.width * 3).enumerate() {
        let at = ((top + y) * sheet.width + left) * 3;
        sheet.pixels[at..at + row.len()].copy_from_slice(row);
    }
}

/// The colours and names of the classes on a sheet, laid out in as many rows as they need.
struct Legend {
    entries: Vec<(i64, i64, Colour, String)>,
    rows: i64,
}

impl Legend {
    fn new(panels: &[Panel<'_>], names: &[String], width: i64) -> Self {
        let classes = panels.iter().flat_map(|panel| panel.detections).map(|d| d.class);
        let classes: std::collections::BTreeSet<usize> = classes.filter(|&class| class < names.len()).collect();
        let (mut left, mut rows) = (GAP, i64::from(!classes.is_empty()));
        let mut entries = Vec::new();
        for class in classes {
            let name = text::fitted(&names[class], SIZE, width - 4 * STRIP);
            let length = STRIP + text::width(&name, SIZE) + 2 * GAP;
            if left + length > width && left > GAP {
                (left, rows) = (GAP, rows + 1);
            }
            entries.push((left, (rows - 1) * STRIP, class_colour(class), name));
            left += length;
        }
        Self { entries, rows }
    }

    fn height(&self) -> i64 {
        self.rows * STRIP
    }

    fn write(&self, sheet: &mut Rgb, top: i64) {
        let size = SIZE as i64;
        for (left, row, colour, name) in &self.entries {
            fill(sheet, Frame::sized(*left, top + row, size, size), *colour, 1.0);
            text::write(sheet, name, (left + size + GAP, top + row), SIZE, LETTERS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_shows_each_picture_in_its_cell() {
        let pictures: Vec<_> = (1..=5u8).map(|i| Rgb::filled(30, 20, [i * 50; 3])).collect();
        let panels: Vec<_> = pictures.iter().map(|image| Panel { title: "t", image, detections: &[] }).collect();
        let sheet = sheet(&panels, &[], 2, 60).unwrap();
        assert_eq!((sheet.width, sheet.height), (2 * 70 + 10, 3 * (28 + 40) + 10));
        for (i, picture) in pictures.iter().enumerate() {
            let (x, y) = (10 + 30 + (i % 2) * 70, 28 + 20 + (i / 2) * 68);
            assert_eq!(sheet.pixel(x, y), picture.pixel(0, 0), "picture {i}");
        }
        assert_eq!(sheet.pixel(10 + 30 + 70, 28 + 20 + 2 * 68), PAPER, "the last cell is empty");
    }

    #[test]
    fn nothing_to_show_is_an_error() {
        let image = Rgb::filled(0, 0, [0; 3]);
        let panel = Panel { title: "", image: &image, detections: &[] };
        assert!(sheet(&[], &[], 1, 100).is_err());
        assert!(sheet(&[panel], &[], 1, 100).is_err());
    }

    #[test]
    fn a_long_legend_takes_more_rows() {
        let image = Rgb::filled(10, 10, [0; 3]);
        let names: Vec<String> = (0..20).map(|i| format!("class number {i}")).collect();
        let at = |class| Detection { class, score: 0.5, bbox: BBox { x0: 1.0, y0: 1.0, x1: 5.0, y1: 5.0 } };
        let detections: Vec<_> = (0..20).map(at).collect();
        let legend = Legend::new(&[Panel { title: "", image: &image, detections: &detections }], &names, 500);
        assert!(legend.rows >= 7, "{} rows", legend.rows);
        assert!(legend.entries.iter().all(|(left, _, _, name)| left + STRIP + text::width(name, SIZE) <= 500));
    }
}
