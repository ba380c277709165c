//! How the columns of a product are cut into panels.

use super::microkernel::NR;
use super::vector::LANES;
use std::ops::Range;

/// Columns in panels of 16, of which the last one is 8 wide where that is enough: of 19 columns 24 are computed, not 32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns(pub(crate) usize);

impl Columns {
    /// Number of panels.
    pub(crate) fn panels(self) -> usize {
        self.0.div_ceil(NR)
    }

    /// Columns of all panels, with the missing ones of the last.
    pub(crate) fn padded(self) -> usize {
        self.0.next_multiple_of(LANES)
    }

    /// The columns of a panel that there are.
    pub(crate) fn of(self, panel: usize) -> Range<usize> {
        panel * NR..self.0.min((panel + 1) * NR)
    }

    /// Columns of a panel as it is packed, 16 or 8.
    pub(crate) fn width(self, panel: usize) -> usize {
        self.of(panel).len().next_multiple_of(LANES)
    }

    /// Where a panel with `depth` rows lies among all of them, panel by panel.
    pub(crate) fn place(self, panel: usize, depth: usize) -> Range<usize> {
        let start = panel * NR * depth;
        start..start + self.width(panel) * depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_follow_each_other_and_the_last_is_as_wide_as_it_must_be() {
        for (count, widths) in [(1, &[8][..]), (8, &[8]), (9, &[16]), (19, &[16, 8]), (32, &[16, 16]), (0, &[])] {
            let columns = Columns(count);
            assert_eq!((0..columns.panels()).map(|panel| columns.width(panel)).collect::<Vec<_>>(), widths);
            let places = (0..columns.panels()).map(|panel| columns.place(panel, 3));
            assert_eq!(
                places.fold(0, |end, place| if place.start == end { place.end } else { 0 }),
                3 * columns.padded()
            );
            assert_eq!(
                (0..columns.panels()).flat_map(|panel| columns.of(panel)).collect::<Vec<_>>(),
                (0..count).collect::<Vec<_>>()
            );
        }
    }
}
