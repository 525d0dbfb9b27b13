//! What a backbone's input is: size, planes, layout and normalisation; and how a picture becomes one.
//!
//! The graph says some of it, the file's metadata and the user's settings say the rest. Where two of them speak they have
//! to agree: a normalisation that is not the one of pre-training costs accuracy and shows nowhere. This module must not
//! know ONNX.

use super::error::BackboneError;
use crate::image::Channels;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Mean and standard deviation of ImageNet's channels, on a scale of 0 to 1: what torchvision and timm train with.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// The same for grey pictures: the luminance of those colours.
const IMAGENET_GREY: (f32, f32) = (0.459, 0.226);
/// The side where neither the graph, the file nor the settings give one, in pixels: half the usual, a fifth of the time.
const USUAL_SIDE: u32 = 96;
/// The largest side, in pixels.
const MAX_SIDE: u32 = 1024;
/// The largest batch that a graph may be made for.
const MAX_BATCH: u64 = 64;

/// A backbone file and what the user says about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The ONNX file.
    pub file: PathBuf,
    /// Pixels a side.
    pub size: Option<u32>,
    /// Mean of each channel, on a scale of 0 to 1.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of each channel, on a scale of 0 to 1.
    pub std: Option<Vec<f32>>,
}

impl Settings {
    /// The environment variables by which a child is told them.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("TRAINYARD_BACKBONE", self.file.clone().into_os_string())];
        variables.extend(self.size.map(|size| ("TRAINYARD_BACKBONE_SIZE", size.to_string().into())));
        for (name, values) in [("TRAINYARD_BACKBONE_MEAN", &self.mean), ("TRAINYARD_BACKBONE_STD", &self.std)] {
            let text = |values: &Vec<f32>| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
            variables.extend(values.as_ref().map(|values| (name, text(values).into())));
        }
        variables
    }
}

/// What a file says about its input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// The input's sizes; `None` is one that is chosen when the network runs.
    pub sizes: Vec<Option<u64>>,
    /// Metadata of the file.
    pub metadata: BTreeMap<String, String>,
}

/// Order of the axes behind the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Layout {
    /// Planes, rows, columns: PyTorch.
    Nchw,
    /// Rows, columns, planes: TensorFlow.
    Nhwc,
}

/// The input of a backbone, complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Pixels a side.
    pub side: u32,
    /// Order of the axes.
    pub layout: Layout,
    /// Pictures that the graph takes at once, at least 1.
    pub batch: usize,
    /// Mean of each channel (1 or 3), on a scale of 0 to 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, on a scale of 0 to 1, above 0.
    pub std: Vec<f32>,
}

impl Input {
    /// Brings together what the graph, the metadata (`trainyard.size`, `.layout`, `.mean`, `.std`) and the settings say.
    ///
    /// # Errors
    /// If the input is no square picture of 1 or 3 planes, or if two of them disagree.
    pub fn resolve(declared: &Declared, settings: &Settings) -> Result<Input, BackboneError> {
        let bad = |reason: String| BackboneError::unusable(&settings.file, reason);
        let [batch, second, third, fourth] = declared.sizes[..] else { return Err(bad(not_a_picture(declared))) };
        let layout = match declared.get("layout") {
            Some("NCHW") => Layout::Nchw,
            Some("NHWC") => Layout::Nhwc,
            Some(other) => return Err(bad(format!("its layout is {other:?}; NCHW and NHWC are known"))),
            None if is_planes(second) || (second.is_none() && !is_planes(fourth)) => Layout::Nchw,
            None => Layout::Nhwc,
        };
        let (planes, sides) = match layout {
            Layout::Nchw => (second, [third, fourth]),
            Layout::Nhwc => (fourth, [second, third]),
        };
        if planes.is_some() && !is_planes(planes) {
            return Err(bad(not_a_picture(declared)));
        }
        if batch.is_some_and(|batch| !(1..=MAX_BATCH).contains(&batch)) {
            return Err(bad(format!("it takes batches of {}; export it for 1 picture", shown(batch))));
        }
        let side = side(declared, settings, sides)?;
        let (mean, std) = normalisation(declared, settings, planes)?;
        let batch = batch.and_then(|batch| usize::try_from(batch).ok()).unwrap_or(1);
        Ok(Input { side, layout, batch, mean, std })
    }

