//! What systemd is told where it started the server: ready, stopping, and, for its watchdog, still at work.
//!
//! Does nothing where nobody asks. Knows the protocol's words; what "at work" means is the caller's.

use sd_notify::NotifyState;
use std::future::Future;
use std::time::Duration;

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told how the server is");
    }
}

/// The server serves.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// The server ends, which takes a moment.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Says twice in every watchdog interval that the server is at work, as long as `probe` comes to an end; for ever, where
/// there is no watchdog.
pub async fn watch<F: Future>(mut probe: impl FnMut() -> F) {
    let Some(interval) = sd_notify::watchdog_enabled().map(|interval| interval / 2) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(interval.max(Duration::from_millis(10))).await;
        probe().await;
        tell(NotifyState::Watchdog);
    }
}
