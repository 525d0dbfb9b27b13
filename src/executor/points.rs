//! The points of a run's metrics, a JSON object a line: `{"step":200,"metrics":{"loss":0.41}}`.

use crate::trainer::output::Point;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// The most that is kept, in bytes; later points of a script that prints without measure are dropped.
const CAP: usize = 8 << 20;

/// Appends points as they come.
#[derive(Debug)]
pub(super) struct PointsWriter {
    path: PathBuf,
    file: Option<File>,
    room: usize,
}

impl PointsWriter {
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, room: CAP }
    }

    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    pub fn write(&mut self, points: &[Point]) -> io::Result<()> {
        let mut lines = Vec::new();
        for point in points {
            let metrics: serde_json::Map<String, serde_json::Value> = point
                .metrics
                .iter()
                // JSON has no NaN: such a value is a gap in its curve.
                .map(|(name, value)| (name.clone(), serde_json::Value::from(*value)))
                .collect();
            let line = serde_json::json!({ "step": point.step, "metrics": metrics });
            writeln!(lines, "{line}")?;
        }
        if lines.is_empty() || lines.len() > self.room {
            return Ok(());
        }
        self.room -= lines.len();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create(&self.path)?),
        };
        file.write_all(&lines)
    }
}
