//! Backbones of the kinds that users make, against onnxruntime's answers (tests/data/backbone/make.py), and files that are
//! none.

use super::engine;
use super::input::{Declared, Input, Layout, Settings};
use super::{Backbone, BackboneError, BackboneFile};
use crate::image::{Channels, Decoded, resize};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use tract_onnx::pb;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;

const SIDE: u32 = 32;

fn data(name: &str) -> PathBuf {
    Path::new("tests/data/backbone").join(name)
}

/// The picture that onnxruntime was asked about.
fn picture() -> Vec<u8> {
    let picture =
        image::RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([0, 41, 82].map(|c| (x * 7 + y * 13 + c) as u8)));
    resize(Decoded::Rgb(picture), SIDE, Channels::Rgb)
}

fn open(path: &Path, settings: Settings) -> Result<(Backbone, Input), BackboneError> {
    let file = BackboneFile::read(path)?;
    let input = Input::resolve(file.declared(), &Settings { file: path.to_owned(), ..settings })?;
    Ok((file.prepare(&input)?, input))
}

#[test]
fn answers_are_those_of_onnxruntime() {
    let answers: serde_json::Value = serde_json::from_slice(&fs::read(data("answers.json")).unwrap()).unwrap();
    for (name, batch) in [("tiny.onnx", 1), ("plain.onnx", 1), ("four.onnx", 4)] {
        let (backbone, input) = open(&data(name), Settings::default()).unwrap();
        assert_eq!((input.side, input.layout, backbone.batch()), (SIDE, Layout::Nchw, batch), "{name}");
        let expected: Vec<f64> =
            answers[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        assert_eq!(backbone.features(), expected.len(), "{name}");
        let (picture, black) = (picture(), vec![0; 3 * 32 * 32]);
        // The neighbours of a batch make no difference.
        let pictures: [&[u8]; 2] = [&black, &picture];
        let found = backbone.extract(&pictures[2 - batch.min(2)..]).unwrap();
        let found = &found[found.len() - expected.len()..];
        for (found, expected) in found.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{name}: {found} {expected}");
        }
    }
}

#[test]
fn the_hash_names_the_weights_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let (file, weights) = (folder.path().join("plain.onnx"), folder.path().join("plain.onnx.data"));
    fs::copy(data("plain.onnx"), &file).unwrap();
    let text = BackboneFile::read(&file).err().unwrap().to_string();
    assert!(text.contains("plain.onnx.data") && text.contains("beside it"), "{text}");
    let mut bytes = fs::read(data("plain.onnx.data")).unwrap();
    fs::write(&weights, &bytes).unwrap();
    let hash = BackboneFile::read(&file).unwrap().hash();
    assert_eq!(hash, BackboneFile::read(&data("plain.onnx")).unwrap().hash());
    bytes[77] ^= 1;
    fs::write(&weights, &bytes).unwrap();
    assert_ne!(hash, BackboneFile::read(&file).unwrap().hash());
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    assert!(open(&file, Settings::default()).err().unwrap().to_string().contains("beyond the end"));
    // Of a file without others, the hash is that of the file.
    let tiny = fs::read(data("tiny.onnx")).unwrap();
    assert_eq!(BackboneFile::read(&data("tiny.onnx")).unwrap().hash(), blake3::hash(&tiny));
}

#[test]
fn files_that_are_no_backbones_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    assert!(matches!(BackboneFile::read(&path), Err(BackboneError::Io { .. })));
    for bytes in [&b""[..], b"hello, this is no network", b"\x89PNG\r\n\x1a\n", b"\x08\x08"] {
        fs::write(&path, bytes).unwrap();
        assert!(BackboneFile::read(&path).err().unwrap().to_string().contains("no ONNX file"));
    }
    fs::File::create(&path).unwrap().set_len(300 << 20).unwrap();
    assert!(BackboneFile::read(&path).err().unwrap().to_string().contains("larger than 256 MiB"));
}

fn value(name: &str, kind: pb::tensor_proto::DataType, sizes: &[i64]) -> pb::ValueInfoProto {
    let dim = sizes.iter().map(|size| pb::tensor_shape_proto::Dimension {
        value: Some(Size::DimValue(*size)).filter(|_| *size > 0),
        ..Default::default()
    });
    let shape = Some(pb::TensorShapeProto { dim: dim.collect() });
    let tensor = pb::type_proto::Tensor { elem_type: kind as i32, shape };
    let kind = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
    pb::ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..Default::default() }
}

