//! The file as others read it, and what is not our file.

use super::super::model_file::tests::sample;
use super::*;
use proptest::prelude::*;

fn file() -> Vec<u8> {
    let (card, network) = sample();
    write(&card, &network).unwrap()
}

/// The strings and integers of every field that has them, by field number.
fn fields(message: &[u8], wanted: u32) -> Vec<Value<'_>> {
    Fields::of(message).map(Result::unwrap).filter(|(field, _)| *field == wanted).map(|(_, value)| value).collect()
}

fn text<'a>(value: &Value<'a>) -> &'a str {
    let Value::Bytes(bytes) = value else { panic!("{value:?} is no string") };
    std::str::from_utf8(bytes).unwrap()
}

fn message<'a>(value: &Value<'a>) -> &'a [u8] {
    let Value::Bytes(bytes) = value else { panic!("{value:?} is no message") };
    bytes
}

#[test]
fn the_graph_is_the_network_with_its_surroundings() {
    let file = file();
    let graph = message(&fields(&file, proto::model::GRAPH)[0]).to_vec();
    let nodes: Vec<String> = fields(&graph, proto::graph::NODE)
        .iter()
        .map(|node| {
            let node = message(node);
            let inputs: Vec<&str> = fields(node, 1).iter().map(text).collect();
            format!("{} = {}({})", text(&fields(node, 2)[0]), text(&fields(node, 4)[0]), inputs.join(", "))
        })
        .collect();
    // Two blocks on 4 x 4 pixels: only the first is pooled, to 2 x 2.
    assert_eq!(
        nodes,
        [
            "cast_1 = Cast(image)",
            "transpose_2 = Transpose(cast_1)",
            "sub_3 = Sub(transpose_2, mean)",
            "mul_4 = Mul(sub_3, scale)",
            "conv_5 = Conv(mul_4, conv1.weight, conv1.bias)",
            "relu_6 = Relu(conv_5)",
            "maxpool_7 = MaxPool(relu_6)",
            "conv_8 = Conv(maxpool_7, conv2.weight, conv2.bias)",
            "relu_9 = Relu(conv_8)",
            "transpose_10 = Transpose(relu_9)",
            "flatten_11 = Flatten(transpose_10)",
            "gemm_12 = Gemm(flatten_11, linear1.weight, linear1.bias)",
            "div_13 = Div(gemm_12, temperature)",
            "probabilities = Softmax(div_13)",
        ]
    );
    let labels = fields(&file, proto::model::METADATA).iter().map(|entry| message(entry).to_vec()).collect::<Vec<_>>();
    assert_eq!(text(&fields(&labels[0], 1)[0]), "labels");
    assert_eq!(text(&fields(&labels[0], 2)[0]), r#"["a","b\"","c"]"#);
}

#[test]
fn convolutions_have_their_outputs_first() {
    let (_, network) = sample();
    let parameters = network.shape().tensors();
    let ours = network.values(&parameters[0]);
    assert_eq!(parameters[0].shape[..3], [3, 3, 3]);
    let outputs = parameters[0].shape[3];
    let file = file();
    let graph = message(&fields(&file, proto::model::GRAPH)[0]).to_vec();
    let initializers = fields(&graph, proto::graph::INITIALIZER);
    let weight =
        initializers.iter().map(message).find(|tensor| tensor_of(tensor).unwrap().0 == b"conv1.weight").unwrap();
    let dims: Vec<_> = fields(weight, proto::tensor::DIMS);
    assert_eq!(dims, [outputs, 3, 3, 3].map(|size| Value::Integer(size as u64)));
    let theirs = tensor_of(weight).unwrap().1;
    for (output, input, row, column) in [(0, 0, 0, 0), (5, 2, 1, 0), (outputs - 1, 1, 2, 2)] {
        let at = ((output * 3 + input) * 3 + row) * 3 + column;
        let value = f32::from_le_bytes(theirs[4 * at..4 * at + 4].try_into().unwrap());
        assert_eq!(value, ours[((row * 3 + column) * 3 + input) * outputs + output]);
    }
}

#[test]
fn other_graphs_and_lies_are_refused() {
    let refused = |bytes: &[u8]| read(bytes, Isa::BASELINE, 1).err().unwrap();
    assert!(refused(b"").contains("onnxruntime"));
    let (card, network) = sample();
    let foreign = Graph::new("x").into_model("g", ("x", FLOAT, &[]), ("x", FLOAT, &[]), &[("author", "somebody")]);
    assert!(refused(&foreign).contains("onnxruntime"));
    // Our card on a graph without weights, and on one that is not what the card says.
    let json = card.to_json().unwrap();
    let empty = Graph::new("x").into_model("g", ("x", FLOAT, &[]), ("x", FLOAT, &[]), &[(KEY, &json)]);
    assert!(refused(&empty).contains("conv1.weight is missing"));
    // Another graph around our card and weights.
    let bytes = write(&card, &network).unwrap();
    let at = bytes.windows(4).position(|window| window == b"Relu").unwrap();
    let mut other = bytes.clone();
    other[at..at + 4].copy_from_slice(b"Tanh");
    assert!(refused(&other).contains("changed"));
    let mut author = proto_entry("author", "somebody");
    author.splice(0..0, bytes);
    assert!(refused(&author).contains("changed"));
}

fn proto_entry(key: &str, value: &str) -> Vec<u8> {
    let mut file = protobuf::Writer::default();
    file.message(proto::model::METADATA, |message| {
        message.bytes(proto::entry::KEY, key.as_bytes());
        message.bytes(proto::entry::VALUE, value.as_bytes());
    });
    file.into_bytes()
}

proptest! {
    #[test]
    fn damage_is_always_noticed(at in 0usize..1 << 16, change in 1u8.., cut in 1usize..500) {
        let bytes = file();
        let mut flipped = bytes.clone();
        flipped[at % bytes.len()] ^= change;
        prop_assert!(read(&flipped, Isa::BASELINE, 1).is_err());
        prop_assert!(read(&bytes[..bytes.len() - cut], Isa::BASELINE, 1).is_err());
        prop_assert!(read(&[&bytes[..], &flipped[..cut]].concat(), Isa::BASELINE, 1).is_err());
    }

    #[test]
    fn any_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(read(&bytes, Isa::BASELINE, 1).is_err());
    }
}
