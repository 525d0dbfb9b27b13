//! The questions that a child has, and what it says about them. It must not know processes.

use super::protocol::{Inbox, Message};
use super::queue::Waiting;
use crate::domain::error::{Code, Error, Result};
use crate::domain::prediction::Prediction;
use crate::executor::predictor::prediction;
use crate::trainer::output::{Outcome, OutputParser, Printed, combine};
use std::io;

/// A batch that is with a child.
pub struct Batch {
    questions: Vec<Option<Waiting>>,
    inbox: Inbox,
    /// The image that the child works on, where it works on one alone.
    pub current: Option<usize>,
}

impl Batch {
    /// Questions with the numbers that they have for the child.
    pub fn new(batch: Vec<Waiting>) -> Self {
        Self { questions: batch.into_iter().map(Some).collect(), inbox: Inbox::default(), current: None }
    }

    /// Takes what the child said; true once everybody is answered.
    pub fn take(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.inbox.feed(bytes);
        while let Some(message) = self.inbox.next_message()? {
            match message {
                Message::Decoding(number) => self.current = Some(usize::from(number)),
                Message::Computing => self.current = None,
                Message::Answer(number, answer) => {
                    let question = self.questions.get_mut(usize::from(number)).and_then(Option::take);
                    let question = question.ok_or_else(|| io::Error::other("it answered what nobody asked"))?;
                    question.answer(answer.map_err(|why| failed(&why)).and_then(|line| understood(&line)));
                }
            }
        }
        Ok(self.questions.iter().all(Option::is_none))
    }

    /// Those without an answer, with their numbers.
    pub fn left(self) -> impl Iterator<Item = (usize, Waiting)> {
        self.questions.into_iter().enumerate().filter_map(|(number, waiting)| Some((number, waiting?)))
    }
}

/// Reads the line as that of any test command.
fn understood(line: &str) -> Result<Prediction> {
    let mut output = OutputParser::new();
    output.feed(line.as_bytes());
    match combine(&output.finish().1, &Printed::default()) {
        Outcome::Result(result) => Ok(prediction(*result)),
        other => Err(failed(&other.failure_message().unwrap_or_default())),
    }
}

/// A failure of the test command, which a warm child stands for.
pub fn failed(why: &str) -> Error {
    Error::new(Code::PredictionFailed, format!("the test command gave no answer: {why}"))
}
