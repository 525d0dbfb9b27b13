//! A backbone's file: read, named by its content, and checked before tract sees it.
//!
//! It must not know how a network runs, data sets, caches or heads.

use super::engine::{self, Backbone};
use super::error::BackboneError;
use super::input::{Declared, Input};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::type_proto::Value as Type;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto};
use tract_onnx::prelude::{Framework, TractResult};

/// The most that a backbone may weigh, its weights in files of their own included, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// A file that has been read, and whose input and operators are known.
pub struct BackboneFile {
    path: PathBuf,
    hash: blake3::Hash,
    declared: Declared,
    proto: ModelProto,
    weights: Weights,
}

/// Weights in files of their own, by their canonical path: what PyTorch's newer exporter writes to `<name>.onnx.data`.
#[derive(Clone, Default)]
pub(super) struct Weights(HashMap<PathBuf, Vec<u8>>);

impl BackboneFile {
    /// Reads `path`, and the files beside it that it keeps weights in.
    ///
    /// # Errors
    /// If it cannot be read, is too large, is no ONNX file, takes no picture of floats or has an operator that tract lacks.
    pub fn read(path: &Path) -> Result<BackboneFile, BackboneError> {
        let bad = |reason: String| BackboneError::unusable(path, reason);
        let mut room = MAX_BYTES;
        let bytes = read(path, path, &mut room)?;
        let proto = tract_onnx::onnx().proto_model_for_read(&mut &bytes[..]);
        let proto = proto.map_err(|_| bad("it is no ONNX file, or a damaged one".to_owned()))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        drop(bytes);
        let Some(graph) = proto.graph.as_ref().filter(|graph| !graph.node.is_empty()) else {
            return Err(bad("it is no ONNX file, or one without a network".to_owned()));
        };
        let sizes = inspect(graph).map_err(bad)?;
        let metadata = proto.metadata_props.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
        let declared = Declared { sizes, metadata };
        let mut weights = Weights::default();
        for (location, file) in external(graph, path)? {
            let bytes = read(path, &file, &mut room)?;
            hasher.update(location.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
            weights.0.insert(file, bytes);
        }
        Ok(BackboneFile { path: path.to_owned(), hash: hasher.finalize(), declared, proto, weights })
    }

    /// BLAKE3 of the file, and of the files that it keeps weights in.
    pub fn hash(&self) -> blake3::Hash {
        self.hash
    }

    /// What it says about its input.
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// Makes the network ready to run.
    ///
    /// # Errors
    /// If tract cannot run it, or it does not answer with one list of features for a picture.
    pub fn prepare(self, input: &Input) -> Result<Backbone, BackboneError> {
        let folder = self.path.parent().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
        let onnx = tract_onnx::Onnx { provider: std::sync::Arc::new(self.weights), ..tract_onnx::onnx() };
        // Sizes that a file notes beside its operators are often those of another batch; the operators give them anew.
        let onnx = onnx.with_ignore_value_info(true);
        engine::prepare(&onnx, &self.proto, &folder, input)
            .map_err(|reason| BackboneError::unusable(&self.path, reason))
    }
}

impl ModelDataResolver for Weights {
    fn read_bytes_from_path(
        &self,
        buffer: &mut Vec<u8>,
        path: &Path,
        offset: usize,
        length: Option<usize>,
    ) -> TractResult<()> {
        let bytes = self.0.get(path).and_then(|bytes| bytes.get(offset..));
        let part = bytes.and_then(|bytes| length.map_or(Some(bytes), |length| bytes.get(..length)));
        let part = part.ok_or_else(|| std::io::Error::other("a weight lies beyond the end of its file"))?;
        buffer.extend_from_slice(part);
        Ok(())
    }
}

/// Reads a file of the backbone `path`, as far as there is room left for it.
fn read(path: &Path, file: &Path, room: &mut u64) -> Result<Vec<u8>, BackboneError> {
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|opened| opened.take(*room + 1).read_to_end(&mut bytes));
    opened.map_err(|cause| BackboneError::Io { path: file.to_owned(), cause })?;
    *room = room.checked_sub(bytes.len() as u64).ok_or_else(|| {
        let reason = format!("it is larger than {} MiB; take a smaller network, such as a MobileNet", MAX_BYTES >> 20);
        BackboneError::unusable(path, reason)
    })?;
    Ok(bytes)
}