    /// Whether it can be one: what a model file says is not believed.
    pub fn is_sound(&self) -> bool {
        Channels::from_count(self.mean.len()).is_some()
            && self.std.len() == self.mean.len()
            && self.mean.iter().all(|mean| mean.is_finite())
            && self.std.iter().all(|std| std.is_finite() && *std > 0.0)
            && (1..=MAX_SIDE).contains(&self.side)
            && (1..=MAX_BATCH).contains(&(self.batch as u64))
    }

    /// Colour planes.
    pub fn channels(&self) -> Channels {
        if self.mean.len() == 1 { Channels::Grey } else { Channels::Rgb }
    }

    /// Sizes of the tensor for `batch` pictures.
    pub fn shape(&self, batch: usize) -> [usize; 4] {
        let (side, planes) = (self.side as usize, self.mean.len());
        match self.layout {
            Layout::Nchw => [batch, planes, side, side],
            Layout::Nhwc => [batch, side, side, planes],
        }
    }

    /// Writes a picture (`side` x `side` pixels, planes interleaved) into its place of the tensor, normalised.
    pub fn write(&self, pixels: &[u8], place: &mut [f32]) {
        let planes = self.mean.len();
        let area = pixels.len() / planes;
        for (plane, (mean, std)) in self.mean.iter().zip(&self.std).enumerate() {
            let (scale, shift) = (1.0 / (255.0 * std), mean / std);
            let values = pixels.iter().skip(plane).step_by(planes).map(|value| f32::from(*value) * scale - shift);
            match self.layout {
                Layout::Nchw => place.iter_mut().skip(plane * area).zip(values).for_each(|(to, value)| *to = value),
                Layout::Nhwc => {
                    place.iter_mut().skip(plane).step_by(planes).zip(values).for_each(|(to, value)| *to = value);
                }
            }
        }
    }
}

impl Declared {
    fn get(&self, key: &str) -> Option<&str> {
        self.metadata.get(&format!("trainyard.{key}")).map(|value| value.trim())
    }
}

fn is_planes(size: Option<u64>) -> bool {
    matches!(size, Some(1 | 3))
}

fn shown(size: Option<u64>) -> String {
    size.map_or_else(|| "?".to_owned(), |size| size.to_string())
}

fn not_a_picture(declared: &Declared) -> String {
    let sizes: Vec<_> = declared.sizes.iter().copied().map(shown).collect();
    format!(
        "its input is [{}], which is no batch of pictures; it has to be batch x 3 x height x width, or batch x height x \
         width x 3 (1 in place of 3 for grey)",
        sizes.join(" x ")
    )
}

fn side(declared: &Declared, settings: &Settings, sides: [Option<u64>; 2]) -> Result<u32, BackboneError> {
    let bad = |reason: String| BackboneError::unusable(&settings.file, reason);
    let in_graph = match sides {
        [Some(height), Some(width)] if height != width => {
            return Err(bad(format!("its pictures are {height} x {width} pixels; only square ones can be used")));
        }
        [height, width] => height.or(width),
    };
    let in_file = declared.get("size").map(|text| {
        text.parse::<u64>().map_err(|_| bad(format!("its metadata trainyard.size is {text:?}, which is no number")))
    });
    let in_file = in_file.transpose()?;
    let given = settings.size.map(u64::from);
    let known = in_graph.or(in_file);
    if let (Some(known), Some(given)) = (known, given.filter(|given| known != Some(*given))) {
        return Err(BackboneError::Setting(format!(
            "the size of the backbone is said to be {given}, but its file says {known}; leave the size out, or export the \
             backbone for {given} pixels"
        )));
    }
    if in_graph.is_some() && in_file.is_some_and(|size| Some(size) != in_graph) {
        return Err(bad("its metadata trainyard.size differs from its input".to_owned()));
    }
    let side = known.or(given).map_or(Some(USUAL_SIDE), |side| u32::try_from(side).ok());
    side.filter(|side| (1..=MAX_SIDE).contains(side))
        .ok_or_else(|| bad(format!("its pictures are not 1 to {MAX_SIDE} pixels a side")))
}

type Values = Vec<f32>;

