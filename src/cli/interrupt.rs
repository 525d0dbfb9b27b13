//! SIGTERM and SIGINT end a training at once, but never in the middle of writing a file.
//!
//! It must not know what is written.

use std::io;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::signal::unix::{SignalKind, signal};

/// What a shell says of a process that a signal ended is this plus the signal's number.
const SIGNALLED: i32 = 128;

/// Holds the end off while a file is written.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    writing: Arc<Mutex<()>>,
}

impl Interrupt {
    /// From now on SIGTERM ends the process with exit status 143, and SIGINT with 130.
    ///
    /// # Errors
    /// Where the system has no room for a thread that waits for them.
    pub fn catch() -> io::Result<Interrupt> {
        let interrupt = Interrupt::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut interrupted) = {
            let _here = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let writing = Arc::clone(&interrupt.writing);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let number = runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
                    _ = interrupted.recv() => SignalKind::interrupt().as_raw_value(),
                }
            });
            // Whoever writes finishes first, and nobody begins after.
            let _nobody_writes = writing.lock().unwrap_or_else(PoisonError::into_inner);
            process::exit(SIGNALLED + number);
        })?;
        Ok(interrupt)
    }

    /// Holds the end off for as long as the answer lives: for writing a file, not for more.
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
