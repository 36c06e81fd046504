//! Every bound of the HTTP surface, in one place; and how often somebody may call.
//!
//! Depth and duplicate members of JSON are bounded by its reader (`mandates::json`).

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use engine::Identity;
use http::{HeaderMap, header};

use crate::problem::Problem;

/// The longest body of ours that is read; a chain with a cart and many disclosures stays below it.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// What is thrown away of a body that is too long, before the connection is given up.
pub const DISCARDED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a whole body may take.
pub const BODY_PATIENCE: Duration = Duration::from_secs(15);
/// Connected at once; whoever comes then waits to be taken.
pub const CONNECTIONS_MAX: usize = 4_096;
/// How long a connection may take to say what it wants, or wait before it wants something again.
pub const HEADER_PATIENCE: Duration = Duration::from_secs(30);
/// All header lines of a request.
pub const HEADER_BYTES_MAX: usize = 128 * 1024;
/// Of bodies that are not read to their end yet, all together and of one address.
pub const UNREAD_BYTES_MAX: usize = 256 * 1024 * 1024;
pub const UNREAD_BYTES_OF_A_PEER_MAX: usize = 32 * 1024 * 1024;
/// The form of the token endpoint.
pub const FORM_BYTES_MAX: usize = 16 * 1024;
pub const PAGE_DEFAULT: u32 = 100;
pub const PAGE_MAX: u32 = 500;

/// How often somebody may call: so many a second over time, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub per_second: u32,
    pub burst: u32,
}

/// Who shares a bucket with nobody else.
#[derive(Clone, Debug, Default)]
pub struct RateLimits {
    /// For each principal.
    pub principal: Option<Rate>,
    /// For each address that calls without a good token.
    pub anonymous: Option<Rate>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

#[derive(Debug)]
pub struct Limiter {
    principals: Option<Buckets>,
    peers: Option<Buckets>,
    trusted_proxies: Vec<IpAddr>,
}

impl Limiter {
    pub fn new(limits: RateLimits) -> Self {
        let buckets = |rate: Option<Rate>| rate.map(Buckets::new);
        let RateLimits { principal, anonymous, trusted_proxies } = limits;
        Self { principals: buckets(principal), peers: buckets(anonymous), trusted_proxies }
    }

    pub fn admit(&self, identity: &Identity) -> Result<(), Problem> {
        let key = (identity.tenant.as_str(), identity.caller.principal.as_str(), identity.caller.kind);
        self.principals.as_ref().map_or(Ok(()), |buckets| buckets.draw(&key).map_err(limited))
    }

