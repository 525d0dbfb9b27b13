//! All connections: who may have one more, who gives one up for it, and which have taken too long.
//!
//! When there are too many, a newcomer gets the place of the connection that has been idle for longest, taken from the
//! address that has the most: whoever opens thousands closes only their own. A connection whose request the server works
//! on is never closed for another. Knows addresses and what connections are at.

use super::address::AddressKey;
use super::connection::{CoarseClock, Connection, Overdue, Phase};
use super::{Proxies, Settings};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often connections are looked at, while there are any.
const TICK: Duration = Duration::from_secs(1);

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Every connection has a request in hand.
    Full,
    /// Every connection of that address has a request in hand.
    AddressFull,
}

/// What became of connections, counted.
#[derive(Debug, Default)]
pub struct Tally {
    /// Accepted.
    pub accepted: AtomicU64,
    /// Refused since all were busy.
    pub refused: AtomicU64,
    /// Refused since all of the address were busy.
    pub refused_address: AtomicU64,
    /// Closed for a newcomer.
    pub evicted: AtomicU64,
    /// Closed since nothing came.
    pub idle: AtomicU64,
    /// Closed since a head, or the rest of a body, came too slowly.
    pub slow_sender: AtomicU64,
    /// Closed since the client took nothing.
    pub slow_reader: AtomicU64,
}

/// A connection in the table.
struct Entry {
    connection: Arc<Connection>,
    key: AddressKey,
}

#[derive(Default)]
struct Table {
    /// The connections that count, by number; those that were told to go do not.
    entries: HashMap<u64, Entry>,
    by_address: HashMap<AddressKey, usize>,
    next: u64,
}

impl Table {
    fn of_address(&self, key: AddressKey) -> usize {
        self.by_address.get(&key).copied().unwrap_or(0)
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Connection>> {
        let Entry { connection, key } = self.entries.remove(&number)?;
        if let Some(count) = self.by_address.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&key);
            }
        }
        Some(connection)
    }

    /// The connection that is given up first: of the address with the most, the one that has been waited for for longest.
    fn most_idle(&self, of: Option<AddressKey>, now: u64) -> Option<u64> {
        let idle = self
            .entries
            .iter()
            .filter(|(_, entry)| of.is_none_or(|key| key == entry.key) && entry.connection.gives_way(now));
        let first = idle.max_by_key(|(number, entry)| {
            let longest = (std::cmp::Reverse(entry.connection.since()), std::cmp::Reverse(**number));
            (self.of_address(entry.key), longest)
        });
        first.map(|(number, _)| *number)
    }
}

/// All connections of a server.
pub struct Connections {
    table: Mutex<Table>,
    most: usize,
    most_per_address: usize,
    exempt_loopback: bool,
    proxies: Proxies,
    started: Instant,
    clock: Arc<CoarseClock>,
    arrival: Notify,
    /// What became of them.
    pub tally: Tally,
}