fn normalisation(
    declared: &Declared,
    settings: &Settings,
    planes: Option<u64>,
) -> Result<(Values, Values), BackboneError> {
    let mean = agreed(declared, settings, "mean", settings.mean.as_ref())?;
    let std = agreed(declared, settings, "std", settings.std.as_ref())?;
    let said = mean.as_ref().or(std.as_ref()).map(Vec::len).filter(|count| *count == 3);
    let planes = planes.and_then(|planes| usize::try_from(planes).ok()).or(said).unwrap_or(3);
    let (usual_mean, usual_std) = if planes == 1 {
        (vec![IMAGENET_GREY.0], vec![IMAGENET_GREY.1])
    } else {
        (IMAGENET.0.to_vec(), IMAGENET.1.to_vec())
    };
    let spread = |values: Option<Values>, usual: Values, name: &str| match values {
        None => Ok(usual),
        Some(values) if values.len() == planes => Ok(values),
        Some(values) if values.len() == 1 => Ok(vec![values[0]; planes]),
        Some(values) => Err(BackboneError::Setting(format!(
            "the {name} of the backbone has {} values; its pictures have {planes} plane(s)",
            values.len()
        ))),
    };
    let (mean, std) = (spread(mean, usual_mean, "mean")?, spread(std, usual_std, "std")?);
    if mean.iter().chain(&std).any(|value| !value.is_finite()) || std.iter().any(|std| *std <= 0.0) {
        return Err(BackboneError::Setting("the backbone's mean has to be finite, its std above 0".to_owned()));
    }
    Ok((mean, std))
}

/// What metadata and settings say of one list of numbers.
fn agreed(
    declared: &Declared,
    settings: &Settings,
    name: &str,
    given: Option<&Values>,
) -> Result<Option<Values>, BackboneError> {
    let in_file = declared.get(name).map(|text| {
        numbers(text).map_err(|_| {
            BackboneError::unusable(&settings.file, format!("its metadata trainyard.{name} is {text:?}, no numbers"))
        })
    });
    let in_file = in_file.transpose()?;
    match (in_file, given) {
        (Some(in_file), Some(given)) if in_file != *given => Err(BackboneError::Setting(format!(
            "the {name} of the backbone is said to be {given:?}, but its file says {in_file:?}; leave it out"
        ))),
        (in_file, given) => Ok(in_file.or_else(|| given.cloned())),
    }
}

