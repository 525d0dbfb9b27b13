//! `predictor`: the server's warm child, which answers prediction after prediction with models that stay loaded.
//!
//! It prints what `test` prints, in the server's frames. It must not know who asks or why.

use super::test::Answer;
use super::{CliError, environment, line};
use crate::allocator;
use crate::domain::prediction::Image;
use crate::executor::warm::protocol::{Message, Question, read_question, write_message};
use crate::trainer::backbone::predict::Model;
use crate::trainer::classify::ClassifyError;
use crate::trainer::classify::model_file;
use crate::trainer::classify::predict::{BATCH, Picture};
use crate::trainer::nn::kernels::Isa;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most models that stay loaded.
const MODELS: usize = 4;

/// The most memory, in bytes: the largest picture that is decoded takes 256 MiB, and as much again to be turned.
const MEMORY: u64 = 1 << 30;

/// Runs the subcommand.
///
/// # Errors
/// If the server goes away in the midst of a question.
pub fn run() -> Result<(), CliError> {
    allocator::keep_small();
    limit_memory()?;
    let mut models = Models { isa: environment::isa()?, loaded: Vec::new() };
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    while let Some(question) = read_question(&mut stdin)? {
        answer(&mut models, &question, &mut stdout)?;
    }
    Ok(())
}

/// An image that needs more than its share fails alone, and does not take the machine with it.
pub(super) fn limit_memory() -> Result<(), CliError> {
    let hard = getrlimit(Resource::Data).maximum;
    let limit = hard.map_or(MEMORY, |hard| hard.min(MEMORY));
    Ok(setrlimit(Resource::Data, Rlimit { current: Some(limit), maximum: hard }).map_err(io::Error::from)?)
}

fn answer(models: &mut Models, question: &Question, to: &mut impl Write) -> Result<(), CliError> {
    let mut answers = Vec::new();
    let mut say = |number: usize, answer: Result<String, String>| {
        write_message(&mut answers, &Message::Answer(number as u8, answer))
    };
    match models.get(&question.folder) {
        Err(error) => (0..question.images.len()).try_for_each(|number| say(number, Err(error.to_string())))?,
        Ok(classifier) => {
            let (mut numbers, mut pictures) = (Vec::new(), Vec::new());
            for (number, image) in question.images.iter().enumerate() {
                write_message(to, &Message::Decoding(number as u8))?;
                to.flush()?;
                match picture(classifier, image) {
                    Ok(picture) => {
                        numbers.push(number);
                        pictures.push(picture);
                    }
                    Err(why) => say(number, Err(why))?,
                }
            }
            write_message(to, &Message::Computing)?;
            to.flush()?;
            match classifier.classify(&pictures) {
                Ok(predictions) => {
                    for (number, prediction) in numbers.into_iter().zip(predictions) {
                        say(number, Ok(line(&Answer::from(prediction))?))?;
                    }
                }
                Err(error) => numbers.into_iter().try_for_each(|number| say(number, Err(error.to_string())))?,
            }
        }
    }
    to.write_all(&answers)?;
    Ok(to.flush()?)
}

fn picture(classifier: &Model, image: &Image) -> Result<Picture, String> {
    let decoded = match image {
        Image::Bytes(bytes) => classifier.picture(bytes),
        Image::File(path) => {
            let bytes = fs::read(path).map_err(|error| format!("the image cannot be read: {error}"))?;
            classifier.picture(&bytes)
        }
    };
    decoded.map_err(|error| format!("the image cannot be read: {error}"))
}

/// The models that were asked last.
struct Models {
    isa: Isa,
    /// The one that was asked last stands last.
    loaded: Vec<Loaded>,
}

struct Loaded {
    folder: PathBuf,
    file: Identity,
    classifier: Model,
}

/// What tells a file from one that was put in its place.
#[derive(PartialEq, Eq)]
struct Identity(u64, u64, u64, i64, i64);

impl Identity {
    fn of(file: &Metadata) -> Identity {
        Identity(file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec())
    }
}

impl Models {
    fn get(&mut self, folder: &Path) -> Result<&mut Model, ClassifyError> {
        let path = model_file::path_in(folder);
        let file = fs::metadata(&path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => ClassifyError::NoModel(path.clone()),
            _ => ClassifyError::io("read the model", &path)(cause),
        })?;
        let file = Identity::of(&file);
        let known = self.loaded.iter().position(|known| known.folder == folder);
        let known = known.map(|at| self.loaded.remove(at)).filter(|known| known.file == file);
        let model = match known {
            Some(known) => known,
            None => {
                // Room is made before it is needed.
                self.loaded.drain(..self.loaded.len().saturating_sub(MODELS - 1));
                let elsewhere = environment::backbone();
                let classifier = Model::load(folder, self.isa, BATCH, elsewhere.as_deref())?;
                Loaded { folder: folder.to_owned(), file, classifier }
            }
        };
        self.loaded.push(model);
        let last = self.loaded.len() - 1;
        Ok(&mut self.loaded[last].classifier)
    }
}