fn node(kind: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
    pb::NodeProto {
        op_type: kind.to_owned(),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

/// A graph `x -> Relu -> y` and whatever else is asked for.
fn graph(sizes: &[i64], nodes: Vec<pb::NodeProto>) -> pb::GraphProto {
    use pb::tensor_proto::DataType::Float;
    pb::GraphProto {
        node: nodes,
        input: vec![value("x", Float, sizes)],
        output: vec![value("y", Float, &[])],
        ..Default::default()
    }
}

fn model(graph: pb::GraphProto) -> pb::ModelProto {
    let opset_import = vec![pb::OperatorSetIdProto { version: 13, ..Default::default() }];
    pb::ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() }
}

fn prepare(graph: pb::GraphProto, layout: Layout) -> Result<Backbone, String> {
    let input = Input { side: 4, layout, batch: 1, mean: vec![0.0; 3], std: vec![1.0; 3] };
    engine::prepare(&tract_onnx::onnx(), &model(graph), "", &input)
}

#[test]
fn the_mean_of_feature_maps_is_taken_in_either_layout() {
    let pixels: Vec<u8> = (0..16u8).flat_map(|at| [at * 10, 51, 255 - at]).collect();
    for (layout, sizes) in [(Layout::Nchw, [1, 3, 4, 4]), (Layout::Nhwc, [-1, -1, -1, 3])] {
        let backbone = prepare(graph(&sizes, vec![node("Relu", &["x"], "y")]), layout).unwrap();
        assert_eq!(backbone.features(), 3);
        let found = backbone.extract(&[&pixels]).unwrap();
        let expected = [75.0 / 255.0, 0.2, 247.5 / 255.0];
        assert!(found.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{layout:?} {found:?}");
    }
}

#[test]
fn graphs_that_are_no_backbones_say_why() {
    let prepare = |node| prepare(graph(&[1, 3, 4, 4], vec![node]), Layout::Nchw).err().unwrap();
    assert!(prepare(node("Shape", &["x"], "y")).contains("first output"));
    assert!(prepare(node("Relu", &["nothing"], "y")).contains("nothing makes nothing"));
    // Too few inputs: whether that is an error or an assertion in tract, it is an error here.
    assert!(!prepare(node("MatMul", &["x"], "y")).is_empty());
    assert!(prepare(node("Flatten", &[], "y")).len() > 5);
}

#[test]
fn a_graph_may_be_larger_than_its_declaration() {
    let backbone = prepare(graph(&[1, 3, 5, 5], vec![node("Relu", &["x"], "y")]), Layout::Nchw);
    assert_eq!(backbone.unwrap().features(), 3);
}

#[test]
fn inputs_and_operators_are_checked_before_tract_sees_them() {
    use pb::tensor_proto::DataType::{Float, Uint8};
    let check = |graph: pb::GraphProto| super::onnx::inspect(&graph).err();
    let relu = || vec![node("Relu", &["x"], "y")];
    assert_eq!(check(graph(&[-1, 3, 224, 224], relu())), None);
    let sizes = super::onnx::inspect(&graph(&[-1, 3, 8, 8], relu())).unwrap();
    assert_eq!(sizes, [None, Some(3), Some(8), Some(8)]);
    let mut bytes = graph(&[1, 3, 8, 8], relu());
    bytes.input = vec![value("pixels", Uint8, &[1, 8, 8, 3])];
    assert!(check(bytes).unwrap().contains("pixels takes Uint8"));
    let mut two = graph(&[1, 3, 8, 8], relu());
    two.input.push(value("mask", Float, &[1]));
    assert!(check(two.clone()).unwrap().contains("2 inputs (x, mask)"));
    two.initializer.push(pb::TensorProto { name: "mask".to_owned(), ..Default::default() });
    assert_eq!(check(two), None, "an input with a value is a weight");
    let strange = vec![node("Relu", &["x"], "a"), node("FlashAttention9", &["a"], "b"), node("Zap", &["b"], "y")];
    assert!(check(graph(&[1, 3, 8, 8], strange)).unwrap().contains("no operator FlashAttention9, Zap"));
    let mut foreign = node("Relu", &["x"], "y");
    foreign.domain = "com.microsoft".to_owned();
    assert!(check(graph(&[1, 3, 8, 8], vec![foreign])).unwrap().contains("com.microsoft Relu"));
    assert!(check(graph(&[1, 3, 8, 8], vec![node("Relu", &["x"], "z")])).unwrap().contains("output y"));
    let mut none = graph(&[1, 3, 8, 8], relu());
    none.input.clear();
    assert!(check(none).unwrap().contains("no input"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn damaged_files_are_errors_and_nothing_worse(at: prop::sample::Index, change in 1u8.., cut: prop::sample::Index) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.onnx");
        let mut bytes = fs::read(data("tiny.onnx")).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        fs::write(&path, &bytes).unwrap();
        // Another weight, or another letter of a name, is no damage that anyone could see.
        let _ = open(&path, Settings::default());
        bytes.truncate(cut.index(bytes.len()));
        fs::write(&path, &bytes).unwrap();
        prop_assert!(open(&path, Settings::default()).is_err());
    }

    #[test]
    fn any_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.onnx");
        fs::write(&path, &bytes).unwrap();
        prop_assert!(BackboneFile::read(&path).is_err());
    }
}

#[test]
fn the_size_of_an_open_input_is_a_setting() {
    let declared = Declared { sizes: vec![None, Some(3), None, None], ..Declared::default() };
    let input = Input::resolve(&declared, &Settings { size: Some(6), ..Settings::default() }).unwrap();
    let backbone = engine::prepare(
        &tract_onnx::onnx(),
        &model(graph(&[-1, 3, -1, -1], vec![node("GlobalAveragePool", &["x"], "y")])),
        "",
        &input,
    );
    assert_eq!(backbone.unwrap().extract(&[&[124; 108]]).unwrap().len(), 3);
}
