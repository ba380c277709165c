//! The options of each format that `export` writes, as they are typed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use yoloslim_core::export::Colour;
use yoloslim_core::export::caffe::{CaffeOptions, CompileMode, Dialect, InternalStride, UnevenPool, Upsample};
use yoloslim_core::export::folded::{FoldedNet, Node, Operator, Value};
use yoloslim_core::export::onnx::OnnxOptions;
use yoloslim_core::{Error, Result};

/// Options of ONNX alone.
#[derive(Debug, Args)]
#[command(next_help_heading = "ONNX")]
pub struct OnnxKnobs {
    /// One output of boxes, [images, boxes, 5 + classes], instead of raw heads
    #[arg(long)]
    decode: bool,
    /// Any number of images at once instead of one
    #[arg(long)]
    dynamic_batch: bool,
}

/// Options of Caffe alone.
#[derive(Debug, Args)]
#[command(next_help_heading = "Caffe, for HiSilicon's chips")]
pub struct CaffeKnobs {
    /// Whose compiler reads the files [default: nnie]
    #[arg(long, value_enum, value_name = "WHOSE")]
    dialect: Option<DialectName>,
    /// What upsampling is written as [default: upsample]
    #[arg(long, value_enum, value_name = "LAYER")]
    upsample: Option<UpsampleName>,
    /// What SPP's 9x9 and 13x13 pools are written as [default: whole]
    #[arg(long, value_enum, value_name = "HOW")]
    spp: Option<SppName>,
    /// What to do with a pool that is no single layer of Caffe's, as tiny nets' last one [default: slice]
    #[arg(long, value_enum, value_name = "HOW")]
    uneven_pool: Option<UnevenPoolName>,
    /// Layers to compute with 16 bits: indices in the cfg, `heads` for all heads' convolutions, e.g. 0,heads
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    hp: Vec<HighPrecision>,
    /// The bits that NNIE computes with [default: 8, by-layer with --hp]
    #[arg(long, value_enum, value_name = "BITS")]
    compile_mode: Option<CompileModeName>,
    /// Bytes that NNIE aligns rows of maps to: 16 or 32 [default: 16]
    #[arg(long, value_name = "BYTES", value_parser = internal_stride)]
    internal_stride: Option<InternalStride>,
    /// Data set to take the mapper's calibration images from
    #[arg(long, value_name = "D")]
    pub data: Option<PathBuf>,
    /// How many of them; 20 to 50 typical ones are the mapper's advice
    #[arg(long, default_value_t = 32, value_name = "N", requires = "data", value_parser = clap::value_parser!(u16).range(1..))]
    pub calibration: u16,
}

/// [`Dialect`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum DialectName {
    /// nnie_mapper: Hi3519A, Hi3559A and others with an NNIE
    Nnie,
    /// svp_atc: Hi3519D V500, Hi3516C V610 and others with an SVP NPU
    #[value(name = "svp_npu")]
    SvpNpu,
}

/// [`Upsample`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum UpsampleName {
    /// HiSilicon's own layer
    Upsample,
    /// A deconvolution by ones: the same in plain Caffe, at the cost of multiplications
    Deconvolution,
}

/// [`CompileMode`] as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompileModeName {
    /// 8 bits
    #[value(name = "8")]
    Eight,
    /// 16 bits
    #[value(name = "16")]
    Sixteen,
    /// 8 bits, and 16 for the layers of --hp
    ByLayer,
}

fn internal_stride(text: &str) -> std::result::Result<InternalStride, String> {
    match text {
        "16" => Ok(InternalStride::Sixteen),
        "32" => Ok(InternalStride::ThirtyTwo),
        _ => Err("give 16 or 32".to_owned()),
    }
}

/// How wide pools are written, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SppName {
    /// As they are
    Whole,
    /// Two and three pools of 5x5 in a row, which give the same
    Chained,
}

/// [`UnevenPool`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum UnevenPoolName {
    /// A padded pool, and slices that leave outputs to ignore
    Slice,
    /// A padded pool, and a depth-wise convolution that passes on the part wanted
    Convolution,
    /// Refuse the net
    Refuse,
}

/// What is to be computed with 16 bits, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HighPrecision {
    Heads,
    Layer(usize),
}

impl FromStr for HighPrecision {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match (text.trim(), text.trim().parse()) {
            ("heads", _) => Ok(Self::Heads),
            (_, Ok(layer)) => Ok(Self::Layer(layer)),
            _ => Err("give indices of layers as `info` shows them, or heads".to_owned()),
        }
    }
}

impl OnnxKnobs {
    /// The first of these options that was typed.
    pub fn typed(&self) -> Option<&'static str> {
        [(self.decode, "--decode"), (self.dynamic_batch, "--dynamic-batch")].iter().find(|(on, _)| *on).map(|(_, n)| *n)
    }

    /// What they mean, for images of that order of colours.
    pub fn options(&self, colour: Colour) -> OnnxOptions {
        OnnxOptions { dynamic_batch: self.dynamic_batch, decode: self.decode, colour }
    }
}

