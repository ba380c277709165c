//! The net before and after: a box a layer, as high as it is wide in channels.

use yoloslim_core::graph::{Graph, Op};
use yoloslim_core::prune::channels::Channels;

use crate::report::lineage::{kind, lineage};
use crate::report::page::{Figure, Key, Shape};
use crate::report::run::Run;
use crate::report::svg::{Svg, el, line, rect, short, text};

/// Heights in the drawing: of the room above a net for its connections, of its widest layer, and of one net with all.
const ARCS: f64 = 46.0;
const WIDEST: f64 = 84.0;
const NET: f64 = ARCS + WIDEST + 44.0;
const LEFT: f64 = 62.0;

/// The whole drawing.
struct Drawing<'a> {
    svg: Svg,
    first: &'a Graph,
    /// For each layer of the first net, its residual group.
    groups: Vec<Option<usize>>,
    /// Width of a layer's place.
    place: f64,
    widest: f64,
}

/// Both nets, one over the other, or the first alone.
pub fn draw(run: &Run) -> Option<Figure> {
    let (first, after) = run.graphs();
    let first = first?;
    let after = after.and_then(|after| Some((after, lineage(first, after, &run.plans)?)));
    let layers = first.layers.len();
    let place = (1000.0 / layers as f64).clamp(9.0, 40.0);
    let widest = first.layers.iter().map(|l| l.shape.channels).max().unwrap_or(1) as f64;
    let nets = if after.is_some() { 2.0 } else { 1.0 };
    let svg = Svg::new(LEFT + place * layers as f64 + 10.0, NET * nets);
    let groups = groups(first);
    let count = groups.iter().flatten().max().map_or(0, |last| last + 1);
    let mut drawing = Drawing { svg, first, groups, place, widest };
    drawing.net(0.0, "before", &|layer| Some(first.layers[layer].shape.channels));
    if let Some((after, lineage)) = &after {
        drawing.net(NET, "after", &|layer| lineage[layer].map(|new| after.layers[new].shape.channels));
    }
    let kept = after.as_ref().map_or(layers, |(after, _)| after.layers.len());
    let mut legend = vec![Key::new("plain", "layer"), Key::new("head", "detection head")];
    if count > 0 {
        legend.push(Key::new("a", format!("residual group (a colour each; {count} in all)")));
    }
    legend.push(Key::new("gone", "removed"));
    Some(Figure {
        id: "network-drawing".to_owned(),
        title: "The net before and after".to_owned(),
        note: "From the image at the left to the last head at the right. A box is as high as the square root of its \
               channels; what is hollow is gone. Arcs are shortcuts and routes; the numbers below are the maps' sides in \
               pixels."
            .to_owned(),
        drawing: drawing.svg.finish(&format!("The net: {layers} layers before, {kept} after")),
        legend,
        shape: Shape::Zoomed,
        table: None,
    })
}

/// The residual group of each layer: its convolutions, and the shortcuts that add them up.
fn groups(graph: &Graph) -> Vec<Option<usize>> {
    let mut of = vec![None; graph.layers.len()];
    for (group, members) in Channels::of(graph).residual_groups().iter().enumerate() {
        members.members.iter().for_each(|layer| of[*layer] = Some(group));
    }
    for layer in 0..graph.layers.len() {
        if let Op::Shortcut { .. } = graph.layers[layer].op {
            of[layer] = graph.layers[layer].inputs.iter().find_map(|s| of[s.layer()?]);
        }
    }
    of
}

impl Drawing<'_> {
    fn x(&self, layer: usize) -> f64 {
        LEFT + self.place * (layer as f64 + 0.5)
    }

    fn height(&self, channels: usize) -> f64 {
        (WIDEST * (channels as f64 / self.widest).sqrt()).max(3.0)
    }

    /// One net; `channels` gives the width of each layer, none for a layer that is gone.
    fn net(&mut self, top: f64, name: &str, channels: &dyn Fn(usize) -> Option<usize>) {
        let middle = top + ARCS + WIDEST / 2.0;
        self.svg.add(text(0.0, middle + 4.0, "start", name).class("label"));
        let end = self.x(self.first.layers.len() - 1);
        self.svg.add(line((LEFT, middle), (end, middle)).class("trunk"));
        let mut side = 0;
        let mut written = 0.0;
        for layer in 0..self.first.layers.len() {
            self.arcs(layer, top, channels);
            self.layer(layer, middle, channels(layer));
            let shape = self.first.layers[layer].shape;
            if shape.height != side && self.x(layer) - written > 26.0 {
                (side, written) = (shape.height, self.x(layer));
                let y = top + ARCS + WIDEST + 18.0;
                self.svg.add(text(written, y, "middle", side.to_string()).class("tick small"));
            }
        }
    }

    fn layer(&mut self, layer: usize, middle: f64, channels: Option<usize>) {
        let op = &self.first.layers[layer].op;
        let before = self.first.layers[layer].shape.channels;
        let wide = matches!(op, Op::Convolution(_) | Op::Yolo(_));
        let width = if wide { self.place * 0.72 } else { self.place * 0.3 };
        let class = match (op, self.groups[layer]) {
            (Op::Yolo(_), _) => "head",
            (_, Some(group)) => ["a", "b", "c", "d", "e", "f", "g"][group % 7],
            _ => "plain",
        };
        let tip = match channels {
            None => format!("layer {layer}: {}\n{before} channels, gone", kind(op)),
            Some(now) if now == before => format!("layer {layer}: {}\n{now} channels", kind(op)),
            Some(now) => format!("layer {layer}: {}\n{now} of {before} channels", kind(op)),
        };
        let box_of =
            |height: f64| rect(self.x(layer) - width / 2.0, middle - height / 2.0, width, height).attr("rx", "1.5");
        let ghost = box_of(self.height(before)).class("gone");
        let filled = channels.map(|now| box_of(self.height(now)).class(format!("box {class}")).tip(&tip));
        match filled {
            None => self.svg.add(ghost.tip(&tip)),
            Some(filled) => {
                if channels != Some(before) {
                    self.svg.add(ghost);
                }
                self.svg.add(filled);
            }
        }
    }

    /// What the layer reads beside the one before it.
    fn arcs(&mut self, layer: usize, top: f64, channels: &dyn Fn(usize) -> Option<usize>) {
        let base = top + ARCS - 4.0;
        let inputs = self.first.layers[layer].inputs.iter().filter_map(|s| s.layer());
        for from in inputs.filter(|from| from + 1 < layer).collect::<Vec<_>>() {
            let (a, b) = (self.x(from), self.x(layer));
            let high = base - (8.0 + (b - a) * 0.12).min(ARCS - 8.0);
            let curve = format!("M{0},{base} C{0},{high} {1},{high} {1},{base}", short(a), short(b));
            let gone = channels(layer).is_none();
            let class = match (gone, self.groups[layer]) {
                (true, _) => "arc gone-arc".to_owned(),
                (_, Some(group)) => format!("arc {}", ["a", "b", "c", "d", "e", "f", "g"][group % 7]),
                _ => "arc plain".to_owned(),
            };
            self.svg.add(el("path").attr("d", curve).class(class));
        }
    }
}
