//! The curves of a run's metrics, made small enough to draw.
//!
//! A curve of more points than wanted is cut into stretches of equally many, and of each stretch the first, the lowest, the
//! highest and the last point are kept: M4 aggregation (Jugel et al., VLDB 2014), which draws the same line at that many
//! pixels. The points are read once and as a stream, so a long run takes no more memory than a short one.

use super::Services;
use crate::domain::account::{Permit, View};
use crate::domain::error::{Error, Result};
use crate::domain::ids::RunId;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// The most metrics whose curves are told at once.
const MOST_METRICS: usize = 64;

/// What is kept of a stretch: its first, lowest, highest and last point.
const KEPT: usize = 4;

/// A step and a value.
type Point = (f64, f64);

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The metric.
    pub metric: String,
    /// How many points there are in all.
    pub count: u64,
    /// Those that are kept, in order.
    pub points: Vec<Point>,
}

/// The curves of a run, and how many bytes of its points they take in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curves {
    /// By metric.
    pub curves: Vec<Curve>,
    /// Where a stream of its points goes on.
    pub offset: u64,
}

#[derive(Deserialize)]
struct Line {
    step: f64,
    metrics: BTreeMap<String, Option<f64>>,
}

impl Services {
    /// The curves of a run, or one of them, of at most `most` points each.
    ///
    /// # Errors
    /// `not_found` for the run.
    pub async fn curves(&self, permit: Permit<View>, id: RunId, metric: Option<String>, most: usize) -> Result<Curves> {
        let path = self.run_points(permit, id)?;
        let read = tokio::task::spawn_blocking(move || read(&path, metric.as_deref(), most));
        read.await.map_err(Error::internal)?.map_err(Error::internal)
    }
}

fn read(path: &Path, only: Option<&str>, most: usize) -> io::Result<Curves> {
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Curves::default()),
        Err(error) => return Err(error),
    };
    let (mut sketches, mut offset, mut text) = (BTreeMap::new(), 0, Vec::new());
    loop {
        text.clear();
        let read = reader.read_until(b'\n', &mut text)?;
        // The rest of the last line is still to come.
        if text.pop() != Some(b'\n') {
            break;
        }
        offset += read as u64;
        // We wrote it; a disk that was full may have cut one short.
        let Ok(line) = serde_json::from_slice::<Line>(&text) else { continue };
        for (metric, value) in line.metrics {
            let Some(value) = value.filter(|_| only.is_none_or(|only| only == metric)) else { continue };
            if sketches.len() >= MOST_METRICS && !sketches.contains_key(&metric) {
                continue;
            }
            sketches.entry(metric).or_insert_with(|| Sketch::new(most)).push((line.step, value));
        }
    }
    let curve = |(metric, sketch): (String, Sketch)| Curve { metric, count: sketch.count, points: sketch.points() };
    Ok(Curves { curves: sketches.into_iter().map(curve).collect(), offset })
}

/// What is kept of a stretch of points.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    first: Point,
    lowest: Point,
    highest: Point,
    last: Point,
    length: u64,
}

impl Stretch {
    fn of(point: Point) -> Self {
        Self { first: point, lowest: point, highest: point, last: point, length: 1 }
    }

    fn join(&mut self, next: &Self) {
        if next.lowest.1 < self.lowest.1 {
            self.lowest = next.lowest;
        }
        if next.highest.1 > self.highest.1 {
            self.highest = next.highest;
        }
        self.last = next.last;
        self.length += next.length;
    }

    fn points(&self) -> impl Iterator<Item = Point> {
        let (low, high) = (self.lowest, self.highest);
        let middle = if low.0 <= high.0 { [low, high] } else { [high, low] };
        let mut all = vec![self.first, middle[0], middle[1], self.last];
        all.dedup();
        all.into_iter()
    }
}

/// A curve while it is read.
struct Sketch {
    stretches: Vec<Stretch>,
    /// How many points a stretch takes.
    length: u64,
    /// How many stretches there may be.
    room: usize,
    count: u64,
}

impl Sketch {
    fn new(most: usize) -> Self {
        // As long as all fit, each is a stretch of its own.
        Self { stretches: Vec::new(), length: 1, room: most.max(KEPT), count: 0 }
    }

    fn push(&mut self, point: Point) {
        self.count += 1;
        let next = Stretch::of(point);
        match self.stretches.last_mut().filter(|last| last.length < self.length) {
            Some(last) => last.join(&next),
            None => self.stretches.push(next),
        }
        if self.stretches.len() > self.room {
            self.coarsen();
        }
    }

    /// Makes longer stretches of those that are there.
    fn coarsen(&mut self) {
        if self.length == 1 {
            self.room = (self.room / KEPT).max(1);
        }
        while self.stretches.len() > self.room {
            self.length *= 2;
            let pairs = self.stretches.chunks(2).map(|pair| {
                let mut joined = pair[0];
                pair.iter().skip(1).for_each(|next| joined.join(next));
                joined
            });
            self.stretches = pairs.collect();
        }
    }

    fn points(&self) -> Vec<Point> {
        self.stretches.iter().flat_map(Stretch::points).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write;

    fn sketched(values: &[f64], most: usize) -> Vec<Point> {
        let mut sketch = Sketch::new(most);
        values.iter().enumerate().for_each(|(step, value)| sketch.push((step as f64, *value)));
        assert_eq!(sketch.count, values.len() as u64);
        sketch.points()
    }

    proptest! {
        #[test]
        fn few_are_kept_and_the_extremes_among_them(values in proptest::collection::vec(-1e6f64..1e6, 1..3000), most in 4usize..300) {
            let kept = sketched(&values, most);
            prop_assert!(kept.len() <= most, "{} of {most}", kept.len());
            prop_assert!(kept.windows(2).all(|pair| pair[0].0 < pair[1].0));
            prop_assert!(kept.iter().all(|(step, value)| values[*step as usize] == *value));
            let extreme = |pick: fn(f64, f64) -> f64| {
                (values.iter().copied().reduce(pick), kept.iter().map(|point| point.1).reduce(pick))
            };
            let (lowest, highest) = (extreme(f64::min), extreme(f64::max));
            prop_assert_eq!(lowest.0, lowest.1);
            prop_assert_eq!(highest.0, highest.1);
            prop_assert_eq!((kept[0].0, kept[kept.len() - 1].0), (0.0, (values.len() - 1) as f64));
            if values.len() <= most {
                prop_assert_eq!(kept.len(), values.len());
            } else {
                prop_assert!(kept.len() * 20 >= most.min(values.len()), "{} of {most}", kept.len());
            }
        }
    }

    #[test]
    fn curves_are_read_from_whole_lines_and_have_gaps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("points");
        assert_eq!(read(&path, None, 10).unwrap(), Curves::default());
        let mut text = String::new();
        for step in 1..=3 {
            let loss = if step == 2 { "null".to_owned() } else { format!("0.{step}") };
            writeln!(text, "{{\"step\":{step},\"metrics\":{{\"loss\":{loss},\"accuracy\":0.5}}}}").unwrap();
        }
        let whole = text.len() as u64;
        text.push_str("{\"step\":4,");
        std::fs::write(&path, text).unwrap();
        let found = read(&path, None, 10).unwrap();
        assert_eq!((found.offset, found.curves.len()), (whole, 2));
        let found = read(&path, Some("loss"), 10).unwrap();
        let loss = Curve { metric: "loss".to_owned(), count: 2, points: vec![(1.0, 0.1), (3.0, 0.3)] };
        assert_eq!(found.curves, [loss]);
    }
}
