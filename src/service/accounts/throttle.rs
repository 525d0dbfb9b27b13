//! What slows guessing down: after some wrong passwords an address, or a name, has to wait, twice as long each time.
//!
//! Kept in memory and bounded: a restart forgives, and so does an hour of quiet. Knows nothing of passwords.

use crate::domain::stamp::Timestamp;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

/// After this long without a failure everything is forgiven, in milliseconds.
const FORGIVEN: u64 = 60 * 60 * 1000;

/// Where somebody asks from: an address, or for IPv6 the network of a household.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(IpAddr);

impl Place {
    /// The place of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IpAddr::V4(address)),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: u64,
    until: u64,
}

/// Failures by key.
#[derive(Debug)]
pub struct Throttle<K> {
    free: u32,
    longest: u64,
    most: usize,
    failures: HashMap<K, Failures>,
}

impl<K: Eq + Hash + Clone> Throttle<K> {
    /// `free` failures cost nothing; a wait is at most `longest` milliseconds; `most` keys are kept.
    pub fn new(free: u32, longest: u64, most: usize) -> Self {
        Self { free, longest, most, failures: HashMap::new() }
    }

    /// How long `key` has to wait, in milliseconds; nought where it may try.
    pub fn wait(&self, key: &K, now: Timestamp) -> u64 {
        self.failures.get(key).map_or(0, |found| found.until.saturating_sub(now.0))
    }

    /// Counts a failure.
    pub fn fail(&mut self, key: K, now: Timestamp) {
        self.failures.retain(|_, found| now.0 < found.last.saturating_add(FORGIVEN));
        if self.failures.len() >= self.most && !self.failures.contains_key(&key) {
            let oldest = self.failures.iter().min_by_key(|(_, found)| found.last).map(|(key, _)| key.clone());
            oldest.map(|key| self.failures.remove(&key));
        }
        let found = self.failures.entry(key).or_insert(Failures { count: 0, last: 0, until: 0 });
        found.count = found.count.saturating_add(1);
        found.last = now.0;
        if let Some(beyond) = found.count.checked_sub(self.free) {
            found.until = now.0.saturating_add((1000_u64 << beyond.min(30)).min(self.longest));
        }
    }

    /// Forgives `key`.
    pub fn forgive(&mut self, key: &K) {
        self.failures.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_grow_end_and_are_forgiven() {
        let mut throttle = Throttle::new(3, 60_000, 10);
        let at = |ms| Timestamp(1_000_000 + ms);
        for _ in 0..2 {
            throttle.fail("a", at(0));
        }
        assert_eq!(throttle.wait(&"a", at(0)), 0);
        throttle.fail("a", at(0));
        assert_eq!(throttle.wait(&"a", at(0)), 1000);
        assert_eq!(throttle.wait(&"a", at(999)), 1);
        assert_eq!(throttle.wait(&"a", at(1000)), 0);
        throttle.fail("a", at(1000));
        assert_eq!(throttle.wait(&"a", at(1000)), 2000);
        for _ in 0..40 {
            throttle.fail("a", at(1000));
        }
        assert_eq!(throttle.wait(&"a", at(1000)), 60_000);
        assert_eq!(throttle.wait(&"b", at(1000)), 0);
        throttle.fail("a", at(1000 + FORGIVEN));
        assert_eq!(throttle.wait(&"a", at(1000 + FORGIVEN)), 0, "an hour later it counts from one again");
        throttle.forgive(&"a");
        assert!(throttle.failures.is_empty());
    }

    #[test]
    fn a_household_is_one_place() {
        let place = |text: &str| Place::of(text.parse().unwrap());
        assert_eq!(place("2001:db8:1:2:3::4"), place("2001:db8:1:2:ffff::1"));
        assert_ne!(place("2001:db8:1:2::1"), place("2001:db8:1:3::1"));
        assert_eq!(place("::ffff:10.0.0.1"), place("10.0.0.1"));
        assert_ne!(place("10.0.0.1"), place("10.0.0.2"));
    }

    proptest! {
        #[test]
        fn it_never_keeps_more_than_it_may(keys in proptest::collection::vec(0u16..200, 0..400)) {
            let mut throttle = Throttle::new(2, 1000, 50);
            for (time, key) in keys.into_iter().enumerate() {
                throttle.fail(key, Timestamp(time as u64));
                prop_assert!(throttle.failures.len() <= 50);
                prop_assert!(throttle.wait(&key, Timestamp(time as u64)) <= 1000);
            }
        }
    }
}
