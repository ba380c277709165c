//! Which anchor of the teacher teaches which of the student.

use yoloslim_core::graph::{Graph, Yolo};
use yoloslim_core::{Error, Result};

use crate::model::HeadMap;

/// For each head of the student and each of its anchors, the head and the anchor of the teacher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matching {
    from: Vec<Vec<(usize, usize)>>,
    /// Numbers an anchor has.
    row: usize,
}

/// Anchors that differ by no more than this share are the same.
const SAME: f32 = 0.01;

impl Matching {
    /// Finds the teacher's anchor of the same stride and size for every anchor of the student.
    ///
    /// # Errors
    /// Other classes; an anchor that the teacher doesn't have; boxes that are written in another way.
    pub fn new(student: &Graph, teacher: &Graph) -> Result<Self> {
        check_classes(student, teacher)?;
        let theirs: Vec<(usize, &Yolo)> = teacher.heads().collect();
        let matched = |(layer, head): (usize, &Yolo)| {
            let anchors = head.anchors.iter().map(|anchor| {
                let stride = stride(student, layer);
                let same = |a: &[f32; 2]| (0..2).all(|i| (a[i] - anchor[i]).abs() <= SAME * anchor[i]);
                let mut candidates =
                    theirs.iter().enumerate().filter(|(_, (l, _))| self::stride(teacher, *l) == stride);
                let found = candidates.find_map(|(h, (_, t))| Some((h, t.anchors.iter().position(same)?)));
                let Some((h, a)) = found else {
                    return Err(refused(
                        student,
                        layer,
                        format!(
                            "the teacher has no anchor {}x{} at stride {}x{}",
                            anchor[0], anchor[1], stride.0, stride.1
                        ),
                    ));
                };
                let other = theirs[h].1;
                if (other.scale_x_y, other.new_coords) != (head.scale_x_y, head.new_coords) {
                    return Err(refused(
                        student,
                        layer,
                        "the teacher writes boxes in another way (scale_x_y, new_coords)",
                    ));
                }
                Ok((h, a))
            });
            anchors.collect::<Result<Vec<_>>>()
        };
        let from = student.heads().map(matched).collect::<Result<_>>()?;
        Ok(Self { from, row: 5 + student.classes() })
    }

    /// The teacher's maps with the student's order of heads and anchors.
    pub fn align(&self, teacher: Vec<HeadMap>) -> Vec<HeadMap> {
        let in_order = |(h, anchors): (usize, &Vec<(usize, usize)>)| {
            anchors.iter().enumerate().all(|(a, from)| *from == (h, a))
                && teacher.get(h).is_some_and(|map| map.channels == anchors.len() * self.row)
        };
        if teacher.len() == self.from.len() && self.from.iter().enumerate().all(in_order) {
            return teacher;
        }
        self.from.iter().map(|anchors| self.gather(anchors, &teacher)).collect()
    }

    fn gather(&self, anchors: &[(usize, usize)], teacher: &[HeadMap]) -> HeadMap {
        let first = &teacher[anchors[0].0];
        let cells = first.values.len() / first.channels;
        let mut values = Vec::with_capacity(cells * anchors.len() * self.row);
        for cell in 0..cells {
            for (head, anchor) in anchors {
                let map = &teacher[*head];
                let at = cell * map.channels + anchor * self.row;
                values.extend_from_slice(&map.values[at..at + self.row]);
            }
        }
        HeadMap { channels: anchors.len() * self.row, values, ..*first }
    }
}

/// Pixels of the input a cell of a layer's map covers, down and across.
pub(super) fn stride(graph: &Graph, layer: usize) -> (usize, usize) {
    let shape = graph.layers[layer].shape;
    (graph.input.height / shape.height.max(1), graph.input.width / shape.width.max(1))
}

pub(super) fn check_classes(student: &Graph, teacher: &Graph) -> Result<()> {
    let (here, there) = (student.classes(), teacher.classes());
    if here == there {
        return Ok(());
    }
    Err(Error::at("--teacher", format!("it knows {there} classes, and the net in training {here}"))
        .fix("give a teacher that was trained on the same classes"))
}

fn refused(student: &Graph, layer: usize, cause: impl std::fmt::Display) -> Error {
    Error::at(format!("the cfg that is taught, {}", student.layers[layer].place), cause)
        .fix("give a teacher with the same anchors, or choose losses on features alone: --distil hint")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use yoloslim_core::darknet::Cfg;

    /// Two heads, at strides 4 and 2, with the anchors given, for 1 class.
    fn graph(coarse: &str, fine: &str, classes: usize, more: &str) -> Graph {
        let head = |mask: &str, channels: usize| {
            format!(
                "[convolutional]\nfilters={channels}\nactivation=linear\n[yolo]\nmask={mask}\nclasses={classes}\n\
                 anchors=2,3, 4,5, 8,9\n{more}"
            )
        };
        let channels = |mask: &str| mask.split(',').count() * (5 + classes);
        let cfg = format!(
            "[net]\nwidth=16\nheight=16\n[convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=leaky\n\
             [maxpool]\nsize=2\nstride=2\n{}[route]\nlayers=0\n{}",
            head(coarse, channels(coarse)),
            head(fine, channels(fine))
        );
        Graph::from_cfg(&Cfg::parse(cfg.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn anchors_in_another_order_are_found_and_their_rows_moved() {
        let (student, teacher) = (graph("1,2", "0", 1, ""), graph("2,1", "0", 1, ""));
        let matching = Matching::new(&student, &teacher).unwrap();
        assert_eq!(matching.from, [vec![(0, 1), (0, 0)], vec![(1, 0)]]);
        let map = |channels: usize, cells: usize| HeadMap {
            rows: 1,
            cols: cells,
            channels,
            values: (0..channels * cells).map(|v| v as f32).collect(),
        };
        let aligned = matching.align(vec![map(12, 2), map(6, 1)]);
        let expected = [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 18, 19, 20, 21, 22, 23, 12, 13, 14, 15, 16, 17];
        assert_eq!(aligned[0].values, expected.map(|v| v as f32));
        assert_eq!(aligned[1], map(6, 1));
    }

    #[test]
    fn a_teacher_that_cannot_teach_is_refused_with_the_reason() {
        let student = graph("1,2", "0", 1, "");
        let cases = [
            (graph("0,2", "1", 1, ""), "no anchor 4x5 at stride 4x4"),
            (graph("1,2", "0", 2, ""), "2 classes"),
            (graph("1,2", "0", 1, "scale_x_y=1.2\n"), "scale_x_y"),
        ];
        for (teacher, reason) in cases {
            let message = Matching::new(&student, &teacher).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn aligning_there_and_back_changes_nothing(values in prop::collection::vec(-9.0f32..9.0, 24)) {
            let (a, b) = (graph("1,2", "0", 1, ""), graph("2,1", "0", 1, ""));
            let there = Matching::new(&a, &b).unwrap();
            let back = Matching::new(&b, &a).unwrap();
            let maps = vec![
                HeadMap { rows: 1, cols: 2, channels: 12, values: values.clone() },
                HeadMap { rows: 2, cols: 2, channels: 6, values },
            ];
            prop_assert_eq!(back.align(there.align(maps.clone())), maps);
        }
    }
}
