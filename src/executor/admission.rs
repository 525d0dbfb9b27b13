//! Admission by memory: how many more jobs the machine can hold.
//!
//! A job counts with what it is expected to want, less what it holds already, beside what the machine has left. What to
//! expect is learned from the jobs before it, which all run the same command; until one has been seen, a script is taken
//! for a large one. A job that was admitted and finds no memory after all is killed by the kernel, and tried again alone.
//! Knows nothing of runs.

use super::process::Meter;
use crate::domain::job::{MemoryWait, Room};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What always stays free, for the server and its predictions.
const RESERVE: u64 = 48 << 20;

/// How many jobs are remembered.
const REMEMBERED: usize = 32;

/// How long a reading of the machine's memory holds.
const READING_HOLDS: Duration = Duration::from_millis(100);

/// A job that has run for so long is taken to hold nearly all that it ever will.
const SETTLED: Duration = Duration::from_secs(5);

/// What a job is taken to have held that ended before anybody looked.
const UNSEEN: u64 = 64 << 20;

/// What could be had now, in bytes; nothing where the system does not say.
pub type Available = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// Says how many more jobs there is memory for.
pub struct Admission {
    available: Available,
    /// What to expect of the first job.
    first: u64,
    /// The most that any job may hold.
    most: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: Vec<Admitted>,
    number: u64,
    /// What the last jobs held at the most.
    held: VecDeque<u64>,
    reading: Option<(Instant, u64)>,
}

struct Admitted {
    number: u64,
    since: Instant,
    expected: u64,
    meter: Arc<Meter>,
    /// True once another job ran beside it.
    had_company: bool,
}

impl Admitted {
    fn is_settled(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= SETTLED && self.meter.most() > 0
    }

    /// What it may still take.
    fn outstanding(&self, now: Instant) -> u64 {
        let expected = if self.is_settled(now) { with_margin(self.meter.most()) } else { self.expected };
        expected.saturating_sub(self.meter.now())
    }
}

fn with_margin(held: u64) -> u64 {
    held + held / 8 + (8 << 20)
}

