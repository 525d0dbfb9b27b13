//! The messages of an ONNX file that our graphs are made of, and how they are written.
//!
//! Source: `onnx.proto` of ONNX 1.12 (<https://github.com/onnx/onnx/blob/v1.12.0/onnx/onnx.proto>), whose field numbers
//! stand here. It must not know networks.

use super::protobuf::Writer;

/// Fields of `ModelProto`.
pub(super) mod model {
    pub const IR_VERSION: u32 = 1;
    pub const PRODUCER_NAME: u32 = 2;
    pub const GRAPH: u32 = 7;
    pub const OPSET_IMPORT: u32 = 8;
    pub const METADATA: u32 = 14;
}

/// Fields of `StringStringEntryProto`.
pub(super) mod entry {
    pub const KEY: u32 = 1;
    pub const VALUE: u32 = 2;
}

/// Fields of `GraphProto`.
pub(super) mod graph {
    pub const NODE: u32 = 1;
    pub const NAME: u32 = 2;
    pub const INITIALIZER: u32 = 5;
    pub const INPUT: u32 = 11;
    pub const OUTPUT: u32 = 12;
}

/// Fields of `TensorProto`.
pub(super) mod tensor {
    pub const DIMS: u32 = 1;
    pub const DATA_TYPE: u32 = 2;
    pub const NAME: u32 = 8;
    pub const RAW_DATA: u32 = 9;
}

/// Version of the file format; 8 is that of ONNX 1.12 and known to every runtime since.
const IR_VERSION: u64 = 8;
/// Version of the operators: the first in which all of ours are as they are today.
const OPSET: u64 = 13;

/// `TensorProto.DataType` of 32 bit floats.
pub const FLOAT: u64 = 1;
/// `TensorProto.DataType` of bytes.
pub const UINT8: u64 = 2;

/// One dimension of an input or output.
#[derive(Debug, Clone, Copy)]
pub enum Dimension {
    /// Always that many.
    Fixed(usize),
    /// As many as the caller likes; equal names are equal numbers.
    Free(&'static str),
}

/// A graph that is being written, node by node; each takes the output of the one before.
pub struct Graph {
    message: Writer,
    initializers: Writer,
    /// The tensor that the next node takes.
    last: String,
    nodes: usize,
}

/// An attribute of a node.
#[derive(Debug, Clone, Copy)]
pub enum Attribute<'a> {
    /// One integer.
    Integer(&'static str, u64),
    /// Several.
    Integers(&'static str, &'a [u64]),
}

impl Graph {
    /// A graph whose first node takes `input`.
    pub fn new(input: &str) -> Graph {
        Graph { message: Writer::default(), initializers: Writer::default(), last: input.to_owned(), nodes: 0 }
    }

    /// Adds a node that takes what the last one gave, then `constants`.
    pub fn node(&mut self, operator: &str, constants: &[&str], attributes: &[Attribute<'_>]) {
        self.nodes += 1;
        let output = format!("{}_{}", operator.to_lowercase(), self.nodes);
        self.node_named(operator, constants, attributes, &output);
    }

    /// The same with a name for what it gives.
    pub fn node_named(&mut self, operator: &str, constants: &[&str], attributes: &[Attribute<'_>], output: &str) {
        let input = std::mem::replace(&mut self.last, output.to_owned());
        self.message.message(graph::NODE, |node| {
            for input in [&[input.as_str()], constants].concat() {
                node.bytes(1, input.as_bytes());
            }
            node.bytes(2, output.as_bytes());
            node.bytes(3, output.as_bytes());
            node.bytes(4, operator.as_bytes());
            for attribute in attributes {
                node.message(5, |message| attribute.write(message));
            }
        });
    }

    /// Adds a constant tensor, row by row.
    pub fn constant(&mut self, name: &str, dimensions: &[usize], values: impl IntoIterator<Item = f32>) {
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        self.initializers.message(graph::INITIALIZER, |message| {
            for dimension in dimensions {
                message.integer(tensor::DIMS, *dimension as u64);
            }
            message.integer(tensor::DATA_TYPE, FLOAT);
            message.bytes(tensor::NAME, name.as_bytes());
            message.bytes(tensor::RAW_DATA, &bytes);
        });
    }

    /// The whole file: the graph with its input and output, and `metadata` beside it.
    pub fn into_model(
        mut self,
        name: &str,
        input: (&str, u64, &[Dimension]),
        output: (&str, u64, &[Dimension]),
        metadata: &[(&str, &str)],
    ) -> Vec<u8> {
        self.message.bytes(graph::NAME, name.as_bytes());
        self.message.append(self.initializers);
        for (field, (name, element, dimensions)) in [(graph::INPUT, input), (graph::OUTPUT, output)] {
            self.message.message(field, |message| write_value_info(message, name, element, dimensions));
        }
        let mut file = Writer::default();
        file.integer(model::IR_VERSION, IR_VERSION);
        file.bytes(model::PRODUCER_NAME, b"trainyard");
        file.bytes(model::GRAPH, &self.message.into_bytes());
        file.message(model::OPSET_IMPORT, |opset| {
            opset.bytes(1, b"");
            opset.integer(2, OPSET);
        });
        for (key, value) in metadata {
            file.message(model::METADATA, |message| {
                message.bytes(entry::KEY, key.as_bytes());
                message.bytes(entry::VALUE, value.as_bytes());
            });
        }
        file.into_bytes()
    }
}

impl Attribute<'_> {
    /// `AttributeProto`
    fn write(&self, message: &mut Writer) {
        const INT: u64 = 2;
        const INTS: u64 = 7;
        let kind = match self {
            Attribute::Integer(name, value) => {
                message.bytes(1, name.as_bytes());
                message.integer(3, *value);
                INT
            }
            Attribute::Integers(name, values) => {
                message.bytes(1, name.as_bytes());
                values.iter().for_each(|value| message.integer(8, *value));
                INTS
            }
        };
        message.integer(20, kind);
    }
}

/// `ValueInfoProto`
fn write_value_info(message: &mut Writer, name: &str, element: u64, dimensions: &[Dimension]) {
    message.bytes(1, name.as_bytes());
    message.message(2, |kind| {
        kind.message(1, |tensor| {
            tensor.integer(1, element);
            tensor.message(2, |shape| {
                for dimension in dimensions {
                    shape.message(1, |message| match dimension {
                        Dimension::Fixed(size) => message.integer(1, *size as u64),
                        Dimension::Free(name) => message.bytes(2, name.as_bytes()),
                    });
                }
            });
        });
    });
}
