//! Copies of small objects, pasted beside them, so that more of them are seen (Kisantal et al. 2019, 'Augmentation for
//! small object detection').

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::batch::{Found, Target};
use super::image::Rgb;
use super::resample::Rect;

/// Objects of less than this many pixels of the net's input are small, as COCO has it.
const SMALL: usize = 32 * 32;
/// Places that are tried for a copy before it is given up.
const PLACES: usize = 10;

/// Pastes a copy of each small object with this probability, somewhere where it covers nothing that is labelled.
pub(crate) fn paste(probability: f32, canvas: &mut Rgb, found: &mut Found, rng: &mut ChaCha8Rng) {
    let (width, height) = (canvas.width, canvas.height);
    let mut taken: Vec<Rect> = found.targets.iter().chain(&found.ignored).map(|t| pixels(t, width, height)).collect();
    for index in 0..found.targets.len() {
        let target = found.targets[index];
        let from = pixels(&target, width, height);
        if from.width * from.height >= SMALL || rng.random::<f32>() >= probability {
            continue;
        }
        let free = (0..PLACES).find_map(|_| {
            let left = rng.random_range(0..=width - from.width);
            let top = rng.random_range(0..=height - from.height);
            let to = Rect { left, top, ..from };
            taken.iter().all(|other| !overlap(&to, other)).then_some(to)
        });
        let Some(to) = free else { continue };
        copy(canvas, from, to);
        taken.push(to);
        let shift = |from: usize, to: usize, size: usize| (to as f32 - from as f32) / size as f32;
        let (dx, dy) = (shift(from.left, to.left, width), shift(from.top, to.top, height));
        found.targets.push(Target { cx: target.cx + dx, cy: target.cy + dy, ..target });
    }
}

/// Less than this much of a pixel is rounding.
const ROUNDING: f32 = 1e-3;

/// The whole pixels that a box touches.
fn pixels(target: &Target, width: usize, height: usize) -> Rect {
    let span = |centre: f32, size: f32, pixels: usize| {
        let all = pixels as f32;
        let first = (((centre - size / 2.0) * all + ROUNDING).floor().max(0.0) as usize).min(pixels - 1);
        let end = (((centre + size / 2.0) * all - ROUNDING).ceil() as usize).clamp(first + 1, pixels);
        (first, end - first)
    };
    let ((left, w), (top, h)) = (span(target.cx, target.w, width), span(target.cy, target.h, height));
    Rect { left, top, width: w, height: h }
}

fn overlap(a: &Rect, b: &Rect) -> bool {
    let along = |a: usize, a_len: usize, b: usize, b_len: usize| a < b + b_len && b < a + a_len;
    along(a.left, a.width, b.left, b.width) && along(a.top, a.height, b.top, b.height)
}

/// Copies pixels to a place that does not overlap theirs.
fn copy(canvas: &mut Rgb, from: Rect, to: Rect) {
    for row in 0..from.height {
        let start = ((from.top + row) * canvas.width + from.left) * 3;
        let target = ((to.top + row) * canvas.width + to.left) * 3;
        canvas.pixels.copy_within(start..start + from.width * 3, target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Purpose, stream};

    #[test]
    fn copies_of_small_objects_lie_on_what_they_are_of_and_cover_nothing() {
        let mut canvas = Rgb::filled(64, 48, [9; 3]);
        let small = Target { image: 0, class: 2, cx: 0.25, cy: 0.25, w: 6.0 / 64.0, h: 4.0 / 48.0 };
        let large = Target { cx: 0.7, cy: 0.5, w: 0.55, h: 0.9, class: 0, ..small };
        let region = Target { cx: 0.2, cy: 0.8, w: 0.3, h: 0.3, ..small };
        let area = pixels(&small, 64, 48);
        for y in 0..area.height {
            for x in 0..area.width {
                let at = ((area.top + y) * 64 + area.left + x) * 3;
                canvas.pixels[at..at + 3].copy_from_slice(&[200, x as u8, y as u8]);
            }
        }
        let mut copies = 0;
        for draw in 0..20 {
            let (mut picture, mut found) =
                (canvas.clone(), Found { targets: vec![small, large], ignored: vec![region] });
            let rng = &mut stream(3, 0, Purpose::Sample, draw);
            paste(1.0, &mut picture, &mut found, rng);
            for copy in &found.targets[2..] {
                copies += 1;
                let to = pixels(copy, 64, 48);
                assert_eq!((copy.class, to.width, to.height), (2, area.width, area.height));
                assert_eq!(picture.pixel(to.left, to.top), [200, 0, 0]);
                let last = picture.pixel(to.left + to.width - 1, to.top + to.height - 1);
                assert_eq!(last, [200, (area.width - 1) as u8, (area.height - 1) as u8]);
                assert!([small, large, region].iter().all(|other| !overlap(&to, &pixels(other, 64, 48))));
            }
        }
        assert!(copies > 10, "{copies} copies");
        let (mut picture, mut found) = (canvas.clone(), Found { targets: vec![large], ignored: vec![] });
        paste(1.0, &mut picture, &mut found, &mut stream(3, 0, Purpose::Sample, 0));
        assert_eq!((picture, found.targets.len()), (canvas, 1), "large objects stay single");
    }
}
