//! Caffe's messages (reference: `caffe.proto` of BVLC's Caffe 1.0): those of a `.caffemodel`.

use prost::Message;

/// A net: layers with their numbers.
#[derive(Clone, PartialEq, Message)]
pub struct NetParameter {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// The layers.
    #[prost(message, repeated, tag = "100")]
    pub layer: Vec<LayerParameter>,
}

/// A layer.
#[derive(Clone, PartialEq, Message)]
pub struct LayerParameter {
    /// Its name, by which a prototxt's layer finds its numbers.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// What it computes.
    #[prost(string, optional, tag = "2")]
    pub r#type: Option<String>,
    /// What it reads.
    #[prost(string, repeated, tag = "3")]
    pub bottom: Vec<String>,
    /// What it writes.
    #[prost(string, repeated, tag = "4")]
    pub top: Vec<String>,
    /// Its numbers.
    #[prost(message, repeated, tag = "7")]
    pub blobs: Vec<BlobProto>,
    /// How it convolves.
    #[prost(message, optional, tag = "106")]
    pub convolution_param: Option<ConvolutionParameter>,
}

/// An array.
#[derive(Clone, PartialEq, Message)]
pub struct BlobProto {
    /// Its numbers.
    #[prost(float, repeated, tag = "5")]
    pub data: Vec<f32>,
    /// Its sides.
    #[prost(message, optional, tag = "7")]
    pub shape: Option<BlobShape>,
}

/// The sides of an array.
#[derive(Clone, PartialEq, Message)]
pub struct BlobShape {
    /// One after the other.
    #[prost(int64, repeated, tag = "1")]
    pub dim: Vec<i64>,
}

/// A convolution's sizes, a deconvolution's too.
#[derive(Clone, PartialEq, Message)]
pub struct ConvolutionParameter {
    /// Output channels.
    #[prost(uint32, optional, tag = "1")]
    pub num_output: Option<u32>,
    /// Whether a bias is added.
    #[prost(bool, optional, tag = "2")]
    pub bias_term: Option<bool>,
    /// Zeros on each side.
    #[prost(uint32, repeated, packed = "false", tag = "3")]
    pub pad: Vec<u32>,
    /// Side of the kernel.
    #[prost(uint32, repeated, packed = "false", tag = "4")]
    pub kernel_size: Vec<u32>,
    /// Independent groups of channels.
    #[prost(uint32, optional, tag = "5")]
    pub group: Option<u32>,
    /// Step between rows, and between columns where that differs.
    #[prost(uint32, repeated, packed = "false", tag = "6")]
    pub stride: Vec<u32>,
    /// Distance between neighbouring taps.
    #[prost(uint32, repeated, packed = "false", tag = "18")]
    pub dilation: Vec<u32>,
}
