//! Pictures of detections: boxes with captions, before and after side by side, contact sheets.

mod captions;
mod ink;
mod palette;
mod sheet;
mod text;

pub use palette::class_colour;
pub use sheet::{Panel, sheet, side_by_side};

use yoloslim_core::boxes::Detection;

use crate::data::Rgb;
use captions::Captions;
use ink::{BLACK, Frame};

/// Draws `detections`, whose boxes are in pixels of `image`, each in the colour of its class with its name
/// and score; lines and letters grow with the image.
///
/// The surest detection is drawn last and gets the best place for its caption. A caption that would cover
/// another or a small object is shortened to the score or left out, so that crowded images stay readable. A class without a
/// name is shown by its number.
pub fn draw_detections(image: &mut Rgb, detections: &[Detection], names: &[String]) {
    let mut order: Vec<&Detection> = detections.iter().filter(|d| frame(d).is_some()).collect();
    order.sort_by(|a, b| a.score.total_cmp(&b.score));
    let thickness = line_thickness(image);
    for detection in &order {
        let Some(frame) = frame(detection) else { continue };
        // A dark rim on both sides keeps the line visible on a ground of its own colour.
        ink::outline(image, frame.grown(thickness), 1, BLACK, 0.6);
        ink::outline(image, frame.grown(thickness - 1), thickness, class_colour(detection.class), 1.0);
    }
    let frames = order.iter().filter_map(|d| frame(d)).collect();
    let mut captions = Captions::new(image, frames);
    for detection in order.iter().rev() {
        let Some(frame) = frame(detection) else { continue };
        let name = names.get(detection.class).cloned().unwrap_or_else(|| detection.class.to_string());
        let score = format!("{:.2}", detection.score);
        let wordings = [format!("{name} {score}"), score];
        captions.add(image, frame.grown(thickness), &wordings, class_colour(detection.class));
    }
}

/// One pixel for every 240 of the shorter side.
fn line_thickness(image: &Rgb) -> i64 {
    (image.width.min(image.height) as f64 / 240.0).round().max(1.0) as i64
}

/// The pixels of a detection's box; None for a box that isn't a number.
fn frame(detection: &Detection) -> Option<Frame> {
    let b = detection.bbox;
    let finite = [b.x0, b.y0, b.x1, b.y1].iter().all(|edge| edge.is_finite());
    let pixel = |edge: f64| edge.round().clamp(-1e6, 1e6) as i64;
    finite.then(|| Frame { left: pixel(b.x0), top: pixel(b.y0), right: pixel(b.x1), bottom: pixel(b.y1) })
}

#[cfg(test)]
mod tests {
    use yoloslim_core::boxes::BBox;

    use super::*;

    fn detection(class: usize, score: f32, (x0, y0, x1, y1): (f64, f64, f64, f64)) -> Detection {
        Detection { class, score, bbox: BBox { x0, y0, x1, y1 } }
    }

    #[test]
    fn a_box_is_outlined_in_its_colour_and_its_inside_is_left_alone() {
        let mut image = Rgb::filled(200, 200, [90; 3]);
        draw_detections(&mut image, &[detection(1, 0.9, (50.0, 60.0, 100.0, 120.0))], &[]);
        assert_eq!(image.pixel(75, 119), class_colour(1));
        assert_eq!(image.pixel(99, 90), class_colour(1));
        assert_eq!(image.pixel(75, 90), [90; 3]);
        let caption = (30..59).flat_map(|y| (45..100).map(move |x| (x, y)));
        assert!(caption.filter(|&(x, y)| image.pixel(x, y) == class_colour(1)).count() > 100, "no caption above");
    }

    #[test]
    fn boxes_beyond_the_edges_or_without_numbers_do_no_harm() {
        let boxes =
            [(-50.0, -50.0, 500.0, 500.0), (f64::NAN, 0.0, 1.0, 1.0), (9.0, 9.0, 1.0, 1.0), (1e30, 0.0, 2e30, 5.0)];
        for (width, height) in [(1, 1), (7, 300), (64, 64)] {
            let mut image = Rgb::filled(width, height, [0; 3]);
            draw_detections(&mut image, &boxes.map(|b| detection(0, 0.5, b)), &["näme".into()]);
            assert_eq!(image.pixels.len(), width * height * 3);
        }
    }
}