    /// Somebody without a token, or with one that is none.
    pub fn admit_peer(&self, peer: Peer) -> Result<(), Problem> {
        self.peers.as_ref().map_or(Ok(()), |buckets| buckets.draw(&peer).map_err(limited))
    }
}

fn limited(wait: Duration) -> Problem {
    let seconds = wait.as_secs().saturating_add(1);
    let detail = format!("fewer calls were expected, too many came; try again in {seconds} s");
    let mut problem = Problem::new(http::StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
    problem.retryable = true;
    problem.values.insert("retry_after".into(), seconds.into());
    problem
}

/// An address; of IPv6 the network that one subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer([u8; 8]);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Peer {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                Self([0, 0, 0, 0, a, b, c, d])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// Before anything else is read of a call: whose address it is, and whether a stranger there may call again.
pub async fn admit(State(limiter): State<std::sync::Arc<Limiter>>, mut request: Request, next: Next) -> Response {
    let connected = request.extensions().get::<ConnectInfo<std::net::SocketAddr>>().map(|peer| peer.0.ip());
    // A call that came in process has no address and nobody to bound.
    if let Some(address) = connected {
        let peer = Peer::of(caller(address, request.headers(), &limiter.trusted_proxies));
        request.extensions_mut().insert(peer);
        // Who shows a token is looked at when it is verified.
        if !request.headers().contains_key(header::AUTHORIZATION)
            && let Err(problem) = limiter.admit_peer(peer)
        {
            return problem.into_response();
        }
    }
    next.run(request).await
}

/// The last address of `X-Forwarded-For` that is not a proxy of ours: what stands before it anybody can have written.
fn caller(connected: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let mut caller = connected;
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
    let named = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    for text in named.rev() {
        if !trusted.contains(&caller.to_canonical()) {
            break;
        }
        match text.parse() {
            Ok(address) => caller = address,
            Err(_) => break,
        }
    }
    caller
}

/// The memory that bodies under way take, bounded for all and for each address.
#[derive(Debug, Default)]
pub struct Unread(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    total: usize,
    peers: HashMap<Option<Peer>, usize>,
}

/// Some of that memory; given back when it is dropped.
#[derive(Debug)]
pub struct Share<'a> {
    unread: &'a Unread,
    peer: Option<Peer>,
    bytes: usize,
}

impl Unread {
    pub fn share(&self, peer: Option<Peer>) -> Share<'_> {
        Share { unread: self, peer, bytes: 0 }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share<'_> {
    /// `false` when there is no room for as many more.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let mut held = self.unread.held();
        let total = held.total.saturating_add(bytes);
        let peers = held.peers.get(&self.peer).copied().unwrap_or_default().saturating_add(bytes);
        if total > UNREAD_BYTES_MAX || peers > UNREAD_BYTES_OF_A_PEER_MAX {
            return false;
        }
        held.total = total;
        held.peers.insert(self.peer, peers);
        self.bytes = self.bytes.saturating_add(bytes);
        true
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut held = self.unread.held();
        held.total = held.total.saturating_sub(self.bytes);
        let left = held.peers.get(&self.peer).copied().unwrap_or_default().saturating_sub(self.bytes);
        if left == 0 {
            held.peers.remove(&self.peer);
        } else {
            held.peers.insert(self.peer, left);
        }
    }
}

/// A bucket for each of so many hashes of a key: bounded by construction, whoever calls from wherever. Two keys share a
/// bucket by chance only, since nobody outside knows the hash.
#[derive(Debug)]
struct Buckets {
    /// Nanoseconds since the start until which the bucket is drawn (GCRA: the theoretical arrival time).
    cells: Box<[AtomicU64]>,
    hash: RandomState,
    started: Instant,
    /// Nanoseconds a call.
    interval: u64,
    /// Nanoseconds that may be drawn ahead.
    ahead: u64,
}

const CELLS: usize = 1 << 16;

impl Buckets {
    fn new(rate: Rate) -> Self {
        let interval = 1_000_000_000 / u64::from(rate.per_second.max(1));
        let ahead = interval.saturating_mul(u64::from(rate.burst.max(1)));
        let cells = std::iter::repeat_with(AtomicU64::default).take(CELLS).collect();
        Self { cells, hash: RandomState::new(), started: Instant::now(), interval, ahead }
    }

    fn draw(&self, key: &impl Hash) -> Result<(), Duration> {
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.draw_at(key, now)
    }

    fn draw_at(&self, key: &impl Hash, now: u64) -> Result<(), Duration> {
        let place = usize::try_from(self.hash.hash_one(key) % CELLS_U64).unwrap_or_default();
        let Some(cell) = self.cells.get(place) else { return Ok(()) };
        let mut wait = 0;
        let drawn = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
            let next = until.max(now).saturating_add(self.interval);
            wait = next.saturating_sub(now).saturating_sub(self.ahead);
            (wait == 0).then_some(next)
        });
        drawn.map(|_| ()).map_err(|_| Duration::from_nanos(wait))
    }
}