/// Numbers separated by commas, such as `0.485,0.456,0.406`.
///
/// # Errors
/// If it is anything else, in words.
pub fn numbers(text: &str) -> Result<Vec<f32>, String> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    let parsed: Result<Vec<f32>, _> = text.split(',').map(|word| word.trim().parse::<f32>()).collect();
    parsed.map_err(|_| "write numbers separated by commas, such as 0.485,0.456,0.406".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn declared(sizes: &[u64], metadata: &[(&str, &str)]) -> Declared {
        let sizes = sizes.iter().map(|size| Some(*size).filter(|size| *size > 0)).collect();
        let metadata = metadata.iter().map(|(key, value)| (format!("trainyard.{key}"), (*value).to_owned())).collect();
        Declared { sizes, metadata }
    }

    fn resolve(sizes: &[u64], metadata: &[(&str, &str)], settings: Settings) -> Result<Input, String> {
        Input::resolve(&declared(sizes, metadata), &settings).map_err(|error| error.to_string())
    }

    #[test]
    fn the_graph_says_most() {
        let plain = |sizes: &[u64]| resolve(sizes, &[], Settings::default());
        let input = plain(&[1, 3, 224, 224]).unwrap();
        assert_eq!((input.side, input.layout, input.batch), (224, Layout::Nchw, 1));
        assert_eq!((&input.mean[..], &input.std[..]), (&IMAGENET.0[..], &IMAGENET.1[..]));
        assert_eq!(plain(&[0, 160, 160, 3]).unwrap().layout, Layout::Nhwc);
        assert_eq!(plain(&[8, 1, 28, 28]).unwrap().mean, [IMAGENET_GREY.0]);
        assert_eq!(plain(&[8, 1, 28, 28]).unwrap().batch, 8);
        assert_eq!(plain(&[0, 0, 0, 0]).unwrap(), plain(&[1, 3, 96, 96]).unwrap());
        assert_eq!(plain(&[0, 0, 0, 3]).unwrap().layout, Layout::Nhwc);
        assert!(plain(&[1, 3, 224]).unwrap_err().contains("[1 x 3 x 224]"));
        assert!(plain(&[1, 4, 64, 64]).unwrap_err().contains("no batch of pictures"));
        assert!(plain(&[1, 3, 64, 32]).unwrap_err().contains("64 x 32"));
        assert!(plain(&[1, 3, 4096, 4096]).unwrap_err().contains("1024"));
        assert!(plain(&[4096, 3, 64, 64]).unwrap_err().contains("4096"));
    }

    #[test]
    fn metadata_and_settings_say_the_rest_and_have_to_agree() {
        let metadata = [("size", "64"), ("mean", "0.5, 0.5,0.5"), ("std", "[0.25]"), ("layout", "NHWC")];
        let input = resolve(&[0, 0, 0, 0], &metadata, Settings::default()).unwrap();
        assert_eq!((input.side, input.layout), (64, Layout::Nhwc));
        assert_eq!((&input.mean[..], &input.std[..]), (&[0.5; 3][..], &[0.25; 3][..]));
        let settings = Settings { size: Some(48), mean: Some(vec![0.0]), ..Settings::default() };
        let input = resolve(&[1, 3, 0, 0], &[], settings.clone()).unwrap();
        assert_eq!((input.side, &input.mean[..]), (48, &[0.0; 3][..]));
        assert!(resolve(&[1, 3, 64, 64], &[], settings.clone()).unwrap_err().contains("file says 64"));
        assert!(resolve(&[1, 3, 0, 0], &[("mean", "0.1")], settings.clone()).unwrap_err().contains("leave it out"));
        assert!(resolve(&[1, 3, 64, 64], &[("size", "32")], Settings::default()).unwrap_err().contains("differs"));
        for (key, value) in
            [("std", "0"), ("std", "0.1,0.1"), ("mean", "nan"), ("mean", "x"), ("size", "big"), ("layout", "CHW")]
        {
            assert!(resolve(&[1, 3, 0, 0], &[(key, value)], Settings::default()).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn settings_survive_the_environment() {
        let settings = Settings {
            file: "/x/y.onnx".into(),
            size: Some(64),
            mean: Some(vec![0.485, 1.0, 1e-9]),
            std: Some(vec![0.1]),
        };
        let variables: BTreeMap<_, _> = settings.variables().into_iter().collect();
        let text = |name: &str| variables[name].to_str().unwrap();
        assert_eq!((text("TRAINYARD_BACKBONE"), text("TRAINYARD_BACKBONE_SIZE")), ("/x/y.onnx", "64"));
        assert_eq!(numbers(text("TRAINYARD_BACKBONE_MEAN")).ok(), settings.mean);
        assert_eq!(numbers(text("TRAINYARD_BACKBONE_STD")).ok(), settings.std);
        assert_eq!(Settings { file: "x".into(), ..Settings::default() }.variables().len(), 1);
    }

    #[test]
    fn pictures_are_normalised_and_laid_out() {
        let mut input = Input { side: 2, layout: Layout::Nchw, batch: 1, mean: vec![0.0, 0.5, 1.0], std: vec![1.0; 3] };
        let pixels = [0, 0, 0, 255, 255, 255, 0, 0, 0, 0, 0, 0];
        let mut place = [9.0; 12];
        input.write(&pixels, &mut place);
        assert_eq!(place, [0.0, 1.0, 0.0, 0.0, -0.5, 0.5, -0.5, -0.5, -1.0, 0.0, -1.0, -1.0]);
        input.layout = Layout::Nhwc;
        input.write(&pixels, &mut place);
        assert_eq!(place[..6], [0.0, -0.5, -1.0, 1.0, 0.5, 0.0]);
    }

    proptest! {
        #[test]
        fn whatever_a_file_says_gives_a_sound_input_or_an_error(
            sizes in prop::collection::vec(prop::option::of(0u64..5000), 0..6),
            texts in prop::collection::vec("[-0-9., a-zA-Z\\[\\]]{0,12}", 4),
        ) {
            let keys = ["size", "mean", "std", "layout"];
            let metadata = keys.iter().zip(texts).map(|(key, text)| (format!("trainyard.{key}"), text)).collect();
            if let Ok(input) = Input::resolve(&Declared { sizes, metadata }, &Settings::default()) {
                prop_assert!(input.is_sound());
            }
        }
    }
}
