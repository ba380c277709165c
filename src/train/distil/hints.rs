//! Where inside the nets features are compared.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use yoloslim_core::graph::Graph;
use yoloslim_core::{Error, Result};

use super::matching::stride;
use crate::model::HeadMap;

/// Layers whose maps are compared, as it is written: `head0` for the input of the last convolution before head 0, `60`
/// for layer 60 of both nets, `52:60` for layer 52 of the student and 60 of the teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HintLayer {
    /// What the last convolution before a head reads.
    Head(usize),
    /// Indices in the cfgs, from 0.
    Layers {
        /// Of the net in training.
        student: usize,
        /// Of the teacher.
        teacher: usize,
    },
}

impl FromStr for HintLayer {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong =
            || format!("{text} names no layer; give head0, 60, or 52:60 for the student's 52 and the teacher's 60");
        let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
        if let Some(head) = text.strip_prefix("head") {
            return number(head).map(Self::Head);
        }
        let (student, teacher) = text.split_once(':').unwrap_or((text, text));
        Ok(Self::Layers { student: number(student)?, teacher: number(teacher)? })
    }
}

impl fmt::Display for HintLayer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Head(head) => write!(f, "head{head}"),
            Self::Layers { student, teacher } => write!(f, "{student}:{teacher}"),
        }
    }
}

impl TryFrom<String> for HintLayer {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<HintLayer> for String {
    fn from(layer: HintLayer) -> Self {
        layer.to_string()
    }
}

/// A layer of the student beside one of the teacher.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    /// Index of the student's layer.
    pub student: usize,
    /// Index of the teacher's layer.
    pub teacher: usize,
    /// Channels of both.
    pub channels: (usize, usize),
    /// Anchors in pixels of the student's heads on the same grid; of all heads where none has that grid.
    pub anchors: Vec<[f32; 2]>,
}

impl Pair {
    /// The teacher's map of no images.
    pub fn empty(&self) -> HeadMap {
        HeadMap { rows: 1, cols: 1, channels: self.channels.1, values: Vec::new() }
    }
}

/// The layers to compare; the inputs of all heads' last convolutions when `layers` names none.
///
/// # Errors
/// A layer or head that is not there; layers whose cells are of different sizes.
pub(super) fn pairs(layers: &[HintLayer], student: &Graph, teacher: &Graph) -> Result<Vec<Pair>> {
    let all: Vec<HintLayer> = (0..student.heads().count()).map(HintLayer::Head).collect();
    let layers = if layers.is_empty() { &all } else { layers };
    layers.iter().map(|layer| pair(*layer, student, teacher)).collect()
}

fn pair(layer: HintLayer, student: &Graph, teacher: &Graph) -> Result<Pair> {
    let refused = |cause: String| {
        Error::at(format!("hint layer {layer}"), cause)
            .fix("name layers of the same stride, 52:60 say, by --hint-layers")
    };
    let (s, t) = match layer {
        HintLayer::Layers { student, teacher } => (student, teacher),
        HintLayer::Head(head) => {
            let heads: Vec<usize> = student.heads().map(|(layer, _)| layer).collect();
            let here = *heads.get(head).ok_or_else(|| refused(format!("the net has {} heads", heads.len())))?;
            let wanted = stride(student, here);
            let there = teacher.heads().map(|(layer, _)| layer).find(|layer| stride(teacher, *layer) == wanted);
            let there = there.ok_or_else(|| refused(format!("the teacher has no head of stride {}", wanted.0)))?;
            let inputs = read_by_head(student, here).zip(read_by_head(teacher, there));
            inputs.ok_or_else(|| refused("no convolution is before the head".to_owned()))?
        }
    };
    if s >= student.layers.len() || t >= teacher.layers.len() {
        let (s, t) = (student.layers.len(), teacher.layers.len());
        return Err(refused(format!("the net has {s} layers, the teacher {t}")));
    }
    if stride(student, s) != stride(teacher, t) {
        let (s, t) = (stride(student, s).0, stride(teacher, t).0);
        return Err(refused(format!("the student's cells are {s} pixels wide there, the teacher's {t}")));
    }
    let anchors = |here: &dyn Fn(usize) -> bool| -> Vec<[f32; 2]> {
        student.heads().filter(|(head, _)| here(*head)).flat_map(|(_, yolo)| yolo.anchors.iter().copied()).collect()
    };
    let same_grid = anchors(&|head| stride(student, head) == stride(student, s));
    Ok(Pair {
        student: s,
        teacher: t,
        channels: (student.layers[s].shape.channels, teacher.layers[t].shape.channels),
        anchors: if same_grid.is_empty() { anchors(&|_| true) } else { same_grid },
    })
}

/// The layer that the last convolution before a head reads.
fn read_by_head(graph: &Graph, head: usize) -> Option<usize> {
    graph.layers[graph.convolution_behind(head)?].inputs[0].layer()
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;

    /// Heads at strides 4 and 2 on maps of `width` channels.
    fn graph(width: usize) -> Graph {
        let conv =
            |filters: usize, more: &str| format!("[convolutional]\nfilters={filters}\nactivation=linear\n{more}");
        let head = "[yolo]\nmask=0\nclasses=1\nanchors=2,3\n";
        let cfg = format!(
            "[net]\nwidth=16\nheight=16\n{}{}{}{head}[route]\nlayers=0\n{}{head}",
            conv(width, "size=3\nstride=2\npad=1\n"),
            conv(width + 1, "size=3\nstride=2\npad=1\n"),
            conv(6, ""),
            conv(6, "")
        );
        Graph::from_cfg(&Cfg::parse(cfg.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn by_default_the_inputs_of_the_heads_last_convolutions_are_compared() {
        let found = pairs(&[], &graph(3), &graph(5)).unwrap();
        let found: Vec<_> = found.iter().map(|p| (p.student, p.teacher, p.channels, p.anchors.len())).collect();
        assert_eq!(found, [(1, 1, (4, 6), 1), (4, 4, (3, 5), 1)]);
    }

    #[test]
    fn layers_are_named_by_head_or_index_and_refused_with_the_reason() {
        let named = |text: &str| pairs(&[text.parse().unwrap()], &graph(3), &graph(5));
        assert_eq!(named("0:4").unwrap()[0].channels, (3, 5));
        assert_eq!(named("head1").unwrap()[0].teacher, 4);
        let conv = "[convolutional]\nfilters=6\nsize=1\nactivation=linear\n";
        let down = "[maxpool]\nsize=2\nstride=2\n";
        let coarse = format!("[net]\nwidth=16\nheight=16\n{conv}{down}{conv}[yolo]\nmask=0\nclasses=1\nanchors=2,3\n");
        let coarse = Graph::from_cfg(&Cfg::parse(coarse.as_bytes()).unwrap()).unwrap();
        let fine = pairs(&["0".parse().unwrap()], &coarse, &coarse).unwrap();
        assert_eq!(fine[0].anchors, [[2.0, 3.0]], "no head has layer 0's grid: the anchors of all count");
        for (text, reason) in [("head2", "2 heads"), ("99", "7 layers"), ("0:1", "2 pixels wide")] {
            let message = named(text).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
        for text in ["head0", "52:60"] {
            assert_eq!(text.parse::<HintLayer>().unwrap().to_string(), text);
        }
        assert!("head".parse::<HintLayer>().is_err() && "a:3".parse::<HintLayer>().is_err());
    }
}