impl Connections {
    /// None yet.
    pub fn new(settings: &Settings, proxies: Proxies) -> Self {
        Self {
            table: Mutex::default(),
            most: settings.connections,
            most_per_address: settings.connections_per_address,
            exempt_loopback: settings.exempt_loopback,
            proxies,
            started: Instant::now(),
            clock: Arc::default(),
            arrival: Notify::new(),
            tally: Tally::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether many may come from there: a trusted proxy speaks for everybody behind it.
    fn is_exempt(&self, peer: IpAddr) -> bool {
        (self.exempt_loopback && peer.to_canonical().is_loopback()) || self.proxies.trusts(peer)
    }

    /// Takes a connection in, in another's place if need be.
    ///
    /// # Errors
    /// [`Refusal`] where all that it could replace are busy.
    pub fn admit(self: &Arc<Self>, peer: IpAddr, secure: bool) -> Result<Admitted, Refusal> {
        self.clock.set(self.started.elapsed().as_secs());
        let key = AddressKey::from(peer);
        let mut table = self.table();
        if !self.is_exempt(peer) && table.of_address(key) >= self.most_per_address {
            self.evict(&mut table, Some(key)).ok_or(Refusal::AddressFull).inspect_err(|_| {
                self.tally.refused_address.fetch_add(1, Relaxed);
            })?;
        } else if table.entries.len() >= self.most {
            self.evict(&mut table, None).ok_or(Refusal::Full).inspect_err(|_| {
                self.tally.refused.fetch_add(1, Relaxed);
            })?;
        }
        Ok(self.enter(&mut table, Connection::new(peer, secure, Arc::clone(&self.clock))))
    }

    /// Takes in a connection of whoever owns the data folder; it needs no place.
    pub fn admit_owner(self: &Arc<Self>) -> Admitted {
        self.clock.set(self.started.elapsed().as_secs());
        self.enter(&mut self.table(), Connection::of_owner(Arc::clone(&self.clock)))
    }

    fn enter(self: &Arc<Self>, table: &mut Table, connection: Connection) -> Admitted {
        let key = AddressKey::from(connection.peer());
        let connection = Arc::new(connection);
        let number = table.next;
        table.next += 1;
        table.entries.insert(number, Entry { connection: Arc::clone(&connection), key });
        *table.by_address.entry(key).or_default() += 1;
        if table.entries.len() == 1 {
            self.arrival.notify_one();
        }
        self.tally.accepted.fetch_add(1, Relaxed);
        Admitted { connections: Arc::clone(self), number, connection }
    }

    fn evict(&self, table: &mut Table, of: Option<AddressKey>) -> Option<()> {
        let number = table.most_idle(of, self.clock.now())?;
        if let Some(connection) = table.remove(number) {
            connection.close();
        }
        self.tally.evicted.fetch_add(1, Relaxed);
        Some(())
    }

    /// How many there are, and how many of them have a request in hand.
    pub fn count(&self) -> (usize, usize) {
        let table = self.table();
        let busy = table.entries.values().filter(|entry| entry.connection.phase() == Phase::Busy);
        (table.entries.len(), busy.count())
    }

    /// Looks at all of them once a second for as long as there are any, and waits where there are none. Has no end.
    pub async fn watch(self: Arc<Self>) {
        loop {
            if self.table().entries.is_empty() {
                self.arrival.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.clock.set(self.started.elapsed().as_secs());
            self.look();
        }
    }

    /// Closes what takes too long.
    fn look(&self) {
        let now = self.clock.now();
        for entry in self.table().entries.values() {
            if entry.connection.is_closing() {
                continue;
            }
            let Some(why) = entry.connection.overdue(now) else { continue };
            let counter = match why {
                Overdue::Idle => &self.tally.idle,
                Overdue::SlowSender => &self.tally.slow_sender,
                Overdue::SlowReader => &self.tally.slow_reader,
            };
            counter.fetch_add(1, Relaxed);
            entry.connection.close();
        }
    }
}

/// A place in the table, for as long as this lives.
pub struct Admitted {
    connections: Arc<Connections>,
    number: u64,
    connection: Arc<Connection>,
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admitted").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Admitted {
    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // One that was evicted is gone from the table already.
        self.connections.table().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::limits::client::ForwardedHeader;

    fn connections(most: usize, per_address: usize) -> Arc<Connections> {
        let settings = Settings {
            connections: most,
            connections_per_address: per_address,
            requests_per_second: 0,
            burst: 1,
            exempt_loopback: true,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
        };
        let proxies = Proxies::new(vec!["10.0.0.1/32".parse().unwrap()], ForwardedHeader::default());
        Arc::new(Connections::new(&settings, proxies))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn open(connections: &Arc<Connections>, from: &str) -> Admitted {
        let admitted = connections.admit(ip(from), false).unwrap();
        admitted.connection().open();
        admitted
    }

    #[test]
    fn an_address_closes_its_own_idle_connections_first() {
        let all = connections(100, 2);
        let oldest = open(&all, "1.1.1.1");
        let busy = open(&all, "1.1.1.1");
        busy.connection().begin(false);
        let other = open(&all, "2.2.2.2");
        let third = open(&all, "1.1.1.1");
        assert!(oldest.connection().is_closing());
        assert!(!other.connection().is_closing() && !busy.connection().is_closing());
        third.connection().begin(false);
        assert_eq!(all.admit(ip("1.1.1.1"), false).unwrap_err(), Refusal::AddressFull);
        assert_eq!(all.count(), (3, 2));
        drop(oldest);
        // It had left the table when it was told to go.
        assert_eq!(all.count(), (3, 2));
        drop(third);
        open(&all, "1.1.1.1");
    }

    #[test]
    fn one_address_cannot_shut_the_others_out() {
        let all = connections(10, 100);
        let guest = open(&all, "2.2.2.2");
        let mut crowd: Vec<Admitted> = (0..1000).map(|_| open(&all, "1.1.1.1")).collect();
        assert_eq!(all.count().0, 10);
        assert!(!guest.connection().is_closing());
        assert_eq!(crowd.iter().filter(|admitted| !admitted.connection().is_closing()).count(), 9);
        // Newcomers take the crowd's places.
        let guests: Vec<Admitted> = (0..4).map(|number| open(&all, &format!("3.3.3.{number}"))).collect();
        assert_eq!(crowd.iter().filter(|admitted| !admitted.connection().is_closing()).count(), 5);
        crowd.iter().for_each(|admitted| admitted.connection().begin(false));
        guests.iter().chain([&guest]).for_each(|admitted| admitted.connection().begin(false));
        assert_eq!(all.admit(ip("4.4.4.4"), false).unwrap_err(), Refusal::Full);
        crowd.clear();
        open(&all, "4.4.4.4");
        drop((guest, guests));
        assert_eq!(all.count(), (0, 0));
        assert!(all.table().by_address.is_empty());
    }

    #[test]
    fn this_machine_and_trusted_proxies_may_have_many() {
        let all = connections(100, 2);
        for from in ["127.0.0.1", "::1", "10.0.0.1"] {
            let many: Vec<Admitted> = (0..20).map(|_| open(&all, from)).collect();
            assert!(many.iter().all(|admitted| !admitted.connection().is_closing()), "{from}");
        }
        let of_one_network: Vec<Admitted> = (0..3).map(|n| open(&all, &format!("2001:db8::{n}"))).collect();
        assert!(of_one_network[0].connection().is_closing());
    }

    #[test]
    fn what_takes_too_long_is_closed() {
        let all = connections(100, 100);
        let slow = open(&all, "1.1.1.1");
        slow.connection().read(1);
        all.look();
        assert!(!slow.connection().is_closing());
        all.clock.set(1000);
        all.look();
        all.look();
        assert!(slow.connection().is_closing());
        assert_eq!(all.tally.slow_sender.load(Relaxed), 1);
    }
}
