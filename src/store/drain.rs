//! Brings what is shown into sled, on a thread of its own: whoever writes is answered meanwhile.
//!
//! What is under way here is in the write-ahead log until a checkpoint, which waits for all of it. sled may put a freed
//! part of its file to new use once it has written what replaces it, synced or not, so little may lie there unsynced.
//! Knows sled's file; not who writes.

use super::disk::Trouble;
use super::gate::Gate;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What may lie in sled's file unsynced, in bytes of keys and values.
const UNSYNCED: usize = 64 << 10;

/// The thread, and the way to have it all done at once. Ends with the value.
#[derive(Debug)]
pub(super) struct Drain {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

/// Wakes the thread. Holds nothing of sled's.
#[derive(Debug, Default)]
pub(super) struct Bell {
    call: Mutex<Call>,
    called: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Call {
    #[default]
    Wait,
    Work,
    End,
}

#[derive(Debug)]
struct Shared {
    gate: Gate,
    turn: Mutex<Turn>,
}

/// Held by whoever writes to sled.
#[derive(Debug)]
struct Turn {
    db: sled::Db,
    log: File,
    /// Bytes that sled took since its file was synced.
    unsynced: usize,
    /// Why it takes no more, until somebody asked.
    trouble: Option<Trouble>,
}

impl Drain {
    /// Starts the thread for a database, its file, and what readers see of it.
    ///
    /// # Errors
    /// Where the thread cannot be made.
    pub fn start(db: sled::Db, log: File, gate: Gate) -> io::Result<Self> {
        let turn = Mutex::new(Turn { db, log, unsynced: 0, trouble: None });
        let shared = Arc::new(Shared { gate, turn });
        let bell = Arc::new(Bell::default());
        let thread = std::thread::Builder::new().name("drain".to_owned()).spawn({
            let (shared, bell) = (Arc::clone(&shared), Arc::clone(&bell));
            move || {
                while bell.wait() {
                    shared.bring(&mut shared.turn());
                }
            }
        })?;
        Ok(Self { shared, bell, thread: Some(thread) })
    }

    /// What to ring when something was shown.
    pub fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// Why sled takes no more, where that is news.
    pub fn trouble(&self) -> Option<Trouble> {
        self.shared.turn().trouble.take()
    }

    /// Brings all that is shown into sled and makes it durable there.
    ///
    /// # Errors
    /// What sled or the disk said.
    pub fn finish(&self) -> Result<(), Trouble> {
        let mut turn = self.shared.turn();
        // What was under way, then what was shown since.
        self.shared.bring(&mut turn);
        self.shared.bring(&mut turn);
        match turn.trouble.take() {
            Some(trouble) => Err(trouble),
            None => self.shared.refused(turn.sync()),
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.bell.call(Call::End);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that brings changes into sled panicked");
        }
    }
}

impl Bell {
    /// There is something to do.
    pub fn ring(&self) {
        self.call(Call::Work);
    }

    fn call(&self, call: Call) {
        let mut current = self.lock();
        if *current != Call::End {
            *current = call;
        }
        drop(current);
        self.called.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do; false at the end.
    fn wait(&self) -> bool {
        let mut call = self.lock();
        while *call == Call::Wait {
            call = self.called.wait(call).unwrap_or_else(PoisonError::into_inner);
        }
        let goes_on = *call == Call::Work;
        if goes_on {
            *call = Call::Wait;
        }
        goes_on
    }
}

impl Turn {
    fn sync(&mut self) -> Result<(), Trouble> {
        self.db.flush().map_err(Trouble::of_sled)?;
        self.log.sync_data().map_err(Trouble::Failed)?;
        self.unsynced = 0;
        Ok(())
    }
}

impl Shared {
    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings what there is into sled. Where that goes wrong, sled gets nothing more, and readers see what they saw.
    fn bring(&self, turn: &mut Turn) {
        let Some((tree, writes)) = self.gate.drain() else { return };
        let brought = writes.iter().try_for_each(|(key, write)| {
            turn.unsynced += key.len() + write.as_ref().map_or(0, |value| value.len());
            match write {
                Some(value) => tree.insert(key, value),
                None => tree.remove(key),
            }
            .map(drop)
        });
        let brought = brought.map_err(Trouble::of_sled).and_then(|()| match turn.unsynced {
            ..UNSYNCED => Ok(()),
            _ => turn.sync(),
        });
        match self.refused(brought) {
            Ok(()) => self.gate.drained(),
            Err(trouble) => turn.trouble = Some(trouble),
        }
    }

    fn refused<T>(&self, outcome: Result<T, Trouble>) -> Result<T, Trouble> {
        outcome.inspect_err(|_| self.gate.fall_behind())
    }
}
