//! The durable queue's one master: it settles what ended, claims what is next, and hands jobs to the executor.
//!
//! Everything that happened since the last look goes into one transaction together with the next claims, so a slot
//! costs one write: kill -9 can undo neither a result once its slot is used again, nor a claim once its child starts. A
//! power cut may undo the last few milliseconds of both, which nobody was shown; those runs run again. What a full disk
//! does not take is kept and handed in again. It waits for messages and otherwise sleeps. Knows the store and the
//! executor's trait; not processes, not HTTP.

mod handle;
mod settle;
#[cfg(test)]
mod tests;

pub use handle::{Handle, Message, Scheduled};

use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::{ModelId, RunId};
use crate::domain::job::{Job, MemoryWait, Room, RunEvent, Sharing};
use crate::domain::stamp::{Clock, Timestamp};
use crate::executor::Executor;
use crate::store::queue::{self, Band};
use crate::store::{Store, Tx};
use settle::{Ended, Settlement};
use std::sync::Arc;

/// How long a server has to stay up before it tries again what it went down under twice: its owner gets time to
/// look, and a server that is killed from outside does not blame its runs.
pub const SUSPECT_DELAY_MS: u64 = 10_000;

/// How long to wait before looking again whether a full disk has room.
const ROOM_DELAY_MS: u64 = 15_000;

/// How long to wait before looking again whether the machine has memory, where no job ends meanwhile.
const MEMORY_DELAY_MS: u64 = 500;

/// How long to wait before handing in again what a full disk did not take.
const AGAIN_MS: u64 = 1_000;

/// A place at which tests can pull the plug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Nothing is written yet.
    BeforeCommit,
    /// Written, and nobody told.
    AfterCommit,
    /// Jobs are started.
    AfterDispatch,
}

/// Says whether to stop dead at a point.
pub type Probe = Box<dyn FnMut(Point) -> bool + Send>;

/// What the scheduler is made of.
pub struct Parts {
    /// Where runs are kept.
    pub store: Store,
    /// Who carries them out.
    pub executor: Arc<dyn Executor>,
    /// Which runs may share a job.
    pub sharing: Arc<dyn Sharing>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How many jobs run at once.
    pub concurrency: usize,
}

/// What the scheduler remembers between looks; everything else is in the store.
#[derive(Debug, Clone, Copy)]
struct Memory {
    /// Slots without a job.
    free: usize,
    /// The model that had the last turn.
    last_model: Option<ModelId>,
    /// True while a suspect runs alone.
    suspect_runs: bool,
    /// True once nothing more is to be started.
    stopping: bool,
}

/// The scheduler. [`tick`](Self::tick) is one step; a thread calls it, or a test does.
pub struct Scheduler {
    parts: Parts,
    memory: Memory,
    booted_at: Timestamp,
    /// What the disk did not take yet.
    unwritten: Vec<Ended>,
    /// True while what an unclean end left is not settled.
    is_unrecovered: bool,
    /// When to look again though no message came.
    look_again_at: Option<Timestamp>,
    /// What the next job waits for, where that is memory.
    waits: Option<MemoryWait>,
    /// True once the log says that jobs wait for memory.
    told: bool,
    probe: Probe,
}

impl Scheduler {
    /// A scheduler at rest.
    pub fn new(parts: Parts, probe: Option<Probe>) -> Self {
        let booted_at = parts.clock.now();
        let memory = Memory { free: parts.concurrency, last_model: None, suspect_runs: false, stopping: false };
        let probe = probe.unwrap_or_else(|| Box::new(|_| false));
        Self {
            parts,
            memory,
            booted_at,
            unwritten: Vec::new(),
            is_unrecovered: false,
            look_again_at: None,
            waits: None,
            told: false,
            probe,
        }
    }

    /// Settles what an unclean end left behind: runs that had a slot go back to the queue, or are held responsible.
    /// Returns how many there were.
    ///
    /// # Errors
    /// What the store says; a full disk is tried again with the next step.
    pub fn recover(&mut self) -> Result<usize> {
        let now = self.parts.clock.now();
        let recovered = self.parts.store.settle(move |tx| settle::recover(tx, now)).wait();
        self.is_unrecovered = recovered.as_ref().is_err_and(is_full);
        recovered
    }

