//! Channel ids: every output channel of every layer belongs to one class, and a class is kept or removed
//! everywhere.
//!
//! Convolutions make classes. Depth-wise convolutions pass their input's on, shortcuts and products unite those
//! that they add or multiply, routes join and slice lists, pools and upsamplings pass them on. So surgery on any
//! cfg is: select, in every layer, the channels whose class stays.

use std::collections::BTreeSet;

use super::Reason;
use crate::graph::{Graph, Op, Source};

/// The index of a class.
pub type ClassId = usize;

/// The classes of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Channels {
    /// The input image's channels.
    pub image: Vec<ClassId>,
    /// Each layer's output channels, in order.
    pub outputs: Vec<Vec<ClassId>>,
    /// All classes, by id.
    pub classes: Vec<Class>,
}

/// Channels that stay or go together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Class {
    /// The filters that write them, in layer order.
    pub producers: Vec<Filter>,
    /// Why the class can't go, whatever its score.
    pub protected: Option<Reason>,
    /// Whether a shortcut or product ties them, or an upsampling reads them: what [`super::Groups::Frozen`] keeps.
    pub tied: bool,
}

impl Class {
    /// The layers that write its channels.
    #[must_use]
    pub fn layers(&self) -> BTreeSet<usize> {
        self.producers.iter().map(|p| p.layer).collect()
    }
}

/// One filter of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// The convolution's layer.
    pub layer: usize,
    /// Its output channel.
    pub filter: usize,
    /// Whether the convolution is depth-wise.
    pub depthwise: bool,
}

/// Convolutions whose outputs are added up, so that they have the same channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidualGroup {
    /// The convolutions' layers, ascending, depth-wise ones left out.
    pub members: Vec<usize>,
    /// How many channels they share.
    pub width: usize,
}

impl Channels {
    /// The classes of `graph`.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let mut builder = Builder::default();
        let image = builder.fresh(graph.input.channels);
        builder.protect(&image, Reason::Image);
        let mut outputs: Vec<Vec<ClassId>> = Vec::with_capacity(graph.layers.len());
        for layer in 0..graph.layers.len() {
            let list = |source: Source| source.layer().map_or(&image, |i| &outputs[i]).clone();
            let output = builder.output(graph, layer, list);
            outputs.push(output);
        }
        if graph.heads().next().is_none()
            && let Some(last) = outputs.last()
        {
            builder.protect(last, Reason::ProtectedHead);
        }
        builder.finish(image, outputs)
    }

    /// The classes of what `source` gives, a channel each.
    #[must_use]
    pub fn read(&self, source: Source) -> &[ClassId] {
        source.layer().map_or(&self.image, |i| &self.outputs[i])
    }

    /// The residual groups, in the order of their first convolution.
    #[must_use]
    pub fn residual_groups(&self) -> Vec<ResidualGroup> {
        let mut groups: Vec<ResidualGroup> = Vec::new();
        for class in &self.classes {
            let mut members: Vec<usize> = class.producers.iter().filter(|p| !p.depthwise).map(|p| p.layer).collect();
            members.dedup();
            if members.len() < 2 {
                continue;
            }
            match groups.iter_mut().find(|g| g.members == members) {
                Some(group) => group.width += 1,
                None => groups.push(ResidualGroup { members, width: 1 }),
            }
        }
        groups
    }
}

/// Union-find over raw ids, with what is known of each.
#[derive(Default)]
struct Builder {
    parent: Vec<usize>,
    classes: Vec<Class>,
}

impl Builder {
    fn fresh(&mut self, n: usize) -> Vec<usize> {
        let start = self.parent.len();
        self.parent.extend(start..start + n);
        self.classes.resize(start + n, Class::default());
        (start..start + n).collect()
    }

    fn root(&mut self, mut id: usize) -> usize {
        while self.parent[id] != id {
            self.parent[id] = self.parent[self.parent[id]];
            id = self.parent[id];
        }
        id
    }

