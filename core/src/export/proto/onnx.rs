//! ONNX's messages (reference: `onnx.proto` of the ONNX project, IR version 7). Lists of numbers are not packed, as in
//! that file: some readers know no other form.

use prost::Message;

/// A file: a graph and the versions of what it is written in.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    /// Version of this file format.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// The program that wrote it.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// That program's version.
    #[prost(string, tag = "3")]
    pub producer_version: String,
    /// What it computes.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// The operator sets that it uses.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Anything else to know.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// An operator set.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetIdProto {
    /// Empty for ONNX's own.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Its version.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A key and its value.
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntryProto {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Nodes in an order in which they can be computed.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    /// The operators.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Constants.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    /// What it is given.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    /// What it gives.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
}

/// An operator with its inputs and outputs, by name.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    /// Names of the tensors read; empty for an optional one that is left out.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the tensors written.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// The node's own name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The operator.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Its attributes.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
}

/// A named attribute of an operator.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value, if that is a number.
    #[prost(float, tag = "2")]
    pub f: f32,
    /// Its value, if that is a whole number.
    #[prost(int64, tag = "3")]
    pub i: i64,
    /// Its value, if that is a text.
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    /// Its value, if that is a list of whole numbers.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Which of them it is: FLOAT, INT and so on, by the constants beside it.
    #[prost(int32, tag = "20")]
    pub r#type: i32,
}

impl AttributeProto {
    const FLOAT: i32 = 1;
    const INT: i32 = 2;
    const STRING: i32 = 3;
    const INTS: i32 = 7;

    /// A number.
    #[must_use]
    pub fn float(name: &str, f: f32) -> Self {
        Self { name: name.to_owned(), f, r#type: Self::FLOAT, ..Self::default() }
    }

    /// A whole number.
    #[must_use]
    pub fn int(name: &str, i: i64) -> Self {
        Self { name: name.to_owned(), i, r#type: Self::INT, ..Self::default() }
    }

    /// A text.
    #[must_use]
    pub fn string(name: &str, s: &str) -> Self {
        Self { name: name.to_owned(), s: s.as_bytes().to_vec(), r#type: Self::STRING, ..Self::default() }
    }

    /// Whole numbers.
    #[must_use]
    pub fn ints(name: &str, ints: Vec<i64>) -> Self {
        Self { name: name.to_owned(), ints, r#type: Self::INTS, ..Self::default() }
    }
}

/// A constant.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    /// Its sides; none for a single number.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// The type of its numbers: one of [`TensorProto::FLOAT`] and the others.
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Its name.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Its numbers, little-endian.
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
}

impl TensorProto {
    /// 32-bit floating point.
    pub const FLOAT: i32 = 1;
    /// Unsigned, 8 bits.
    /// Signed, 8 bits.
    pub const INT8: i32 = 3;
    /// Signed, 32 bits.
    pub const INT32: i32 = 6;
    /// Signed, 64 bits.
    pub const INT64: i32 = 7;
}

/// A name and what stands behind it.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// A type: of all kinds there are, a tensor's.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    /// Number type and shape.
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorType>,
}

/// The type of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    /// As [`TensorProto::data_type`].
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    /// Its sides.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// The sides of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    /// One after the other.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

/// A side of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// How long it is.
    #[prost(oneof = "DimensionValue", tags = "1, 2")]
    pub value: Option<DimensionValue>,
}

/// How long a side is.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum DimensionValue {
    /// That long.
    #[prost(int64, tag = "1")]
    Size(i64),
    /// As long as every other side of this name.
    #[prost(string, tag = "2")]
    Name(String),
}
