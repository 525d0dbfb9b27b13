//! Whether mirrored pictures still show what their labels say.
//!
//! Letters and arrows do not, cats and circles do. The pictures tell: if a mirrored picture's nearest neighbour carries the
//! right label as often as that of the picture itself, mirroring changes nothing that the labels are about. Where
//! neighbours do not tell the classes apart at all, nothing is known and nothing is mirrored. It must not know files,
//! networks or training.

/// The most pictures that are compared with each other.
const SAMPLE: usize = 400;
/// Pictures are compared at this size, in pixels a side.
const SIDE: usize = 8;
const CELLS: usize = SIDE * SIDE;

/// A picture reduced to grey cells, without its mean: how light or dark it is as a whole says little.
type Sketch = [i32; CELLS];

/// Whether the pictures of `count` training images, `picture(at)` its pixels and its class, may be mirrored.
///
/// A picture is compared to the others by the correlation of their 8 x 8 grey cells. Mirroring is right if the nearest
/// neighbour finds the class better than chance by three standard deviations, and at most one standard deviation more
/// pictures lose their class by mirroring than win it.
pub(super) fn keeps_classes<'a>(
    side: usize,
    channels: usize,
    count: usize,
    picture: impl Fn(usize) -> (&'a [u8], u16),
) -> bool {
    let sample = (0..count).step_by(count.div_ceil(SAMPLE).max(1));
    let (mut classes, mut sketches) = (Vec::with_capacity(SAMPLE), Vec::with_capacity(SAMPLE));
    for at in sample {
        let (pixels, class) = picture(at);
        classes.push(class);
        sketches.push(sketch(pixels, side, channels));
    }
    let norms: Vec<f64> = sketches.iter().map(|sketch| f64::from(product(sketch, sketch)).sqrt()).collect();
    let (mut hits, mut lost, mut won) = (0u32, 0u32, 0u32);
    for (at, own) in sketches.iter().enumerate() {
        let finds = |sketch: &Sketch| {
            let mut best = (f64::NEG_INFINITY, None);
            for (other, class) in classes.iter().enumerate().filter(|(other, _)| *other != at) {
                let likeness = f64::from(product(sketch, &sketches[other])) / norms[other].max(1.0);
                if likeness > best.0 {
                    best = (likeness, Some(*class));
                }
            }
            best.1 == Some(classes[at])
        };
        let (plain, mirrored) = (finds(own), finds(&mirror(own)));
        hits += u32::from(plain);
        lost += u32::from(plain && !mirrored);
        won += u32::from(mirrored && !plain);
    }
    let images = classes.len() as f64;
    let largest = (0..=classes.iter().copied().max().unwrap_or(0))
        .map(|class| classes.iter().filter(|other| **other == class).count())
        .max();
    let chance = largest.unwrap_or(0) as f64 / images.max(1.0);
    let known = f64::from(hits) > images * chance + 3.0 * (images * chance * (1.0 - chance)).sqrt();
    known && f64::from(lost) - f64::from(won) <= f64::from(lost + won).sqrt()
}

fn product(a: &Sketch, b: &Sketch) -> i32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn mirror(sketch: &Sketch) -> Sketch {
    std::array::from_fn(|at| sketch[at / SIDE * SIDE + (SIDE - 1 - at % SIDE)])
}

/// The mean of each cell, all planes together, in quarters of a grey level, less the mean of all.
fn sketch(pixels: &[u8], side: usize, channels: usize) -> Sketch {
    let range = |cell: usize| {
        let begin = (cell * side / SIDE).min(side - 1);
        begin..((cell + 1) * side / SIDE).max(begin + 1)
    };
    let cells: Sketch = std::array::from_fn(|at| {
        let (mut sum, mut count) = (0i32, 0);
        for y in range(at / SIDE) {
            for x in range(at % SIDE) {
                for value in &pixels[(y * side + x) * channels..][..channels] {
                    sum += i32::from(*value);
                    count += 1;
                }
            }
        }
        4 * sum / count
    });
    let mean = cells.iter().sum::<i32>() / CELLS as i32;
    cells.map(|cell| cell - mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::nn::rng::Rng;

    /// Pictures of 12 x 12 pixels with a little noise, `light(class, x, y)` says where they are light.
    fn answer(classes: u16, light: impl Fn(u16, usize, usize) -> bool) -> bool {
        let mut rng = Rng::new(3, 9);
        let pictures: Vec<(Vec<u8>, u16)> = (0..120)
            .map(|number| {
                let class = number % classes;
                let pixel = |at: usize| if light(class, at % 12, at / 12) { 180 } else { 50 };
                ((0..144).map(|at| pixel(at) + rng.below(40) as u8).collect(), class)
            })
            .collect();
        keeps_classes(12, 1, pictures.len(), |at| (&pictures[at].0, pictures[at].1))
    }

    #[test]
    fn what_is_the_same_in_the_mirror_may_be_mirrored() {
        // Light above, below, and in the middle.
        assert!(answer(3, |class, _, y| y / 4 == usize::from(class)));
    }

    #[test]
    fn what_the_mirror_turns_into_another_class_may_not() {
        assert!(!answer(2, |class, x, _| (x < 6) == (class == 0)));
        // One class of four pairs up with nothing, but is not itself in the mirror either.
        assert!(!answer(4, |class, x, y| if class == 3 { x < y } else { y / 4 == usize::from(class) }));
    }

    #[test]
    fn nothing_is_known_of_pictures_that_tell_nothing() {
        assert!(!answer(2, |_, _, _| true));
        assert!(!keeps_classes(8, 1, 0, |_| (&[], 0)));
    }
}