    /// True once nothing more is started and every slot is free.
    pub fn is_drained(&self) -> bool {
        self.memory.stopping && self.memory.free == self.parts.concurrency
    }

    /// What the next job waits for, where it could have a slot but the machine has no memory for it.
    pub fn waits_for_memory(&self) -> Option<MemoryWait> {
        self.waits
    }

    /// Milliseconds until the next look that nobody asks for.
    pub fn look_again_in_ms(&self) -> Option<u64> {
        let now = self.parts.clock.now().0;
        self.look_again_at.map(|at| at.0.saturating_sub(now))
    }

    /// One step: settles what the messages report, claims for the free slots, starts what was claimed.
    ///
    /// # Errors
    /// What the store says, unless that is that the disk is full; then nothing was written and nothing started.
    pub fn tick(&mut self, messages: Vec<Message>) -> Result<Step> {
        let mut settlement = Settlement { endings: std::mem::take(&mut self.unwritten), ..Settlement::default() };
        let mut memory = self.memory;
        for message in messages {
            match message {
                Message::Wake => {}
                Message::Event(RunEvent::SlotFree) => {
                    memory.free = (memory.free + 1).min(self.parts.concurrency);
                    memory.suspect_runs = false;
                }
                Message::Event(RunEvent::Ended { run, attempt, ending, log }) => {
                    settlement.endings.push(Ended { run, attempt, ending, log });
                }
                Message::Cancel { run, actor, answer } => settlement.cancels.push((run, actor, answer)),
                Message::Stop => {
                    if !memory.stopping {
                        self.parts.executor.stop();
                    }
                    memory.stopping = true;
                }
            }
        }
        if (self.probe)(Point::BeforeCommit) {
            return Ok(Step::Crashed);
        }
        let committed = self.commit(&mut settlement, memory);
        if committed.is_ok() && (self.probe)(Point::AfterCommit) {
            return Ok(Step::Crashed);
        }
        let (claimed, cancelled) = match committed {
            Ok(done) => done,
            Err(error) => {
                // The slots are free whatever the disk says; what they did is still leased and comes back at boot.
                self.memory = memory;
                settlement.answer(Err(error.clone()));
                if !is_full(&error) {
                    return Err(error);
                }
                self.unwritten = settlement.endings;
                self.look_again_at = Some(Timestamp(self.parts.clock.now().0 + AGAIN_MS));
                return Ok(Step::Waiting);
            }
        };
        self.is_unrecovered = false;
        self.memory = claimed.memory;
        self.look_again_at = claimed.look_again_at;
        self.waits = claimed.waits;
        self.tell();
        for run in cancelled {
            self.parts.executor.cancel(run);
        }
        settlement.answer(Ok(()));
        for job in claimed.jobs {
            self.parts.executor.start(job);
        }
        if (self.probe)(Point::AfterDispatch) {
            return Ok(Step::Crashed);
        }
        Ok(Step::Done)
    }

    /// Says in the log that jobs wait for memory, once; the queue says it at any time.
    fn tell(&mut self) {
        if let Some(MemoryWait { needed_bytes, available_bytes }) = self.waits.filter(|_| !self.told) {
            self.told = true;
            tracing::info!(needed_bytes, available_bytes, "runs wait until the machine has memory for them");
        }
    }

    /// How many jobs may be started. Where nothing runs one always may, so that nothing waits for ever.
    fn room(&self, memory: Memory) -> Room {
        if memory.stopping || memory.free == 0 {
            return Room::ANY;
        }
        let room = self.parts.executor.room(memory.free);
        let least = usize::from(memory.free == self.parts.concurrency);
        Room { jobs: room.jobs.max(least), ..room }
    }

