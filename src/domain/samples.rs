//! Images that come with the program, for whoever wants to see it at work, as a trait: the command line has them, the
//! services take them in.

use super::error::Result;

/// One image, as a user would upload it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its class.
    pub label: String,
    /// What its file is called.
    pub file_name: String,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Where they are.
pub trait Samples: Send + Sync {
    /// What a model of them is called.
    fn model(&self) -> &'static str;

    /// What a dataset of them is called.
    fn dataset(&self) -> &'static str;

    /// All of them; takes some milliseconds.
    ///
    /// # Errors
    /// None in practice: they are part of the program.
    fn images(&self) -> Result<Vec<Sample>>;
}
