//! What was repaired while reading, counted.

use crate::boxes::BBox;

/// A box may leave its image by so many pixels without a warning: text formats round their numbers.
const ROUNDING: f64 = 0.1;

/// Counts repairs by kind, and remembers where each kind was first met.
#[derive(Debug, Default)]
pub(super) struct Warnings(Vec<Warning>);

#[derive(Debug)]
struct Warning {
    kind: &'static str,
    count: usize,
    first: String,
}

impl Warnings {
    /// Counts one case of `kind`, a plural phrase such as `boxes were clipped`.
    pub fn count(&mut self, kind: &'static str, place: impl FnOnce() -> String) {
        match self.0.iter_mut().find(|warning| warning.kind == kind) {
            Some(warning) => warning.count += 1,
            None => self.0.push(Warning { kind, count: 1, first: place() }),
        }
    }

    /// The part of a labelled box that lies on its image of `size` (width, height); none when nothing of it does.
    pub fn repaired(&mut self, bbox: BBox, size: (usize, usize), place: impl FnOnce() -> String) -> Option<BBox> {
        if bbox.is_degenerate() {
            self.count("box(es) without width or height left out", place);
            return None;
        }
        let (width, height) = (size.0 as f64, size.1 as f64);
        let inside = bbox.clipped(width, height);
        if inside.is_degenerate() {
            self.count("box(es) outside of their image left out", place);
            return None;
        }
        let excess = [-bbox.x0, -bbox.y0, bbox.x1 - width, bbox.y1 - height].into_iter().fold(0.0, f64::max);
        if excess > ROUNDING {
            self.count("box(es) that left their image clipped to it", place);
        }
        Some(inside)
    }

    /// One line a kind.
    pub fn into_lines(self) -> Vec<String> {
        self.0.into_iter().map(|w| format!("{} {}, the first in {}", w.count, w.kind, w.first)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_kept_clipped_or_left_out() {
        let boxed = |x0, y0, x1, y1| BBox { x0, y0, x1, y1 };
        let mut warnings = Warnings::default();
        for (given, expected) in [
            (boxed(1.0, 2.0, 3.0, 4.0), Some(boxed(1.0, 2.0, 3.0, 4.0))),
            (boxed(0.0, 0.0, 10.05, 5.0), Some(boxed(0.0, 0.0, 10.0, 5.0))),
            (boxed(-3.0, 1.0, 3.0, 9.0), Some(boxed(0.0, 1.0, 3.0, 5.0))),
            (boxed(2.0, 2.0, 2.0, 4.0), None),
            (boxed(5.0, 2.0, 2.0, 4.0), None),
            (boxed(12.0, 2.0, 14.0, 4.0), None),
        ] {
            assert_eq!(warnings.repaired(given, (10, 5), || format!("{given:?}")), expected);
        }
        let lines = warnings.into_lines();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("1 box(es) that left their image") && lines[0].contains("-3.0"), "{lines:?}");
        assert!(lines[1].starts_with("2 box(es) without width") && lines[1].contains("2.0"), "{lines:?}");
        assert!(lines[2].starts_with("1 box(es) outside") && lines[2].contains("12.0"), "{lines:?}");
    }
}