    fn commit(&self, settlement: &mut Settlement, memory: Memory) -> Result<(Claimed, Vec<RunId>)> {
        let now = self.parts.clock.now();
        let (endings, cancels) = settlement.writes();
        let is_unrecovered = self.is_unrecovered;
        let plan = Plan {
            memory,
            concurrency: self.parts.concurrency,
            has_room: self.parts.store.has_room(),
            room: self.room(memory),
            suspects_from: Timestamp(self.booted_at.0 + SUSPECT_DELAY_MS),
            now,
            sharing: Arc::clone(&self.parts.sharing),
        };
        let somebody_waits = !cancels.is_empty();
        let handed_in = Arc::clone(&endings);
        let write = move |tx: &mut Tx<'_>| {
            if is_unrecovered {
                settle::recover(tx, now)?;
            }
            settle::end(tx, &handed_in, now)?;
            let (cancelled, refusals) = settle::cancel(tx, &cancels, now)?;
            Ok((plan.claim(tx)?, cancelled, refusals))
        };
        let store = &self.parts.store;
        let committed = if somebody_waits { store.settle(write).wait() } else { store.note(write) };
        if committed.as_ref().is_err_and(is_full) {
            settlement.endings = Arc::unwrap_or_clone(endings);
        }
        let (claimed, cancelled, refusals) = committed?;
        settlement.refusals = refusals;
        Ok((claimed, cancelled))
    }
}

fn is_full(error: &Error) -> bool {
    error.code == Code::DiskFull
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// As it should.
    Done,
    /// The disk was full; what was to be written is kept for the next step.
    Waiting,
    /// A probe pulled the plug.
    Crashed,
}

struct Plan {
    memory: Memory,
    concurrency: usize,
    /// On the disk.
    has_room: bool,
    /// In memory.
    room: Room,
    suspects_from: Timestamp,
    now: Timestamp,
    sharing: Arc<dyn Sharing>,
}

struct Claimed {
    memory: Memory,
    jobs: Vec<Job>,
    look_again_at: Option<Timestamp>,
    waits: Option<MemoryWait>,
}

impl Plan {
    /// Takes runs for the free slots.
    fn claim(mut self, tx: &mut Tx<'_>) -> Result<Claimed> {
        let mut jobs = Vec::new();
        let (mut look_again_at, mut waits) = (None, None);
        if queue::is_paused(tx)? {
            return Ok(Claimed { memory: self.memory, jobs, look_again_at, waits });
        }
        while self.memory.free > 0 && !self.memory.stopping && !self.memory.suspect_runs {
            let Some((waiting, band)) = self.next(tx, &mut look_again_at)? else { break };
            if jobs.len() >= self.room.jobs {
                look_again_at = Some(Timestamp(self.now.0 + MEMORY_DELAY_MS));
                waits = self.room.wait;
                break;
            }
            let Some(job) = settle::claim(tx, waiting.run, self.sharing.as_ref(), self.now)? else { break };
            self.memory.free -= 1;
            self.memory.last_model = Some(waiting.model);
            self.memory.suspect_runs = band == Band::Suspect;
            jobs.push(job);
        }
        Ok(Claimed { memory: self.memory, jobs, look_again_at, waits })
    }

    /// The run whose turn it is; a suspect only once nothing else waits or runs, and not right after boot.
    fn next(&self, tx: &Tx<'_>, look_again_at: &mut Option<Timestamp>) -> Result<Option<(queue::Waiting, Band)>> {
        let ordinary = queue::next(tx, Band::Ordinary, self.memory.last_model)?;
        let suspect = match ordinary {
            Some(_) => None,
            None => queue::next(tx, Band::Suspect, None)?,
        };
        if (ordinary.is_some() || suspect.is_some()) && !self.has_room {
            *look_again_at = Some(Timestamp(self.now.0 + ROOM_DELAY_MS));
            return Ok(None);
        }
        if let Some(waiting) = ordinary {
            return Ok(Some((waiting, Band::Ordinary)));
        }
        let Some(waiting) = suspect else { return Ok(None) };
        if self.now < self.suspects_from {
            *look_again_at = Some(self.suspects_from);
            return Ok(None);
        }
        let is_alone = self.memory.free == self.concurrency;
        Ok(is_alone.then_some((waiting, Band::Suspect)))
    }
}