    /// Unites channel by channel, over the channels that both lists have.
    fn unite(&mut self, a: &[usize], b: &[usize]) {
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (self.root(a), self.root(b));
            self.parent[a.max(b)] = a.min(b);
        }
    }

    fn protect(&mut self, ids: &[usize], reason: Reason) {
        ids.iter().for_each(|&id| self.classes[id].protected = Some(reason));
    }

    fn tie(&mut self, ids: &[usize]) {
        ids.iter().for_each(|&id| self.classes[id].tied = true);
    }

    /// A layer's output channels.
    fn output(&mut self, graph: &Graph, layer: usize, list: impl Fn(Source) -> Vec<usize>) -> Vec<usize> {
        let inputs = &graph.layers[layer].inputs;
        let first = list(inputs[0]);
        match &graph.layers[layer].op {
            Op::Convolution(c) => {
                let depthwise = c.is_depthwise(first.len());
                let output = if depthwise {
                    let multiplier = c.filters / c.groups;
                    first.iter().flat_map(|&id| std::iter::repeat_n(id, multiplier)).collect()
                } else {
                    self.fresh(c.filters)
                };
                for (filter, &id) in output.iter().enumerate() {
                    self.classes[id].producers.push(Filter { layer, filter, depthwise });
                }
                output
            }
            Op::Shortcut { .. } | Op::ScaleChannels { .. } | Op::Sam { .. } => {
                self.tie(&first);
                for input in &inputs[1..] {
                    let other = list(*input);
                    self.tie(&other);
                    self.unite(&first, &other);
                }
                first
            }
            Op::Route { groups, group_id } => inputs
                .iter()
                .flat_map(|&input| {
                    let all = list(input);
                    let width = all.len() / groups;
                    all[group_id * width..(group_id + 1) * width].to_vec()
                })
                .collect(),
            Op::Reorg { .. } => {
                self.protect(&first, Reason::Reorg);
                let output = self.fresh(graph.layers[layer].shape.channels);
                self.protect(&output, Reason::Reorg);
                output
            }
            Op::Yolo(_) => {
                self.protect(&first, Reason::ProtectedHead);
                first
            }
            Op::Upsample { .. } => {
                self.tie(&first);
                first
            }
            Op::MaxPool(_) | Op::Dropout { .. } | Op::AveragePool => first,
        }
    }

    /// Joins what is known of united ids, and numbers the classes in the order of their first channel.
    fn finish(mut self, image: Vec<usize>, outputs: Vec<Vec<usize>>) -> Channels {
        let mut class_of = vec![0; self.parent.len()];
        let mut classes: Vec<Class> = Vec::new();
        for id in 0..self.parent.len() {
            let root = self.root(id);
            if root == id {
                class_of[id] = classes.len();
                classes.push(Class::default());
            } else {
                class_of[id] = class_of[root];
            }
            let (part, class) = (std::mem::take(&mut self.classes[id]), &mut classes[class_of[id]]);
            class.producers.extend(part.producers);
            class.protected = class.protected.or(part.protected);
            class.tied |= part.tied;
        }
        classes.iter_mut().for_each(|c| c.producers.sort_by_key(|p| (p.layer, p.filter)));
        let rename = |ids: Vec<usize>| ids.into_iter().map(|id| class_of[id]).collect::<Vec<_>>();
        Channels { image: rename(image), outputs: outputs.into_iter().map(rename).collect(), classes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::darknet::Cfg;

    fn channels(layers: &str) -> Channels {
        let text = format!("[net]\nwidth=8\nheight=8\n{layers}");
        Channels::of(&Graph::from_cfg(&Cfg::parse(text.as_bytes()).unwrap()).unwrap())
    }

    #[test]
    fn each_layer_kind_makes_unites_joins_or_passes_on() {
        let c = "[convolutional]\nfilters=4\n";
        // The image takes the classes 0 to 2.
        let cases: [(String, &[ClassId]); 9] = [
            (c.to_owned(), &[3, 4, 5, 6]),
            (format!("{c}[convolutional]\nfilters=8\ngroups=4\n"), &[3, 3, 4, 4, 5, 5, 6, 6]),
            (format!("{c}[convolutional]\nfilters=4\ngroups=2\n"), &[7, 8, 9, 10]),
            (format!("{c}{c}[shortcut]\nfrom=0\n"), &[3, 4, 5, 6]),
            (format!("{c}[convolutional]\nfilters=6\n[shortcut]\nfrom=0\n"), &[3, 4, 5, 6, 7, 8]),
            (format!("{c}{c}[route]\nlayers=1,0\n"), &[7, 8, 9, 10, 3, 4, 5, 6]),
            (format!("{c}{c}[route]\nlayers=1,0\ngroups=2\ngroup_id=1\n"), &[9, 10, 5, 6]),
            (format!("{c}[maxpool]\nsize=3\n[upsample]\n[dropout]\n[avgpool]\n"), &[3, 4, 5, 6]),
            (format!("{c}[avgpool]\n{c}[scale_channels]\nfrom=0\n"), &[3, 4, 5, 6]),
        ];
        for (layers, wanted) in cases {
            assert_eq!(channels(&layers).outputs.last().unwrap(), wanted, "{layers}");
        }
    }

    #[test]
    fn what_the_image_a_head_or_a_reorg_touches_is_protected() {
        let protected = |layers: &str, id: usize| channels(layers).classes[id].protected;
        let c = "[convolutional]\nfilters=4\n";
        assert_eq!(protected(c, 0), Some(Reason::Image));
        assert_eq!(protected(&format!("{c}{c}"), 3), None);
        assert_eq!(protected(&format!("{c}{c}"), 7), Some(Reason::ProtectedHead));
        assert_eq!(protected(&format!("{c}[reorg]\nstride=2\n{c}"), 3), Some(Reason::Reorg));
        let head = "[convolutional]\nfilters=6\n[yolo]\nmask=0\nanchors=1,1\nclasses=1\n";
        assert_eq!(protected(&format!("{c}{head}[route]\nlayers=0\n{c}"), 7), Some(Reason::ProtectedHead));
        assert_eq!(protected(&format!("{c}{head}[route]\nlayers=0\n{c}"), 13), None);
    }
}
