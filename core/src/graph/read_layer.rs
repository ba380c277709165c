//! One section's keys, read into its layer kind. What isn't understood is refused, never guessed.

use super::from_cfg::Builder;
use super::layer::{Activation, Convolution, MaxPool, Op, Source, Yolo};
use crate::{Error, Result};

/// The layer kinds that are understood, for the message about those that aren't.
const KINDS: &str =
    "convolutional, maxpool, avgpool, upsample, route, shortcut, dropout, reorg, scale_channels, sam, yolo";

/// The largest size, stride, padding or number of filters: beyond what any net has, and small enough to compute with.
const LARGEST: i64 = 1 << 20;

pub(super) fn read(b: &Builder) -> Result<(Op, Vec<Source>)> {
    let before = |op| (op, vec![b.previous()]);
    Ok(match b.section.kind() {
        "convolutional" | "conv" => before(Op::Convolution(convolution(b)?)),
        "maxpool" | "max" => before(Op::MaxPool(max_pool(b)?)),
        "upsample" => before(upsample(b)?),
        "avgpool" | "avg" => before(Op::AveragePool),
        "dropout" => before(dropout(b)?),
        "reorg" => {
            for key in ["reverse", "flatten", "extra"] {
                refuse_unless(b, key, 0)?;
            }
            before(Op::Reorg { stride: positive(b, "stride", 1)? })
        }
        "yolo" => before(Op::Yolo(yolo(b)?)),
        "route" => route(b)?,
        "shortcut" => shortcut(b)?,
        "scale_channels" => {
            refuse_unless(b, "scale_wh", 0)?;
            let activation = activation(b, Activation::Linear)?;
            (Op::ScaleChannels { activation }, with_previous(b, "from")?)
        }
        "sam" => (Op::Sam { activation: activation(b, Activation::Linear)? }, with_previous(b, "from")?),
        kind => {
            return Err(Error::at(b.section.place(), format!("the layer kind [{kind}] is not supported"))
                .fix(format!("use only {KINDS}")));
        }
    })
}

fn convolution(b: &Builder) -> Result<Convolution> {
    for key in [
        "antialiasing",
        "binary",
        "xnor",
        "deform",
        "share_index",
        "assisted_excitation",
        "rotate",
        "sway",
        "stretch",
        "stretch_sway",
    ] {
        refuse_unless(b, key, 0)?;
    }
    let s = b.section;
    let stride = positive(b, "stride", 1)?;
    let (size, dilation) = (positive(b, "size", 1)?, positive(b, "dilation", 1)?);
    // Darknet knows none for single pixels.
    let dilation = if size == 1 { 1 } else { dilation };
    let padding = if s.number_or("pad", 0i64)? != 0 { size / 2 } else { padding(b, 0)? };
    let convolution = Convolution {
        filters: positive(b, "filters", 1)?,
        size,
        stride_y: stride_along(b, "stride_y", stride)?,
        stride_x: stride_along(b, "stride_x", stride)?,
        pad: padding * dilation,
        dilation,
        groups: positive(b, "groups", 1)?,
        // Normalisation over several batches (cbn) has the numbers and the inference of the plain one.
        batch_normalize: s.number_or("batch_normalize", 0i64)? != 0 || s.number_or("cbn", 0i64)? != 0,
        activation: activation(b, Activation::Logistic)?,
    };
    let channels = b.graph.shape(b.previous()).channels;
    for (what, n) in [("input channels", channels), ("filters", convolution.filters)] {
        if n % convolution.groups != 0 {
            return Err(b
                .error(format!("groups={} does not divide the {n} {what}", convolution.groups))
                .fix("choose groups that divide both"));
        }
    }
    Ok(convolution)
}

fn max_pool(b: &Builder) -> Result<MaxPool> {
    refuse_unless(b, "maxpool_depth", 0)?;
    refuse_unless(b, "antialiasing", 0)?;
    let stride = positive(b, "stride", 1)?;
    let size = positive(b, "size", stride)?;
    Ok(MaxPool {
        size,
        stride_y: stride_along(b, "stride_y", stride)?,
        stride_x: stride_along(b, "stride_x", stride)?,
        padding: padding(b, size - 1)?,
    })
}

fn dropout(b: &Builder) -> Result<Op> {
    match b.section.number_or("probability", 0.2)? {
        probability if (0.0..1.0).contains(&probability) => Ok(Op::Dropout { probability }),
        probability => {
            Err(b.error(format!("probability={probability}")).fix("give probability 0 or more, and less than 1"))
        }
    }
}

fn upsample(b: &Builder) -> Result<Op> {
    if b.section.number_or("scale", 1.0f32)? != 1.0 {
        return Err(b.error("an upsample with scale other than 1 is not supported").fix("remove scale"));
    }
    Ok(Op::Upsample { stride: positive(b, "stride", 2)? })
}

fn route(b: &Builder) -> Result<(Op, Vec<Source>)> {
    let groups = positive(b, "groups", 1)?;
    let group_id = b.section.number_or("group_id", 0usize)?;
    if group_id >= groups {
        return Err(b.error(format!("group_id={group_id}, but groups={groups}")).fix("count group_id from 0"));
    }
    Ok((Op::Route { groups, group_id }, b.references("layers")?))
}

fn shortcut(b: &Builder) -> Result<(Op, Vec<Source>)> {
    if let Some(kind) = b.section.get("weights_type").filter(|k| *k != "none") {
        return Err(b.error(format!("weights_type={kind} is not supported")).fix("use a shortcut without weights"));
    }
    let activation = activation(b, Activation::Linear)?;
    Ok((Op::Shortcut { activation }, with_previous(b, "from")?))
}

