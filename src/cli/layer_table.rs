//! The layer table, in the form that Darknet prints when it loads a net.

use yoloslim_core::cost;
use yoloslim_core::graph::{Graph, Op, Shape, Source};

/// Where the shapes begin.
const SHAPES: usize = 34;

/// One line a layer, with a heading.
pub fn layer_table(graph: &Graph) -> String {
    let heading = format!("{:<SHAPES$}{:<20}{}\n", "layer      filters    size", "     input", "     output");
    (0..graph.layers.len()).map(|i| line(graph, i)).fold(heading, |table, line| table + line.trim_end() + "\n")
}

/// The kind's name as Darknet prints it.
pub fn kind(op: &Op) -> &'static str {
    match op {
        Op::Convolution(_) => "conv",
        Op::MaxPool(_) => "max",
        Op::Upsample { .. } => "upsample",
        Op::Route { .. } => "route",
        Op::Shortcut { .. } => "res",
        Op::Dropout { .. } => "dropout",
        Op::Reorg { .. } => "reorg",
        Op::AveragePool => "avg",
        Op::ScaleChannels { .. } => "scale",
        Op::Sam { .. } => "sam",
        Op::Yolo(_) => "yolo",
    }
}

fn line(graph: &Graph, layer: usize) -> String {
    let l = &graph.layers[layer];
    let shapes = format!("{} -> {}", shape(graph.input_shape(layer)), shape(l.shape));
    let (words, rest) = match &l.op {
        Op::Convolution(c) => {
            let groups = if c.groups > 1 { format!("/{}", c.groups) } else { String::new() };
            let size = window(c.size, c.stride_x, c.stride_y);
            let bflops = cost::layer_flops(graph, layer) / 1e9;
            (format!("{:>5}{groups:<5} {size}", c.filters), format!("{shapes} {bflops:.3} BF"))
        }
        Op::MaxPool(p) => (format!("{:>11}{}", "", window(p.size, p.stride_x, p.stride_y)), shapes),
        Op::Upsample { stride } | Op::Reorg { stride } => (format!("{stride:>16}x"), shapes),
        Op::Route { groups, group_id } => {
            let slice = if *groups > 1 { format!(" slice {group_id} of {groups}") } else { String::new() };
            // It reads several shapes: their layers stand there instead.
            return format!("{layer:5} {:<6} {:<37} -> {}", kind(&l.op), sources(&l.inputs) + &slice, shape(l.shape));
        }
        Op::Shortcut { .. } | Op::ScaleChannels { .. } | Op::Sam { .. } => (sources(&l.inputs[1..]), shapes),
        Op::Dropout { probability } => (format!("p = {probability:.2}"), shapes),
        Op::AveragePool => (String::new(), shapes),
        Op::Yolo(y) => (format!("{} anchors, {} classes", y.anchors.len(), y.classes), String::new()),
    };
    let left = format!("{layer:5} {:<6} {words}", kind(&l.op));
    // Numbers of five digits leave no space of their own before them.
    let gap = if left.len() >= SHAPES && !rest.starts_with(' ') { " " } else { "" };
    format!("{left:<SHAPES$}{gap}{rest}")
}

fn window(size: usize, stride_x: usize, stride_y: usize) -> String {
    let stride = if stride_x == stride_y { stride_x.to_string() } else { format!("{stride_x}x{stride_y}") };
    format!("{size:2} x{size:2} / {stride}")
}

fn shape(s: Shape) -> String {
    format!("{:4} x{:4} x{:4}", s.width, s.height, s.channels)
}

fn sources(inputs: &[Source]) -> String {
    let name = |s: &Source| s.layer().map_or_else(|| "image".to_owned(), |i| i.to_string());
    inputs.iter().map(name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use yoloslim_core::darknet::Cfg;

    #[test]
    fn a_line_says_filters_size_shapes_and_cost() {
        let cfg = "[net]\nwidth=416\nheight=416\n\
                   [convolutional]\nbatch_normalize=1\nfilters=32\nsize=3\npad=1\nactivation=leaky\n\
                   [maxpool]\nsize=2\nstride=2\n[route]\nlayers=-1,-1\n";
        let graph = Graph::from_cfg(&Cfg::parse(cfg.as_bytes()).unwrap()).unwrap();
        let table = layer_table(&graph);
        let words = |i: usize| table.lines().nth(i).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(1), "0 conv 32 3 x 3 / 1 416 x 416 x 3 -> 416 x 416 x 32 0.299 BF");
        assert_eq!(words(2), "1 max 2 x 2 / 2 416 x 416 x 32 -> 208 x 208 x 32");
        assert_eq!(words(3), "2 route 1 1 -> 208 x 208 x 64");
    }

    #[test]
    fn columns_stay_apart_at_any_size() {
        let cfg = "[net]\nwidth=16384\nheight=16384\n[convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\n";
        let graph = Graph::from_cfg(&Cfg::parse(cfg.as_bytes()).unwrap()).unwrap();
        let table = layer_table(&graph);
        assert!(table.contains(" 3 x 3 / 2 16384 x16384 x   3 -> 8192 x8192 x   8 "), "{table}");
    }
}
