//! How numbers and times are written for people. Pure.

use crate::domain::stamp::Timestamp;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// `98.56 %`
pub fn percent(value: f64) -> String {
    format!("{:.2} %", value * 100.0)
}

/// A moment: for machines, and how long ago it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// RFC 3339, UTC.
    pub exact: String,
    /// `3 min ago`
    pub ago: String,
}

/// Writes a moment, seen from `now`.
pub fn moment(at: Timestamp, now: Timestamp) -> Moment {
    let exact = SystemTime::UNIX_EPOCH + Duration::from_millis(at.0);
    let exact = humantime::format_rfc3339_seconds(exact).to_string();
    let ago = if at > now {
        format!("in {}", span(at.0 - now.0))
    } else {
        match (now.0 - at.0) / 1000 {
            0..5 => "just now".to_owned(),
            _ => format!("{} ago", span(now.0 - at.0)),
        }
    };
    Moment { exact, ago }
}

/// The largest unit of a time span in milliseconds.
fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How long something took: `0.8 s`, `1 min 20 s`.
pub fn took(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..10 => format!("{:.1} s", milliseconds as f64 / 1000.0),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `1.5 KiB`
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 || unit == "GiB" {
            let digits = usize::from(unit != "bytes" && value < 100.0);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    String::new()
}

/// `12,345`
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 image`, `12 images`
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// The `points` of a line through values, in a box of 120 by 32 with a margin of 3.
pub fn sparkline(values: &[f64]) -> String {
    let (low, high) =
        values.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let (width, height, margin) = (114.0, 26.0, 3.0);
    let step = width / (values.len().max(2) - 1) as f64;
    let range = if high > low { high - low } else { 1.0 };
    let mut points = String::new();
    for (at, value) in values.iter().enumerate() {
        let (x, y) = (margin + step * at as f64, margin + height * (1.0 - (value - low) / range));
        // Writing to a string does not fail.
        let _ = write!(points, "{}{x:.1},{y:.1}", if at == 0 { "" } else { " " });
    }
    points
}

/// Which of ten shades a value has between the lowest and the highest.
pub fn shade(value: f64, low: f64, high: f64) -> u8 {
    if high <= low {
        return 9;
    }
    ((value - low) / (high - low) * 9.0).round().clamp(0.0, 9.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!((count(0), count(999), count(1000)), ("0".into(), "999".into(), "1,000".into()));
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!((bytes(1), bytes(1536), bytes(300 << 20)), ("1 bytes".into(), "1.5 KiB".into(), "300 MiB".into()));
        assert_eq!((took(840), took(80_000)), ("0.8 s".into(), "1 min 20 s".into()));
        assert_eq!(moment(Timestamp(1000), Timestamp(200_000)).ago, "3 min ago");
        assert_eq!(moment(Timestamp(90_000), Timestamp(0)).ago, "in 1 min");
        assert_eq!((shade(0.5, 0.5, 0.5), shade(0.0, 0.0, 1.0), shade(1.0, 0.0, 1.0)), (9, 0, 9));
        assert_eq!(sparkline(&[0.0, 1.0]), "3.0,29.0 117.0,3.0");
    }
}