fn yolo(b: &Builder) -> Result<Yolo> {
    let s = b.section;
    let numbers = s.numbers::<f32>("anchors")?;
    if numbers.is_empty() {
        return Err(b
            .error("anchors is missing")
            .fix("write anchors=w,h, w,h, .. in pixels of the net's input; `yoloslim anchors` finds them"));
    }
    let (pairs, odd) = numbers.as_chunks::<2>();
    if !odd.is_empty() || pairs.iter().flatten().any(|v| !v.is_finite() || *v <= 0.0) {
        return Err(b.error("anchors must be pairs of positive numbers").fix("write anchors=w,h, w,h, .."));
    }
    let mut mask = s.numbers::<usize>("mask")?;
    if mask.is_empty() {
        mask = (0..pairs.len()).collect();
    }
    let pick = |&m: &usize| {
        pairs.get(m).copied().ok_or_else(|| {
            b.error(format!("mask names anchor {m}, but there are {} anchors", pairs.len())).fix("count masks from 0")
        })
    };
    let yolo = Yolo {
        anchors: mask.iter().map(pick).collect::<Result<_>>()?,
        classes: positive(b, "classes", 20)?,
        scale_x_y: scale_x_y(b)?,
        new_coords: s.number_or("new_coords", 0i64)? != 0,
    };
    check_filters(b, &yolo)?;
    Ok(yolo)
}

/// It stretches the range of centres, so that borders of cells can be reached.
fn scale_x_y(b: &Builder) -> Result<f32> {
    match b.section.number_or("scale_x_y", 1.0f32)? {
        scale if scale > 0.0 && scale.is_finite() => Ok(scale),
        scale => Err(b
            .error(format!("scale_x_y={scale}"))
            .fix("give scale_x_y a number above 0, such as the 1.05 of YOLOv4, or leave it out")),
    }
}

/// A head must be fed the channels it reads; the fault is the convolution's, so its line is named.
fn check_filters(b: &Builder, yolo: &Yolo) -> Result<()> {
    let previous = b.previous();
    let channels = b.graph.shape(previous).channels;
    if channels == yolo.channels() {
        return Ok(());
    }
    let missing: Vec<&str> = ["mask", "classes"].into_iter().filter(|key| b.section.get(key).is_none()).collect();
    let unless = |key: &str, told| if missing.contains(&key) { told } else { "" };
    let wants = format!(
        "a [yolo] layer with {} anchors{} and {} classes{} reads {}",
        yolo.anchors.len(),
        unless("mask", " (it has no mask=, so all of them count)"),
        yolo.classes,
        unless("classes", " (it has no classes=, so Darknet's 20)"),
        yolo.channels()
    );
    let convolution = previous.layer().map(|i| &b.graph.layers[i]).filter(|l| matches!(l.op, Op::Convolution(_)));
    let fix = match (missing.as_slice(), convolution) {
        ([], Some(_)) => format!("write filters={}", yolo.channels()),
        ([], None) => format!("put a [convolutional] with filters={} and activation=linear before it", yolo.channels()),
        (missing, _) => format!("write {}= into [yolo]", missing.join("= and ")),
    };
    Err(match convolution {
        Some(l) => Error::at(&l.place, format!("filters={channels}, but {wants}")),
        None => b.error(format!("the layer before has {channels} channels, but {wants}")),
    }
    .fix(fix))
}

fn with_previous(b: &Builder, key: &str) -> Result<Vec<Source>> {
    let mut inputs = vec![b.previous()];
    inputs.extend(b.references(key)?);
    Ok(inputs)
}

fn activation(b: &Builder, default: Activation) -> Result<Activation> {
    let Some(name) = b.section.get("activation") else { return Ok(default) };
    Activation::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Activation::ALL.iter().map(|a| a.name()).collect();
        b.error(format!("activation={name} is not supported")).fix(format!("use one of {}", known.join(", ")))
    })
}

fn positive(b: &Builder, key: &str, default: usize) -> Result<usize> {
    match b.section.number_or(key, default as i64)? {
        n @ 1..=LARGEST => Ok(n as usize),
        n if n > LARGEST => Err(too_large(b, key, n)),
        n => Err(b.error(format!("{key}={n}")).fix(format!("give {key} a positive number"))),
    }
}

fn padding(b: &Builder, default: usize) -> Result<usize> {
    match b.section.number_or("padding", default as i64)? {
        n @ 0..=LARGEST => Ok(n as usize),
        n if n > LARGEST => Err(too_large(b, "padding", n)),
        n => Err(b.error(format!("padding={n}")).fix("give padding 0 or a positive number")),
    }
}

fn too_large(b: &Builder, key: &str, n: i64) -> Error {
    b.error(format!("{key}={n}")).fix(format!("give {key} a number up to {LARGEST}"))
}

/// `stride_x` and `stride_y` hold where they are given and positive.
fn stride_along(b: &Builder, key: &str, stride: usize) -> Result<usize> {
    Ok(match b.section.number_or(key, -1i64)? {
        n if n > LARGEST => return Err(too_large(b, key, n)),
        n if n >= 1 => n as usize,
        _ => stride,
    })
}

fn refuse_unless(b: &Builder, key: &str, value: i64) -> Result<()> {
    match b.section.number_or(key, value)? {
        n if n == value => Ok(()),
        n => Err(b.error(format!("{key}={n} is not supported")).fix(format!("train the net without {key}"))),
    }
}