impl Admission {
    /// Admits by what `available` says; `first` is what to expect of a job before one has been seen, and no job
    /// holds more than `most`.
    pub fn new(available: Available, first: u64, most: u64) -> Self {
        Self { available, first: first.max(1), most: most.max(1), state: Mutex::default() }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more jobs there is memory for, `most` at the most.
    pub fn room(&self, most: usize) -> Room {
        let mut state = self.locked();
        let now = Instant::now();
        let fresh = state.reading.filter(|(at, _)| now.duration_since(*at) < READING_HOLDS);
        let Some(available) = fresh.map(|(_, bytes)| bytes).or_else(|| (self.available)()) else { return Room::ANY };
        if fresh.is_none() {
            state.reading = Some((now, available));
        }
        let outstanding = state.jobs.iter().map(|job| job.outstanding(now)).sum::<u64>();
        let free = available.saturating_sub(RESERVE).saturating_sub(outstanding);
        let needed = self.expected(&state, now);
        let jobs = usize::try_from(free / needed).unwrap_or(usize::MAX).min(most);
        let wait = (jobs < most).then_some(MemoryWait { needed_bytes: needed, available_bytes: free });
        Room { jobs, wait }
    }

    /// What the next job is expected to hold.
    fn expected(&self, state: &State, now: Instant) -> u64 {
        let running = state.jobs.iter().filter(|job| job.is_settled(now)).map(|job| job.meter.most());
        let seen = state.held.iter().copied().chain(running).max();
        seen.map_or(self.first, with_margin).min(self.most)
    }

    /// A job is there.
    pub fn enter(self: &Arc<Self>, meter: Arc<Meter>) -> Ticket {
        let mut state = self.locked();
        let now = Instant::now();
        let expected = self.expected(&state, now);
        let number = state.number;
        state.number += 1;
        let had_company = !state.jobs.is_empty();
        state.jobs.iter_mut().for_each(|job| job.had_company = true);
        state.jobs.push(Admitted { number, since: now, expected, meter, had_company });
        Ticket { admission: Arc::clone(self), number }
    }

    fn leave(&self, number: u64) {
        let mut state = self.locked();
        let Some(at) = state.jobs.iter().position(|job| job.number == number) else { return };
        let Admitted { meter, expected, .. } = state.jobs.swap_remove(at);
        if !meter.has_started() {
            return;
        }
        let seen = meter.most();
        if seen > 0 || meter.has_starved() {
            // It gave back what it held, and the last reading does not know.
            state.reading = None;
        }
        let held = match (seen, meter.has_starved()) {
            (seen, true) => (expected + expected / 4).max(with_margin(seen)),
            (0, false) => UNSEEN,
            (seen, false) => seen,
        };
        state.held.push_back(held.min(self.most));
        if state.held.len() > REMEMBERED {
            state.held.pop_front();
        }
    }
}

/// A job that counts. It counts no more when this goes.
pub struct Ticket {
    admission: Arc<Admission>,
    number: u64,
}

impl Ticket {
    /// Whether any other job ran beside it.
    pub fn had_company(&self) -> bool {
        self.admission.locked().jobs.iter().any(|job| job.number == self.number && job.had_company)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    const MIB: u64 = 1 << 20;

    struct Bench {
        free: Arc<AtomicU64>,
        admission: Arc<Admission>,
    }

    impl Bench {
        fn new(free: u64) -> Self {
            let free = Arc::new(AtomicU64::new(free));
            let shown = Arc::clone(&free);
            let available: Available = Box::new(move || Some(shown.load(Ordering::Relaxed)));
            Self { free, admission: Arc::new(Admission::new(available, 1024 * MIB, 4096 * MIB)) }
        }

        /// How many of `most` are admitted with so much memory free.
        fn room(&self, free: u64, most: usize) -> usize {
            self.free.store(free, Ordering::Relaxed);
            self.admission.locked().reading = None;
            self.admission.room(most).jobs
        }

        fn enter(&self) -> (Ticket, Arc<Meter>) {
            let meter = Arc::new(Meter::default());
            meter.start();
            (self.admission.enter(Arc::clone(&meter)), meter)
        }
    }

    #[test]
    fn what_the_first_held_is_what_the_next_are_expected_to() {
        let bench = Bench::new(0);
        assert_eq!(bench.room(950 * MIB, 8), 0, "a script may want a GiB for all we know");
        let (ticket, meter) = bench.enter();
        assert_eq!(bench.room(950 * MIB, 8), 0);
        meter.see(300 * MIB);
        drop(ticket);
        assert_eq!(bench.room(950 * MIB, 8), 2);
        let wait = bench.admission.room(8).wait.unwrap();
        assert!(wait.needed_bytes >= 300 * MIB && wait.available_bytes < 950 * MIB);
        let both = (bench.enter(), bench.enter());
        assert_eq!(bench.room(950 * MIB, 8), 0, "two that hold nothing yet");
        both.0.1.see(300 * MIB);
        both.1.1.see(300 * MIB);
        assert_eq!(bench.room(350 * MIB, 8), 0, "and two that hold all they want");
        assert_eq!(bench.room(1450 * MIB, 8), 3);
        assert_eq!(bench.room(u64::MAX, 8), 8);
        assert_eq!(bench.admission.room(8).wait, None);
    }

    #[test]
    fn a_job_that_starved_is_expected_to_want_more() {
        let bench = Bench::new(0);
        for (ticket, meter) in [bench.enter(), bench.enter()] {
            meter.see(100 * MIB);
            drop(ticket);
        }
        let before = bench.admission.expected(&bench.admission.locked(), Instant::now());
        let (ticket, meter) = bench.enter();
        meter.see(90 * MIB);
        meter.starve();
        drop(ticket);
        assert!(bench.admission.expected(&bench.admission.locked(), Instant::now()) > before + before / 5);
    }

    #[test]
    fn short_jobs_are_small_and_what_never_started_says_nothing() {
        let bench = Bench::new(0);
        drop(bench.admission.enter(Arc::default()));
        assert_eq!(bench.room(950 * MIB, 8), 0);
        drop(bench.enter());
        assert_eq!(bench.room(950 * MIB, 8), 8);
    }

    #[test]
    fn company_is_remembered_by_both() {
        let bench = Bench::new(0);
        let (first, _meter) = bench.enter();
        assert!(!first.had_company());
        let (second, _meter) = bench.enter();
        drop(second);
        assert!(first.had_company());
    }

    #[test]
    fn a_machine_that_does_not_say_admits_all() {
        let admission = Arc::new(Admission::new(Box::new(|| None), 1, 1));
        assert_eq!(admission.room(3), Room::ANY);
    }

    proptest! {
        /// Jobs that want what was seen never get more than there is, however they come and go.
        #[test]
        fn what_is_promised_is_there(total in 100u64..4096, wants in 10u64..900, moves in prop::collection::vec(any::<bool>(), 1..60)) {
            let bench = Bench::new(0);
            let (ticket, meter) = bench.enter();
            meter.see(wants * MIB);
            drop(ticket);
            let mut running: Vec<(Ticket, Arc<Meter>)> = Vec::new();
            for comes in moves {
                let used = running.iter().map(|(_, meter)| meter.now()).sum::<u64>();
                let room = bench.room((total * MIB).saturating_sub(used), 4);
                for _ in 0..if comes { room } else { 0 } {
                    running.push(bench.enter());
                }
                if !comes && let Some((ticket, meter)) = running.pop() {
                    meter.see(wants * MIB);
                    drop(ticket);
                }
                if let Some((_, meter)) = running.first() {
                    meter.see(wants * MIB);
                }
                prop_assert!(running.len() as u64 * wants <= total);
            }
        }
    }
}
