//! How many requests a second a credential and an address may make.
//!
//! Whoever shows a credential is counted by it, so that users behind one address do not share a rate; but anyone can
//! invent credentials, so the address as a whole is bounded as well, more widely. The states of at most some 65,000
//! clients are kept: one that was forgotten begins anew, which errs on its side. Knows headers and addresses; whether a
//! credential is any good is somebody else's question.

use super::Settings;
use super::address::AddressKey;
use super::client::{ClientAddress, is_forwarded};
use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderMap};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Locks that the states are spread over.
const SHARDS: usize = 16;

/// The most states under one lock.
const MOST: usize = 4096;

/// How many times the rate of one client all the credentials of an address may make together.
const CROWD: u32 = 4;

/// States by the hash of whose they are; bounded.
#[derive(Debug, Default)]
pub struct Buckets {
    shards: [Mutex<HashMap<u64, Nanos>>; SHARDS],
}

impl StateStore for Buckets {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let shard = &self.shards[(*key % SHARDS as u64) as usize];
        let mut states = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get_mut(key) {
            let (outcome, next) = decide(Some(*state))?;
            *state = next;
            return Ok(outcome);
        }
        let (outcome, next) = decide(None)?;
        if states.len() >= MOST {
            // A state that is no later than a new one's says nothing that a new one would not.
            states.retain(|_, state| *state > next);
            let mut left = MOST / 2;
            if states.len() > left {
                states.retain(|_, _| {
                    left = left.saturating_sub(1);
                    left > 0
                });
            }
        }
        states.insert(*key, next);
        Ok(outcome)
    }
}

type Limiter<C> = RateLimiter<u64, Buckets, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The rates of all clients.
pub struct Rates<C: Clock = DefaultClock> {
    /// `None` where any rate will do.
    limiters: Option<(Limiter<C>, Limiter<C>)>,
    clock: C,
    exempt_loopback: bool,
    hasher: RandomState,
}

impl Rates {
    /// With nobody seen yet.
    pub fn new(settings: &Settings) -> Self {
        Self::with_clock(settings, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock(settings: &Settings, clock: C) -> Self {
        let rate = NonZeroU32::new(settings.requests_per_second);
        let burst = NonZeroU32::new(settings.burst).unwrap_or(NonZeroU32::MIN);
        let limiter = |times: u32| {
            let times = NonZeroU32::new(times)?;
            let quota = Quota::per_second(rate?.saturating_mul(times)).allow_burst(burst.saturating_mul(times));
            Some(RateLimiter::new(quota, Buckets::default(), clock.clone()))
        };
        let limiters = limiter(1).zip(limiter(CROWD));
        Self { limiters, clock, exempt_loopback: settings.exempt_loopback, hasher: RandomState::new() }
    }

    /// Whether a request may be made now; else, when to try again.
    ///
    /// # Errors
    /// How long to wait.
    pub fn check(&self, client: ClientAddress, headers: &HeaderMap) -> Result<(), Duration> {
        let Some((each, crowd)) = &self.limiters else { return Ok(()) };
        if self.exempt_loopback && client.address.is_loopback() && !is_forwarded(headers) {
            return Ok(());
        }
        let address = self.hasher.hash_one(AddressKey::from(client.address));
        let credential = headers.get(AUTHORIZATION).or_else(|| headers.get(COOKIE));
        let checked = match credential {
            Some(credential) => {
                let credential = self.hasher.hash_one(credential.as_bytes());
                crowd.check_key(&address).and_then(|()| each.check_key(&credential))
            }
            None => each.check_key(&address),
        };
        checked.map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::limits::client::ForwardedHeader;
    use actix_web::http::header::{FORWARDED, HeaderValue};
    use governor::clock::FakeRelativeClock;

    fn rates(rate: u32, burst: u32) -> (Rates<FakeRelativeClock>, FakeRelativeClock) {
        let settings = Settings {
            connections: 1,
            connections_per_address: 1,
            requests_per_second: rate,
            burst,
            exempt_loopback: true,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
        };
        let clock = FakeRelativeClock::default();
        (Rates::with_clock(&settings, clock.clone()), clock)
    }

    fn client(address: &str) -> ClientAddress {
        ClientAddress { address: address.parse().unwrap(), secure: false }
    }

    fn with_token(token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(token).unwrap());
        headers
    }

    fn passed(rates: &Rates<FakeRelativeClock>, address: &str, headers: &HeaderMap, tries: usize) -> usize {
        (0..tries).filter(|_| rates.check(client(address), headers).is_ok()).count()
    }

    #[test]
    fn an_address_has_a_burst_and_then_a_rate() {
        let (rates, clock) = rates(10, 20);
        let none = HeaderMap::new();
        assert_eq!(passed(&rates, "1.1.1.1", &none, 100), 20);
        let wait = rates.check(client("1.1.1.1"), &none).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(100), "{wait:?}");
        assert_eq!(passed(&rates, "2.2.2.2", &none, 100), 20);
        clock.advance(Duration::from_secs(1));
        assert_eq!(passed(&rates, "1.1.1.1", &none, 100), 10);
        // A network of IPv6 is one client.
        assert_eq!(passed(&rates, "2001:db8::1", &none, 100), 20);
        assert_eq!(passed(&rates, "2001:db8::2", &none, 100), 0);
    }

    #[test]
    fn credentials_have_rates_of_their_own_and_inventing_them_is_no_way_out() {
        let (rates, _) = rates(10, 20);
        assert_eq!(passed(&rates, "1.1.1.1", &with_token("a"), 100), 20);
        // The same credential elsewhere is the same client.
        assert_eq!(passed(&rates, "2.2.2.2", &with_token("a"), 100), 0);
        assert_eq!(passed(&rates, "3.3.3.3", &with_token("b"), 100), 20);
        let invented: usize = (0..200).map(|n| passed(&rates, "4.4.4.4", &with_token(&format!("t{n}")), 1)).sum();
        assert_eq!(invented, 20 * CROWD as usize);
    }

    #[test]
    fn this_machine_is_exempt_and_no_rate_is_no_bound() {
        let (bounded, _) = rates(1, 1);
        assert_eq!(passed(&bounded, "127.0.0.1", &HeaderMap::new(), 100), 100);
        // A proxy on this machine that nobody listed speaks for others.
        let mut forwarded = HeaderMap::new();
        forwarded.insert(FORWARDED, HeaderValue::from_static("for=1.1.1.1"));
        assert_eq!(passed(&bounded, "127.0.0.1", &forwarded, 100), 1);
        let (unbounded, _) = rates(0, 1);
        assert_eq!(passed(&unbounded, "1.1.1.1", &HeaderMap::new(), 100), 100);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let states: [fn(u64) -> u64; 2] = [|number| number, |number| 1_000_000 - number];
        for state in states {
            let buckets = Buckets::default();
            for key in 0..200_000 {
                let kept = buckets.measure_and_replace(&key, |_| Ok::<_, ()>(((), Nanos::new(state(key)))));
                assert_eq!(kept, Ok(()));
            }
            let kept: usize = buckets.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
            assert!(kept > 0 && kept <= SHARDS * MOST, "{kept}");
        }
    }
}
