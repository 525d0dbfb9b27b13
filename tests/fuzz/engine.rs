//! Runs a target on damaged examples: each case is a real example with a few edits, which shrink when one fails.
//!
//! In the normal test command a target runs a fixed number of cases that are the same each time. With
//! `TRAINYARD_FUZZ_SECONDS` (set by `scripts/fuzz`) it goes on for as long, with other choices each time.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The longest case, in bytes.
const LONGEST: usize = 64 << 10;

/// A case that takes longer is a failure, where time is looked at.
const SLOW: Duration = Duration::from_secs(5);

/// What most targets may ask of the system while they go on, in MiB: a length field that is believed asks for more.
pub const ROOM: u64 = 512;

/// Values that lengths and counts go wrong at.
const NUMBERS: [u64; 12] =
    [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 32, i64::MAX as u64, u64::MAX - 7, u64::MAX];

/// The same for targets that open stores, each of which starts threads: their stacks and arenas stay mapped.
pub const THREADS: u64 = 2048;

/// Something that reads bytes from outside.
pub struct Target {
    /// Its name; `tests/data/fuzz/<name>/` holds more examples, such as those that failed once.
    pub name: &'static str,
    /// Cases in the normal test command.
    pub cases: u32,
    /// Real examples.
    pub examples: Vec<Vec<u8>>,
    /// What the format is made of.
    pub words: &'static [&'static str],
    /// What may be asked of the system while it goes on, in MiB.
    pub room: u64,
}

/// One change.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Word(Index, Index),
    Remove(Index, Index),
    Repeat(Index, Index, u8),
    Number(Index, Index, u8, bool),
    Graft(Index, Index, Index),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (at(), 0u8..8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (at(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at(), at()).prop_map(|(at, word)| Edit::Word(at, word)),
        (at(), at()).prop_map(|(from, to)| Edit::Remove(from, to)),
        (at(), at(), any::<u8>()).prop_map(|(from, to, times)| Edit::Repeat(from, to, times)),
        (at(), at(), 0u8..4, any::<bool>()).prop_map(|(at, number, width, big)| Edit::Number(at, number, width, big)),
        (at(), at(), at()).prop_map(|(at, other, from)| Edit::Graft(at, other, from)),
        at().prop_map(Edit::Cut),
    ]
}

impl Target {
    fn all_examples(&self) -> Vec<Vec<u8>> {
        let mut all = self.examples.clone();
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz").join(self.name);
        let files = fs::read_dir(folder).into_iter().flatten().map(|file| fs::read(file.unwrap().path()).unwrap());
        all.extend(files);
        assert!(!all.is_empty(), "{} has no examples", self.name);
        all
    }

