//! How activations lie in memory: NHWC, channels padded to whole blocks, with a border of zeros where a convolution reads
//! beyond the picture.
//!
//! It must not know what the numbers are.

use super::kernels::LANES;
use std::ops::Range;

/// Rows, columns and channels of a picture or an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

/// One picture or activation in memory: `[rows][columns][pitch]`, of which the middle is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// What is used of it.
    pub extent: Extent,
    /// Numbers from one position to the next: the channels and their padding.
    pub pitch: usize,
    /// Rows above and columns before the first one that is used; as many or more follow the last.
    pub border: usize,
    /// Rows with their border.
    pub rows: usize,
    /// Columns with their border.
    pub columns: usize,
}

impl Plane {
    /// Channels padded to whole blocks, no border.
    pub fn blocks(extent: Extent) -> Plane {
        let pitch = extent.channels.next_multiple_of(LANES);
        Plane { extent, pitch, border: 0, rows: extent.height, columns: extent.width }
    }

    /// Channels without padding, no border.
    pub fn narrow(extent: Extent) -> Plane {
        Plane { pitch: extent.channels, ..Plane::blocks(extent) }
    }

    /// With a border of one position, and one more behind an odd number of rows or columns, so that every 4 x 4 window
    /// that begins at an even place lies within.
    pub fn bordered(self) -> Plane {
        let Extent { height, width, .. } = self.extent;
        Plane { border: 1, rows: height.next_multiple_of(2) + 2, columns: width.next_multiple_of(2) + 2, ..self }
    }

    /// Numbers from one row to the next.
    pub fn row(&self) -> usize {
        self.columns * self.pitch
    }

    /// Numbers in one picture: whole blocks, so that pictures begin on a cache line.
    pub fn size(&self) -> usize {
        (self.rows * self.row()).next_multiple_of(LANES)
    }

    /// Where a position begins, seen from the beginning of the picture.
    pub fn at(&self, y: usize, x: usize) -> usize {
        (y + self.border) * self.row() + (x + self.border) * self.pitch
    }
    /// Where the image with that number lies.
    pub fn image(&self, number: usize) -> Range<usize> {
        number * self.size()..(number + 1) * self.size()
    }
}

/// Where the same numbers of some images lie in two planes of one extent and pitch, run by run: rows, or everything at
/// once where neither has a border.
pub fn runs(left: Plane, right: Plane, images: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let Extent { height, width, .. } = left.extent;
    let count = if left == right { 1 } else { images * height };
    (0..count).map(move |run| {
        if left == right {
            return (0..images * left.size(), 0..images * left.size());
        }
        let row = |plane: Plane| {
            let begin = run / height * plane.size() + plane.at(run % height, 0);
            begin..begin + width * plane.pitch
        };
        (row(left), row(right))
    })
}
