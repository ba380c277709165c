//! From raw heads to boxes, by the formulas of [`crate::boxes::decode`].

use super::BOXES;
use super::builder::{GraphBuilder, Side};
use super::operators::{reshape, slice};
use crate::export::folded::FoldedNet;
use crate::export::proto::onnx::AttributeProto;
use crate::graph::{Shape, Yolo};
use crate::{Error, Result};

/// Adds the boxes of head `i`: `headI.boxes`, `[images, anchors * rows * columns, 5 + classes]`.
pub(super) fn head(graph: &mut GraphBuilder, net: &FoldedNet, i: usize) -> Result<()> {
    let head = &net.heads[i];
    let Some(yolo) = &head.yolo else {
        return Err(Error::at("decoding", "the net has no [yolo] layer").fix("export the raw map"));
    };
    let map = net.shape(head.value);
    let name = |part: &str| format!("{}.{part}", head.name);
    let [anchors, width, area] = [yolo.anchors.len(), 5 + yolo.classes, map.area()].map(|n| n as i64);
    let (split, rows) = (name("split"), name("rows"));
    reshape(graph, &head.name, &[0, anchors, width, area], &split);
    graph.node("Transpose", &[&split], &rows, vec![AttributeProto::ints("perm", vec![0, 1, 3, 2])]);
    let parts = [("centre", 0..2), ("size", 2..4), ("scores", 4..5 + yolo.classes)];
    let [centre, size, scores] = parts.map(|(part, range)| {
        let raw = name(&format!("{part}.raw"));
        slice(graph, &rows, 3, range, &raw);
        (raw, name(part))
    });
    decode_centres(graph, yolo, map, net.input, &centre);
    decode_sizes(graph, yolo, &size);
    let scores = if yolo.new_coords { scores.0 } else { sigmoid(graph, &scores) };
    let joined = name("joined");
    graph.node("Concat", &[&centre.1, &size.1, &scores], &joined, vec![AttributeProto::int("axis", 3)]);
    reshape(graph, &joined, &[0, anchors * area, width], &name("boxes"));
    Ok(())
}

/// Adds the output: the boxes of all heads, one after the other.
pub(super) fn join(graph: &mut GraphBuilder, net: &FoldedNet, batch: Side) {
    let parts: Vec<String> = net.heads.iter().map(|head| format!("{}.boxes", head.name)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    graph.node("Concat", &parts, BOXES, vec![AttributeProto::int("axis", 1)]);
    let heads = net.heads.iter().filter_map(|head| Some((head.yolo.as_ref()?, net.shape(head.value))));
    let boxes = heads.clone().map(|(yolo, map)| yolo.anchors.len() * map.area()).sum();
    let classes = heads.map(|(yolo, _)| yolo.classes).next().unwrap_or(0);
    graph.output(BOXES, &[batch, Side::Fixed(boxes), Side::Fixed(5 + classes)]);
}

/// `(scale * sigmoid(t) - (scale - 1) / 2 + cell) * pixels a cell`, as one product and one sum.
fn decode_centres(graph: &mut GraphBuilder, yolo: &Yolo, map: Shape, input: Shape, names: &(String, String)) {
    let (raw, centre) = names;
    let shares = if yolo.new_coords { raw.clone() } else { sigmoid(graph, &(raw.clone(), format!("{centre}.share"))) };
    let cell = [input.width as f32 / map.width as f32, input.height as f32 / map.height as f32];
    let scale = graph.floats(format!("{centre}.scale"), &[2], &cell.map(|pixels| pixels * yolo.scale_x_y));
    let shift = (yolo.scale_x_y - 1.0) / 2.0;
    let cells = (0..map.area()).flat_map(|at| [at % map.width, at / map.width]);
    let offsets: Vec<f32> =
        cells.zip([0, 1].iter().cycle()).map(|(at, &axis)| (at as f32 - shift) * cell[axis]).collect();
    let offsets = graph.floats(format!("{centre}.offset"), &[map.area(), 2], &offsets);
    let scaled = format!("{centre}.scaled");
    graph.node("Mul", &[&shares, &scale], &scaled, vec![]);
    graph.node("Add", &[&scaled, &offsets], centre, vec![]);
}

/// `e^t` anchors, or `(2 t)^2` with new coordinates.
fn decode_sizes(graph: &mut GraphBuilder, yolo: &Yolo, names: &(String, String)) {
    let (raw, size) = names;
    let factor = format!("{size}.factor");
    let of_factor_one = if yolo.new_coords { 4.0 } else { 1.0 };
    match yolo.new_coords {
        true => graph.node("Mul", &[raw, raw], &factor, vec![]),
        false => graph.node("Exp", &[raw], &factor, vec![]),
    }
    let anchors: Vec<f32> = yolo.anchors.iter().flatten().map(|pixels| pixels * of_factor_one).collect();
    let anchors = graph.floats(format!("{size}.anchors"), &[yolo.anchors.len(), 1, 2], &anchors);
    graph.node("Mul", &[&factor, &anchors], size, vec![]);
}

fn sigmoid(graph: &mut GraphBuilder, (input, output): &(String, String)) -> String {
    graph.node("Sigmoid", &[input], output, vec![]);
    output.clone()
}