    fn apply(&self, bytes: &mut Vec<u8>, edit: &Edit, examples: &[Vec<u8>]) {
        let length = bytes.len();
        let place = |at: &Index| at.index(length + 1);
        let span = |from: &Index, to: &Index| {
            let (from, to) = (place(from), place(to));
            from.min(to)..from.max(to)
        };
        match edit {
            Edit::Set(at, byte) if length > 0 => bytes[at.index(length)] = *byte,
            Edit::Flip(at, bit) if length > 0 => bytes[at.index(length)] ^= 1 << bit,
            Edit::Set(..) | Edit::Flip(..) => {}
            Edit::Insert(at, new) => drop(bytes.splice(place(at)..place(at), new.iter().copied())),
            Edit::Word(at, word) if !self.words.is_empty() => {
                let word = self.words[word.index(self.words.len())];
                bytes.splice(place(at)..place(at), word.bytes());
            }
            Edit::Word(..) => {}
            Edit::Remove(from, to) => drop(bytes.drain(span(from, to))),
            Edit::Repeat(from, to, times) => {
                let span = span(from, to);
                let (end, piece) = (span.end, bytes[span].to_vec());
                let times = usize::from(*times).min(LONGEST / piece.len().max(1));
                bytes.splice(end..end, piece.repeat(times));
            }
            Edit::Number(at, number, width, big) => {
                let (number, width) = (NUMBERS[number.index(NUMBERS.len())], 1 << width);
                let new = if *big {
                    number.to_be_bytes()[8 - width..].to_vec()
                } else {
                    number.to_le_bytes()[..width].to_vec()
                };
                let from = place(at);
                bytes.splice(from..(from + width).min(length), new);
            }
            Edit::Graft(at, other, from) => {
                let other = &examples[other.index(examples.len())];
                bytes.truncate(place(at));
                bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
            Edit::Cut(at) => bytes.truncate(place(at)),
        }
        bytes.truncate(LONGEST);
    }
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// What this process has asked of the system at the most, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Where inputs that fail are kept.
fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a target. `check` panics where something does not hold.
#[track_caller]
pub fn run(target: &Target, check: impl Fn(&[u8])) {
    if let Some(file) = variable::<String>("TRAINYARD_FUZZ_INPUT") {
        return check(&fs::read(file).unwrap());
    }
    let examples = target.all_examples();
    let strategy = (any::<Index>(), vec(edit(), 0..6)).prop_map(|(first, edits)| {
        let mut bytes = examples[first.index(examples.len())].clone();
        edits.iter().for_each(|edit| target.apply(&mut bytes, edit, &examples));
        bytes
    });
    let seconds: Option<f64> = variable("TRAINYARD_FUZZ_SECONDS");
    let seed: u64 = variable("TRAINYARD_FUZZ_SEED").unwrap_or(1);
    let (began, before, last) = (Instant::now(), peak(), folder().join(format!("{}.last", target.name)));
    let (cases, slowest) = (Cell::new(0_u64), Cell::new(Duration::ZERO));
    let keeper = seconds.map(|_| fs::File::create(&last).unwrap());
    let one = |bytes: &[u8]| {
        if let Some(file) = &keeper {
            // For an end that leaves no time to say anything, such as a stack that overflows.
            file.write_all_at(bytes, 0).and_then(|()| file.set_len(bytes.len() as u64)).unwrap();
        }
        let begin = Instant::now();
        check(bytes);
        let took = begin.elapsed();
        cases.set(cases.get() + 1);
        slowest.set(slowest.get().max(took));
        assert!(seconds.is_none() || took < SLOW, "it took {took:?}");
    };
    examples.iter().for_each(|example| one(example));
    for batch in 0_u64.. {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&batch.to_le_bytes());
        let config =
            Config { cases: target.cases, failure_persistence: None, max_shrink_time: 20_000, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let outcome = runner.run(&strategy, |bytes| {
            one(&bytes);
            Ok(())
        });
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(why, bytes)) => fail(target.name, &why.to_string(), &bytes),
            Err(TestError::Abort(why)) => panic!("{}: {why}", target.name),
        }
        if seconds.is_none_or(|seconds| began.elapsed().as_secs_f64() >= seconds) {
            break;
        }
    }
    if seconds.is_some() {
        let (took, grown) = (began.elapsed().as_secs_f64(), peak().saturating_sub(before));
        println!(
            "fuzz {}: {} cases in {took:.0} s, {:.0} cases/s, the slowest {:.1} ms, {} MiB more asked for, seed {seed}",
            target.name,
            cases.get(),
            cases.get() as f64 / took,
            slowest.get().as_secs_f64() * 1e3,
            grown >> 10,
        );
        assert!(grown >> 10 < target.room, "{} asked for {} MiB", target.name, grown >> 10);
        fs::remove_file(&last).unwrap();
    }
}

fn fail(name: &str, why: &str, bytes: &[u8]) -> ! {
    let file = folder().join(format!("{name}-{:08x}.bin", crc32fast::hash(bytes)));
    fs::write(&file, bytes).unwrap();
    panic!(
        "fuzz {name} failed: {why}\ninput ({} bytes): {}\nkept as {}\nagain: scripts/fuzz --input {} {name}",
        bytes.len(),
        bytes[..bytes.len().min(400)].escape_ascii(),
        file.display(),
        file.display(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_found_and_made_small() {
        let target =
            Target { name: "found", cases: 3000, examples: vec![b"length=12;".to_vec()], words: &["%"], room: ROOM };
        let failed = std::panic::catch_unwind(|| run(&target, |bytes| assert!(!bytes.contains(&b'%'))));
        let words = failed.unwrap_err().downcast::<String>().unwrap();
        assert!(words.contains("kept as"), "{words}");
        let kept = words.split("kept as ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        // The example with one word put in.
        assert!(fs::read(kept).unwrap().len() <= 11);
        fs::remove_file(kept).unwrap();
    }
}
