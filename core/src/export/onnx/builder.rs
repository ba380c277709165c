//! A graph in the making.

use crate::export::proto::onnx::{
    AttributeProto, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
};

/// The operator set that graphs are written in.
const OPSET: i64 = 13;
/// The file format's version that came with it.
const IR_VERSION: i64 = 7;

/// Nodes, constants, inputs and outputs. Names of tensors are the caller's to keep apart. A node is named after what
/// it writes, but not the same: some readers keep both in one list.
#[derive(Debug, Clone)]
pub struct GraphBuilder {
    graph: GraphProto,
}

/// A side of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side<'a> {
    /// Always that long.
    Fixed(usize),
    /// Any length, the same wherever the name is.
    Named(&'a str),
}

impl GraphBuilder {
    /// An empty graph.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { graph: GraphProto { name: name.to_owned(), ..GraphProto::default() } }
    }

    /// Adds an input of 32-bit numbers.
    pub fn input(&mut self, name: &str, sides: &[Side]) {
        self.graph.input.push(value(name, sides));
    }

    /// Adds an output of 32-bit numbers.
    pub fn output(&mut self, name: &str, sides: &[Side]) {
        self.graph.output.push(value(name, sides));
    }

    /// Adds an operator that reads `inputs` and writes `output`.
    pub fn node(&mut self, operator: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: format!("{output}/{operator}"),
            op_type: operator.to_owned(),
            attribute: attributes,
        });
    }

    /// Adds a constant of 32-bit numbers; gives its name.
    pub fn floats(&mut self, name: String, sides: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, sides, TensorProto::FLOAT, bytes)
    }

    /// Adds a list of whole numbers; gives its name.
    pub fn integers(&mut self, name: String, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, &[values.len()], TensorProto::INT64, bytes)
    }

    /// Adds a constant of `data_type` (one of [`TensorProto`]'s), its numbers little-endian; gives its name.
    pub fn constant(&mut self, name: String, sides: &[usize], data_type: i32, raw_data: Vec<u8>) -> String {
        let dims = sides.iter().map(|&side| side as i64).collect();
        self.graph.initializer.push(TensorProto { dims, data_type, name: name.clone(), raw_data });
        name
    }

    /// The whole file, with properties for whoever opens it.
    #[must_use]
    pub fn finish(self, properties: Vec<(&str, &str)>) -> ModelProto {
        let entry =
            |(key, value): (&str, &str)| StringStringEntryProto { key: key.to_owned(), value: value.to_owned() };
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            metadata_props: properties.into_iter().map(entry).collect(),
        }
    }
}

fn value(name: &str, sides: &[Side]) -> ValueInfoProto {
    let dimension = |side: &Side| Dimension {
        value: Some(match side {
            Side::Fixed(length) => DimensionValue::Size(*length as i64),
            Side::Named(name) => DimensionValue::Name((*name).to_owned()),
        }),
    };
    let shape = Some(TensorShapeProto { dim: sides.iter().map(dimension).collect() });
    let tensor_type = Some(TensorType { elem_type: TensorProto::FLOAT, shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}
