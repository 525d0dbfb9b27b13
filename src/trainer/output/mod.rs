//! What a training or test script printed becomes points and a result.
//!
//! Feed one [`OutputParser`] per stream with chunks cut anywhere; points come back as they are
//! printed, and [`combine`] settles the result of both streams. The contract is section 1 of
//! the design's contracts page; this is how its holes are filled:
//!
//! - **Where accuracies are read.** In a dictionary or JSON object that a line ends with (or that
//!   was printed over several indented lines), by its keys; in other text, where a number stands
//!   right behind the name. See `names` for names that count and `scan` for what may
//!   stand between. `Accuracy: 9910/10000 (99%)` is the quotient, `Accuracy (%): 93.2` a
//!   percentage, a list the history of epochs, of which the last counts.
//! - **Which one wins.** The last line that carries one; on that line validation over test over
//!   plain over training accuracy, and among equals the first. A last accuracy of NaN or out of
//!   range fails, whatever was printed before. `accuracy: None` in a dictionary fails, too.
//! - **A bare number** counts as the last line only (blank lines aside). Out of range, it is taken
//!   for something else, such as seconds, if an accuracy was named anywhere.
//! - **`acc`** is heeded when `accuracy` never gave a result, and only behind `:` or `=`.
//! - **Points** (`step`) are results only when the same stream has no other; standard
//!   error is asked after that.
//! - **Predictions**: `label`, `probabilities` and `output` are taken from the latest line
//!   that has them, the result's or another, `label: cat` on a line of its own included.
//! - **Prose** such as "an accuracy of the sensors is 3 mm", "target accuracy: 0.9" or
//!   `accuracy > 0.9` carries none.
//!
//! Any bytes are survivable: lines, nesting, names, points and tables are capped, and the work
//! is proportional to the input. This module must not know about processes or runs.

mod lexer;
mod lines;
mod literal;
mod names;
mod object;
mod outcome;
mod parser;
mod scan;
#[cfg(test)]
mod tests;
mod value;

pub use lines::{MAX_LINE, readable};
pub use names::MAX_NAME;
pub use outcome::{MAX_JOB_RUNS, NO_ACCURACY, Outcome, Point, Prediction, Printed, ScriptResult, combine};
pub use parser::{MAX_POINTS, OutputParser};
pub use scan::MAX_METRICS;
