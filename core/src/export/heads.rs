//! What a program that runs an exported net has to know to decode its raw heads.

use serde::Serialize;

use super::folded::FoldedNet;
use super::{Colour, ExportedFile};
use crate::{Error, Result};

/// The range of an image's numbers.
pub(super) const VALUES: &str = "0 to 1";
/// How an image is brought to the net's size.
pub(super) const FIT: &str = "letterbox on grey 0.5";

#[derive(Serialize)]
struct Description<'a> {
    input: Input<'a>,
    heads: Vec<Head<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boxes: Option<Boxes<'a>>,
}

/// One output of decoded boxes, `[images, count, 5 + classes]`.
#[derive(Serialize)]
struct Boxes<'a> {
    output: &'a str,
    count: usize,
    /// What the numbers of a box are, those of the classes' probabilities at the end.
    numbers: [&'a str; 5],
    order: &'a str,
}

#[derive(Serialize)]
struct Input<'a> {
    name: &'a str,
    channels: usize,
    height: usize,
    width: usize,
    colours: &'a str,
    values: &'a str,
    fit: &'a str,
}

#[derive(Serialize)]
struct Head<'a> {
    output: &'a str,
    channels: usize,
    rows: usize,
    columns: usize,
    classes: usize,
    /// In pixels of the input.
    anchors: &'a [[f32; 2]],
    scale_x_y: f32,
    new_coords: bool,
}

/// `NAME.heads.json`: the input `input`, and of each head with a `[yolo]` layer the output (`outputs` in the heads'
/// order), sizes, anchors and classes: all that [`crate::boxes::decode`] needs.
///
/// # Errors
/// None that an input can cause.
pub fn describe_heads(
    net: &FoldedNet,
    name: &str,
    input: &str,
    outputs: &[String],
    colour: Colour,
) -> Result<ExportedFile> {
    description(net, name, input, outputs, colour, None)
}

/// [`describe_heads`] of a net whose heads are decoded already, into the one output `output`: the heads are those that
/// the boxes come from.
pub(super) fn describe_boxes(
    net: &FoldedNet,
    name: &str,
    input: &str,
    output: &str,
    colour: Colour,
) -> Result<ExportedFile> {
    let of_head =
        |head: &super::folded::Head| head.yolo.as_ref().map_or(0, |y| y.anchors.len() * net.shape(head.value).area());
    let boxes = Boxes {
        output,
        count: net.heads.iter().map(of_head).sum(),
        numbers: ["centre x in pixels", "centre y in pixels", "width in pixels", "height in pixels", "objectness"],
        order: "by head, anchor, row and column",
    };
    description(net, name, input, &vec![output.to_owned(); net.heads.len()], colour, Some(boxes))
}

fn description(
    net: &FoldedNet,
    name: &str,
    input: &str,
    outputs: &[String],
    colour: Colour,
    boxes: Option<Boxes>,
) -> Result<ExportedFile> {
    let described = net.heads.iter().zip(outputs).filter_map(|(head, output)| {
        let (yolo, map) = (head.yolo.as_ref()?, net.shape(head.value));
        Some(Head {
            output,
            channels: map.channels,
            rows: map.height,
            columns: map.width,
            classes: yolo.classes,
            anchors: &yolo.anchors,
            scale_x_y: yolo.scale_x_y,
            new_coords: yolo.new_coords,
        })
    });
    let description = Description {
        input: Input {
            name: input,
            channels: net.input.channels,
            height: net.input.height,
            width: net.input.width,
            colours: colour.name(),
            values: VALUES,
            fit: FIT,
        },
        heads: described.collect(),
        boxes,
    };
    let text = serde_json::to_string_pretty(&description).map_err(|e| Error::at("heads", e))?;
    Ok(ExportedFile { name: format!("{name}.heads.json"), bytes: (text + "\n").into_bytes() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;
    use crate::darknet::Cfg;

    #[test]
    fn each_head_says_where_it_is_and_how_to_decode_it() {
        let text = "[net]\nwidth=8\nheight=4\n[convolutional]\nfilters=14\nactivation=linear\n\
            [yolo]\nmask=1,2\nanchors=1,1,2,3,4,5\nclasses=2\n";
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        let net = FoldedNet::of(&network);
        let file = describe_heads(&net, "net", "data", &["out".to_owned()], Colour::Bgr).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&file.bytes).unwrap();
        assert_eq!(file.name, "net.heads.json");
        assert_eq!(read["input"]["colours"], "BGR");
        assert_eq!(read["heads"][0]["output"], "out");
        assert_eq!(read["heads"][0]["anchors"], serde_json::json!([[2.0, 3.0], [4.0, 5.0]]));
        assert_eq!((&read["heads"][0]["rows"], &read["heads"][0]["columns"]), (&4.into(), &8.into()));
        assert!(read.get("boxes").is_none());
        let grey = describe_heads(&net, "net", "data", &["out".to_owned()], Colour::of(1)).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&grey.bytes).unwrap();
        assert_eq!(read["input"]["colours"], "grayscale");
        let decoded = describe_boxes(&net, "net", "images", "boxes", Colour::Rgb).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&decoded.bytes).unwrap();
        assert_eq!((&read["boxes"]["output"], &read["boxes"]["count"]), (&"boxes".into(), &64.into()));
        assert_eq!(read["heads"][0]["output"], "boxes");
    }
}