/// Sizes of the one input of a graph that has nothing which tract could not run.
pub(super) fn inspect(graph: &GraphProto) -> Result<Vec<Option<u64>>, String> {
    let sizes = sizes(input(graph)?)?;
    check_operators(graph)?;
    check_outputs(graph)?;
    Ok(sizes)
}

/// The one input that is no weight.
fn input(graph: &GraphProto) -> Result<&ValueInfoProto, String> {
    let weights: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<_> = graph.input.iter().filter(|input| !weights.contains(input.name.as_str())).collect();
    match inputs[..] {
        [input] => Ok(input),
        [] => Err("it has no input".to_owned()),
        _ => {
            let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
            Err(format!("it has {} inputs ({}); a backbone has one, the picture", names.len(), names.join(", ")))
        }
    }
}

/// Sizes of the input, which has to be floats.
fn sizes(input: &ValueInfoProto) -> Result<Vec<Option<u64>>, String> {
    let Some(Type::TensorType(tensor)) = input.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Err(format!("its input {} is no tensor", input.name));
    };
    if tensor.elem_type != DataType::Float as i32 {
        let kind =
            DataType::try_from(tensor.elem_type).map_or("an unknown type".to_owned(), |kind| format!("{kind:?}"));
        return Err(format!("its input {} takes {kind}; it has to be a picture of 32-bit floats", input.name));
    }
    let sizes = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|size| match size.value {
        Some(Size::DimValue(size)) => u64::try_from(size).ok().filter(|size| *size > 0),
        _ => None,
    });
    Ok(sizes.collect())
}

/// Operators that tract lacks are named all at once, and before anything is built.
fn check_operators(graph: &GraphProto) -> Result<(), String> {
    let known = tract_onnx::onnx().op_register.0;
    let standard = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let mut unknown = BTreeSet::new();
    for node in &graph.node {
        if !standard(&node.domain) {
            unknown.insert(format!("{} {}", node.domain, node.op_type));
        } else if !known.contains_key(&node.op_type) {
            unknown.insert(node.op_type.clone());
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = unknown.into_iter().collect();
    Err(format!(
        "tract 0.23 has no operator {}; export the network without it, or take another, such as a MobileNet",
        names.join(", ")
    ))
}

/// The first output is the features; that somebody makes it is taken for granted later.
fn check_outputs(graph: &GraphProto) -> Result<(), String> {
    let made: BTreeSet<&str> = graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    match graph.output.iter().find(|output| !made.contains(output.name.as_str())) {
        None if graph.output.is_empty() => Err("it has no output".to_owned()),
        None => Ok(()),
        Some(output) => Err(format!("no operator makes its output {}", output.name)),
    }
}

/// Files beside `path` that hold weights: the names in the graph, and where they are.
fn external(graph: &GraphProto, path: &Path) -> Result<BTreeMap<String, PathBuf>, BackboneError> {
    let mut files = BTreeMap::new();
    let outside = graph.initializer.iter().filter(|tensor| tensor.data_location == Some(DataLocation::External as i32));
    for location in outside.flat_map(|tensor| &tensor.external_data).filter(|entry| entry.key == "location") {
        let file = path.with_file_name(&location.value);
        // Another folder's files are not read, whatever the graph says.
        if Path::new(&location.value).file_name() != Some(location.value.as_ref()) {
            let reason = format!("it keeps weights in {:?}; they have to lie beside it", location.value);
            return Err(BackboneError::unusable(path, reason));
        }
        if !files.contains_key(&location.value) {
            let found = file.canonicalize().map_err(|cause| {
                BackboneError::unusable(
                    path,
                    format!("it keeps its weights in {}: {cause}; copy that file beside it", file.display()),
                )
            })?;
            files.insert(location.value.clone(), found);
        }
    }
    Ok(files)
}
