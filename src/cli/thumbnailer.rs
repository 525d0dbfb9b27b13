//! `thumbnailer`: the server's child that makes small pictures of images, one after the other.
//!
//! It decodes what strangers sent, so it does nothing else. It must not know who asks or why.

use super::{CliError, predictor};
use crate::allocator;
use crate::domain::thumbnail::Thumbnail;
use crate::executor::thumbnailer::protocol::{read_question, write_answer};
use crate::image::{decode, thumbnail};
use std::fs;
use std::io;
use std::path::Path;

/// Runs the subcommand.
///
/// # Errors
/// If the server goes away in the midst of a question, or an image's file cannot be read: the server hears that the child
/// is gone, and does not take the image for a damaged one.
pub fn run() -> Result<(), CliError> {
    allocator::keep_small();
    predictor::limit_memory()?;
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    while let Some(path) = read_question(&mut stdin)? {
        write_answer(&mut stdout, &made_of(&path)?)?;
    }
    Ok(())
}

fn made_of(path: &Path) -> Result<Thumbnail, CliError> {
    let bytes = fs::read(path)?;
    Ok(match decode(&bytes).and_then(thumbnail) {
        Ok(picture) => Thumbnail::Picture(picture),
        Err(error) => Thumbnail::Undecodable(error.to_string()),
    })
}