impl CaffeKnobs {
    /// The first of these options that was typed.
    pub fn typed(&self) -> Option<&'static str> {
        let typed = [
            (self.dialect.is_some(), "--dialect"),
            (self.upsample.is_some(), "--upsample"),
            (self.spp.is_some(), "--spp"),
            (self.uneven_pool.is_some(), "--uneven-pool"),
            (!self.hp.is_empty(), "--hp"),
            (self.compile_mode.is_some(), "--compile-mode"),
            (self.internal_stride.is_some(), "--internal-stride"),
            (self.data.is_some(), "--data"),
        ];
        typed.iter().find(|(on, _)| *on).map(|(_, name)| *name)
    }

    /// The net as these options want its pools, and what they mean for it.
    pub fn options(&self, net: FoldedNet, colour: Colour) -> Result<(FoldedNet, CaffeOptions)> {
        let net = if self.spp == Some(SppName::Chained) { net.with_chained_pools() } else { net };
        let options = CaffeOptions {
            dialect: self.dialect(),
            upsample: match self.upsample {
                None | Some(UpsampleName::Upsample) => Upsample::Upsample,
                Some(UpsampleName::Deconvolution) => Upsample::Deconvolution,
            },
            uneven_pool: match self.uneven_pool {
                None | Some(UnevenPoolName::Slice) => UnevenPool::Slice,
                Some(UnevenPoolName::Convolution) => UnevenPool::Convolution,
                Some(UnevenPoolName::Refuse) => UnevenPool::Refuse,
            },
            colour,
            high_precision: self.high_precision(&net)?,
            compile_mode: self.compile_mode.map(|mode| match mode {
                CompileModeName::Eight => CompileMode::EightBit,
                CompileModeName::Sixteen => CompileMode::SixteenBit,
                CompileModeName::ByLayer => CompileMode::ByLayer,
            }),
            internal_stride: self.internal_stride.unwrap_or_default(),
        };
        Ok((net, options))
    }

    /// Whom the files are for.
    pub fn dialect(&self) -> Dialect {
        match self.dialect {
            None | Some(DialectName::Nnie) => Dialect::Nnie,
            Some(DialectName::SvpNpu) => Dialect::SvpNpu,
        }
    }

    /// The same for the NPU of newer chips, as `--check svp_npu` asks for it.
    pub fn for_svp_npu(&mut self) {
        self.dialect = Some(DialectName::SvpNpu);
    }

    /// Whether the files are for svp_atc.
    pub fn is_for_svp_npu(&self) -> bool {
        matches!(self.dialect, Some(DialectName::SvpNpu))
    }

    /// Options that only nnie_mapper knows, or that say two things.
    ///
    /// # Errors
    /// Names the first.
    pub fn refuse_contradictions(&self, dialect: Dialect) -> Result<()> {
        let mappers = [
            (!self.hp.is_empty(), "--hp", "layers are marked for 16 bits for nnie_mapper only"),
            (self.compile_mode.is_some(), "--compile-mode", "it is in the cfg of nnie_mapper only"),
            (self.internal_stride.is_some(), "--internal-stride", "it is in the cfg of nnie_mapper only"),
            (self.data.is_some(), "--data", "calibration images are written for nnie_mapper only"),
        ];
        let strange = mappers.iter().find(|(typed, ..)| *typed && dialect != Dialect::Nnie);
        if let Some((_, option, cause)) = strange {
            return Err(Error::at(option, cause).fix(format!("leave {option} out, or choose --dialect nnie")));
        }
        match self.compile_mode {
            Some(CompileModeName::Eight | CompileModeName::Sixteen) if !self.hp.is_empty() => {
                Err(Error::at("--hp", "the same bits for all layers are asked for too")
                    .fix("leave --compile-mode out, or give by-layer"))
            }
            Some(CompileModeName::ByLayer) if self.hp.is_empty() => {
                Err(Error::at("--compile-mode by-layer", "no layer is marked for 16 bits")
                    .fix("name them: --hp heads, say"))
            }
            _ => Ok(()),
        }
    }

    /// The nodes that are to be computed with 16 bits.
    fn high_precision(&self, net: &FoldedNet) -> Result<BTreeSet<usize>> {
        let mut nodes = BTreeSet::new();
        for wanted in &self.hp {
            match wanted {
                HighPrecision::Heads => nodes.extend(net.heads.iter().filter_map(|head| match head.value {
                    Value::Node(i) => Some(i),
                    Value::Image => None,
                })),
                HighPrecision::Layer(layer) => nodes.extend([convolution(net, *layer)?]),
            }
        }
        Ok(nodes)
    }
}

/// The node that is the convolution of that layer.
fn convolution(net: &FoldedNet, layer: usize) -> Result<usize> {
    let is_it = |node: &Node| node.layer == layer && matches!(node.operator, Operator::Convolution(_));
    net.nodes.iter().position(is_it).ok_or_else(|| {
        Error::at("--hp", format!("layer {layer} is no convolution of this net"))
            .fix("give indices of convolutions as `info` shows them")
    })
}
