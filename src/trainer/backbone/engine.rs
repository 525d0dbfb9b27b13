//! A backbone that runs: pictures in, features out, by tract.
//!
//! It must not know files or data sets.

use super::input::{Input, Layout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    Datum, InferenceFact, InferenceModelExt, IntoRunnable, IntoTValue, IntoTensor, Tensor, TractResult,
    TypedSimplePlan, tvec,
};

/// The most features.
const MAX_FEATURES: usize = 16_384;

/// A network that is ready to run.
pub struct Backbone {
    input: Input,
    plan: Arc<TypedSimplePlan>,
    /// Pictures that the plan takes at once.
    batch: usize,
    features: usize,
}

/// Builds the network for `input` and tries it once. An error is a reason in words.
pub(super) fn prepare(onnx: &Onnx, proto: &ModelProto, folder: &str, input: &Input) -> Result<Backbone, String> {
    // One picture at a time is fastest. A graph that insists on the batch it was exported for gets that.
    let first = attempt(onnx, proto, folder, input, 1);
    if first.is_err() && input.batch > 1 {
        return attempt(onnx, proto, folder, input, input.batch);
    }
    first
}

fn attempt(onnx: &Onnx, proto: &ModelProto, folder: &str, input: &Input, batch: usize) -> Result<Backbone, String> {
    // A broken graph is an error to us, but here and there an assertion in tract.
    let built = catch_unwind(AssertUnwindSafe(|| {
        let plan = build(onnx, proto, folder, input, batch)?;
        let mut backbone = Backbone { input: input.clone(), plan, batch, features: 0 };
        let output = backbone.run(&[])?;
        backbone.features = width(&output, batch, input.layout).map_err(std::io::Error::other)?.0;
        TractResult::Ok(backbone)
    }));
    match built {
        Ok(built) => built.map_err(|error| format!("{error:#}")),
        Err(_) => Err("tract cannot make sense of it".to_owned()),
    }
}

fn build(
    onnx: &Onnx,
    proto: &ModelProto,
    folder: &str,
    input: &Input,
    batch: usize,
) -> TractResult<Arc<TypedSimplePlan>> {
    let parsed = onnx.parse(proto, Some(folder))?;
    if let Some(missing) = parsed.unresolved_inputs.first() {
        return Err(std::io::Error::other(format!("nothing makes {missing}, which an operator needs")).into());
    }
    let first = parsed.model.output_outlets()?[..1].to_vec();
    let fact = InferenceFact::dt_shape(f32::datum_type(), input.shape(batch));
    parsed.model.with_input_fact(0, fact)?.with_output_outlets(&first)?.into_optimized()?.into_runnable()
}

/// Features of each picture, and how many values (rows and columns) each is the mean of.
fn width(output: &Tensor, batch: usize, layout: Layout) -> Result<(usize, usize), String> {
    let (features, area) = match (output.shape(), layout) {
        ([first, features], _) if *first == batch => (*features, 1),
        ([first, features, height, width], Layout::Nchw) if *first == batch => (*features, height * width),
        ([first, height, width, features], Layout::Nhwc) if *first == batch => (*features, height * width),
        (shape, _) => {
            return Err(format!(
                "its first output is {shape:?}; a backbone answers {batch} picture(s) with [{batch}, features], or with \
                 feature maps, whose mean is taken"
            ));
        }
    };
    if output.datum_type() != f32::datum_type() {
        return Err(format!("its first output is {:?}; features are 32-bit floats", output.datum_type()));
    }
    if !(1..=MAX_FEATURES).contains(&features) || area == 0 {
        return Err(format!("it gives {features} features; 1 to {MAX_FEATURES} can be used"));
    }
    Ok((features, area))
}

impl Backbone {
    /// Features of a picture.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Pictures that are worked on at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The features of up to [`batch`](Backbone::batch) pictures of the input's size, one after the other.
    ///
    /// # Errors
    /// What tract says.
    pub fn extract(&self, pictures: &[&[u8]]) -> Result<Vec<f32>, String> {
        let output = self.run(pictures).map_err(|error| format!("{error:#}"))?;
        let (features, area) = width(&output, self.batch, self.input.layout)?;
        let values = output.try_as_plain_ram().and_then(|view| view.as_slice::<f32>().map(<[f32]>::to_vec));
        let mut values = values.map_err(|error| format!("{error:#}"))?;
        values.truncate(pictures.len() * features * area);
        if area == 1 {
            return Ok(values);
        }
        let mean = |values: &mut dyn Iterator<Item = f32>| values.sum::<f32>() / area as f32;
        Ok(match self.input.layout {
            Layout::Nchw => values.chunks_exact(area).map(|map| mean(&mut map.iter().copied())).collect(),
            Layout::Nhwc => values
                .chunks_exact(features * area)
                .flat_map(|picture| (0..features).map(move |at| picture.iter().skip(at).step_by(features).copied()))
                .map(|mut map| mean(&mut map))
                .collect(),
        })
    }

    fn run(&self, pictures: &[&[u8]]) -> TractResult<Tensor> {
        let mut tensor = Tensor::zero::<f32>(&self.input.shape(self.batch))?;
        let mut view = tensor.try_as_plain_ram_mut()?;
        let values = view.as_slice_mut::<f32>()?;
        let size = values.len() / self.batch;
        for (picture, place) in pictures.iter().zip(values.chunks_exact_mut(size)) {
            self.input.write(picture, place);
        }
        let outputs = self.plan.run(tvec!(tensor.into_tvalue()))?;
        let output = outputs.into_iter().next().map(|output| output.into_tensor());
        output.ok_or_else(|| std::io::Error::other("it gave no output").into())
    }
}
