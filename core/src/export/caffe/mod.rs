//! Caffe 1.0, as HiSilicon's compilers read it: `nnie_mapper` for chips with an NNIE, `svp_atc` for newer ones.

mod check;
mod layer;
mod limits;
mod lower;
mod mapper;
mod pool;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use prost::Message;

pub use check::{Finding, Severity, check};
pub use layer::CaffeLayer;
pub use mapper::{IMAGE_FOLDER, IMAGE_LIST};

use super::folded::{FoldedNet, Value};
use super::{Colour, ExportedFile};
use crate::export::proto::caffe::NetParameter;
use crate::{Error, Result};

/// The name of the input, a layer and its blob.
pub const INPUT: &str = "data";

/// How a net is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaffeOptions {
    /// Whose compiler reads it.
    pub dialect: Dialect,
    /// What upsampling is written as.
    pub upsample: Upsample,
    /// What is done where a max pool is no single layer of Caffe's.
    pub uneven_pool: UnevenPool,
    /// The colours of the images that the net reads; said in the files. The caller has already given the net that order.
    pub colour: Colour,
    /// Nodes, by index, that NNIE is to compute with 16 bits: their layers' names end in `_hp`.
    pub high_precision: BTreeSet<usize>,
    /// The bits that NNIE computes with; by `high_precision` when none.
    pub compile_mode: Option<CompileMode>,
    /// How NNIE aligns the rows of its maps.
    pub internal_stride: InternalStride,
}

/// The bits that NNIE computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompileMode {
    /// 8.
    EightBit,
    /// 16, for all layers.
    SixteenBit,
    /// 8, and 16 for layers whose names end in `_hp`.
    ByLayer,
}

/// The bytes that rows of maps are aligned to in the chip's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InternalStride {
    /// 16.
    #[default]
    Sixteen,
    /// 32.
    ThirtyTwo,
}

/// Whose compiler reads the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `nnie_mapper`: Hi3519A, Hi3559A, Hi3516D V300 and others with an NNIE.
    #[default]
    Nnie,
    /// `svp_atc`: Hi3519D V500, Hi3516C V610 and others with an SVP NPU.
    SvpNpu,
}

/// What upsampling is written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Upsample {
    /// HiSilicon's own layer `Upsample`.
    #[default]
    Upsample,
    /// A `Deconvolution` by ones, a channel at a time: exactly the same and plain Caffe, but it costs multiplications.
    Deconvolution,
}

/// What is done where a max pool is no single layer, as tiny nets' last one, of 2x2 with stride 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnevenPool {
    /// A padded pool and two `Slice` layers, exactly the same. What is cut off is written as outputs that nobody reads.
    #[default]
    Slice,
    /// A padded pool and a depth-wise convolution that passes on all but the first row and column: exactly the same, no
    /// outputs that nobody reads, at the cost of the multiplications.
    Convolution,
    /// The net is refused.
    Refuse,
}

/// A written net.
#[derive(Debug, Clone, PartialEq)]
pub struct CaffeExport {
    /// The prototxt, the caffemodel and, for NNIE, the mapper's cfg.
    pub files: Vec<ExportedFile>,
    /// The blob of each head, in the heads' order.
    pub heads: Vec<String>,
    /// Blobs that are outputs only because nothing reads them.
    pub unused: Vec<String>,
}

/// The files that compute `net`, called `name`.
///
/// # Errors
/// The first layer that Caffe, as these compilers read it, has no words for; else the first known limit of NNIE that
/// the net is beyond.
pub fn write(net: &FoldedNet, options: &CaffeOptions, name: &str) -> Result<CaffeExport> {
    if let Some(head) = net.heads.iter().find(|head| head.value == Value::Image) {
        return Err(Error::at(&head.name, "this head is the image itself").fix("export a net that computes something"));
    }
    let written = writable(net, options)?;
    let comment = comment(net, options, &written);
    let weighted = written.layers.iter().filter(|layer| !layer.blobs.is_empty());
    let model = NetParameter { name: Some(name.to_owned()), layer: weighted.map(CaffeLayer::to_message).collect() };
    let file = |extension: &str, bytes: Vec<u8>| ExportedFile { name: format!("{name}.{extension}"), bytes };
    let mut files = vec![
        file("prototxt", layer::prototxt(name, &comment, &written.layers).into_bytes()),
        file("caffemodel", model.encode_to_vec()),
    ];
    if options.dialect == Dialect::Nnie {
        files.push(file("nnie.cfg", mapper::cfg(name, options).into_bytes()));
    }
    Ok(CaffeExport { files, heads: written.heads, unused: written.unused })
}

/// Refuses what can't be written, or what the compiler is known to refuse.
///
/// # Errors
/// The first such thing, with what to do about it.
pub fn expressible(net: &FoldedNet, options: &CaffeOptions) -> Result<()> {
    writable(net, options).map(drop)
}

fn writable(net: &FoldedNet, options: &CaffeOptions) -> Result<lower::Written> {
    let mut written = lower::lower(net, options);
    if !written.refused.is_empty() {
        return Err(written.refused.swap_remove(0));
    }
    match check::findings(net, options, &written).into_iter().find(|found| found.severity == Severity::Refused) {
        Some(Finding { place, cause, fix, .. }) => Err(Error::at(place, cause).fix(fix)),
        None => Ok(written),
    }
}

/// What whoever opens the prototxt should know.
fn comment(net: &FoldedNet, options: &CaffeOptions, written: &lower::Written) -> String {
    let (input, colour) = (net.input, options.colour.name());
    let mut lines = format!(
        "Input: {} channel{} ({}), {} x {} (width x height), values 0 to 1.\n",
        input.channels,
        if input.channels == 1 { "" } else { "s" },
        if options.colour == Colour::Unordered { "no colours" } else { colour },
        input.width,
        input.height
    );
    for (head, blob) in net.heads.iter().zip(&written.heads) {
        lines += &format!(
            "Output {}: blob {blob}, as it comes from {}; decode it on the CPU.\n",
            head.name,
            head_place(net, head.value)
        );
    }
    if options.dialect == Dialect::Nnie {
        lines += "On the board outputs are 32-bit numbers with 12 binary places: divide by 4096.\n";
    }
    if !written.read_on.is_empty() {
        lines += &format!(
            "Blobs that are outputs but read on: {}; name them to the compiler as output nodes.\n",
            written.read_on.join(", ")
        );
    }
    if !written.unused.is_empty() {
        lines += &format!("Outputs to ignore, parts that are cut off: {}\n", written.unused.join(", "));
    }
    lines
}

fn head_place(net: &FoldedNet, value: Value) -> &str {
    match value {
        Value::Image => "the image",
        Value::Node(i) => &net.nodes[i].place,
    }
}