const CELLS_U64: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_bucket_empties_and_fills() {
        let buckets = Buckets::new(Rate { per_second: 10, burst: 5 });
        for call in 0..5 {
            assert_eq!(buckets.draw_at(&"a", SECOND), Ok(()), "call {call} of the burst");
        }
        assert_eq!(buckets.draw_at(&"a", SECOND), Err(Duration::from_millis(100)));
        assert_eq!(buckets.draw_at(&"b", SECOND), Ok(()), "another's bucket is full");
        assert_eq!(buckets.draw_at(&"a", SECOND + SECOND / 10 - 1), Err(Duration::from_nanos(1)));
        assert_eq!(buckets.draw_at(&"a", SECOND + SECOND / 10), Ok(()), "one more, a tenth of a second later");
        assert!(buckets.draw_at(&"a", SECOND + SECOND / 10).is_err(), "what was refused drew nothing, and one is one");
        let mut later = 0;
        while buckets.draw_at(&"a", 100 * SECOND) == Ok(()) {
            later += 1;
        }
        assert_eq!(later, 5, "it never holds more than the burst");
    }

    #[test]
    fn a_million_addresses_take_no_more_room_than_one() {
        let buckets = Buckets::new(Rate { per_second: 1, burst: 1_000 });
        for number in 0..1_000_000_u32 {
            let _ = buckets.draw_at(&Peer::of(IpAddr::from(number.to_be_bytes())), 0);
        }
        assert_eq!(buckets.cells.len(), CELLS);
    }

    #[test]
    fn bodies_under_way_have_their_room_and_give_it_back() {
        let unread = Unread::default();
        let peer = |number: u8| Some(Peer::of(IpAddr::from([192, 0, 2, number])));
        let mut shares: Vec<_> = (0..8).map(|number| unread.share(peer(number))).collect();
        for share in &mut shares {
            assert!(share.grow(UNREAD_BYTES_OF_A_PEER_MAX - 1) && share.grow(1), "a peer's whole room");
            assert!(!share.grow(1), "and no more");
        }
        assert!(!unread.share(peer(0)).grow(1), "not on another connection either");
        assert!(!unread.share(peer(9)).grow(1), "all of it is taken");
        shares.truncate(1);
        assert!(unread.share(peer(9)).grow(1), "what is dropped is free again");
        assert!(!unread.share(peer(0)).grow(1));
        drop(shares);
        assert!(unread.held().peers.is_empty() && unread.held().total == 0, "nothing is remembered of anybody");
    }

    #[test]
    fn an_address_is_believed_from_our_own_proxies_only() {
        let ours: IpAddr = "10.0.0.1".parse().unwrap();
        let far: IpAddr = "203.0.113.9".parse().unwrap();
        let found = |connected: &str, forwarded: &[&str], trusted: &[IpAddr]| {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            caller(connected.parse().unwrap(), &headers, trusted).to_string()
        };
        assert_eq!(found("203.0.113.9", &["1.1.1.1"], &[]), "203.0.113.9", "nobody is believed");
        assert_eq!(found("203.0.113.9", &["1.1.1.1"], &[ours]), "203.0.113.9", "a stranger names himself");
        assert_eq!(found("10.0.0.1", &["1.1.1.1, 203.0.113.9"], &[ours]), "203.0.113.9", "the last one counts");
        assert_eq!(found("10.0.0.1", &["1.1.1.1", "203.0.113.9"], &[ours]), "203.0.113.9", "of the last line");
        assert_eq!(found("10.0.0.1", &["1.1.1.1, 203.0.113.9"], &[ours, far]), "1.1.1.1", "two proxies of ours");
        assert_eq!(found("10.0.0.1", &["nonsense"], &[ours]), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &[], &[ours]), "10.0.0.1");
        assert_eq!(found("::ffff:10.0.0.1", &["203.0.113.9"], &[ours]), "203.0.113.9", "the same in IPv6 clothes");
    }

    #[test]
    fn one_subscriber_is_one_peer() {
        let peer = |text: &str| Peer::of(text.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:2"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("192.0.2.1"), peer("::ffff:192.0.2.1"));
    }
}
