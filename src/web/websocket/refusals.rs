//! Back-off for refused sockets: the close of a repeatedly refused client is delayed more and more, which slows down its retries.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Close, SocketServer, transport::Transport};

/// Time without a refusal after which the count of an address is reset.
const RESET_AFTER: Duration = Duration::from_secs(60);
/// Number of refusals per address that are closed without a delay.
const UNDELAYED: u32 = 3;
/// First delay. It doubles with each further refusal.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Maximum number of tracked addresses. Beyond it, refusals of new ones are not delayed.
const MAX_ADDRESSES: usize = 10_000;

/// Recent refusals per address.
pub(super) struct RefusalDelays {
    longest: Duration,
    recent: Mutex<HashMap<IpAddr, RecentRefusals>>,
}

struct RecentRefusals {
    count: u32,
    last: Instant,
}

impl RefusalDelays {
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, recent: Mutex::default() }
    }

    /// Counts a refusal, and returns the delay of its close.
    fn delay(&self, address: IpAddr) -> Duration {
        let (mut recent, now) = (self.recent.lock(), Instant::now());
        let is_recent = |of: &RecentRefusals| now - of.last < RESET_AFTER;
        if recent.len() >= MAX_ADDRESSES && !recent.contains_key(&address) {
            recent.retain(|_, of| is_recent(of));
            if recent.len() >= MAX_ADDRESSES {
                return Duration::ZERO;
            }
        }
        let of = recent.entry(address).or_insert(RecentRefusals { count: 0, last: now });
        of.count = if is_recent(of) { of.count.saturating_add(1) } else { 1 };
        of.last = now;
        match of.count.checked_sub(UNDELAYED + 1) {
            None => Duration::ZERO,
            Some(doubled) => FIRST_DELAY.saturating_mul(2_u32.saturating_pow(doubled)).min(self.longest),
        }
    }
}

/// Delays the close of a refused socket, until the client disconnects or the server stops.
pub(super) async fn hold(sockets: &SocketServer, wire: &mut Transport, address: IpAddr, close: &Close) {
    if !close.is_refusal() {
        return;
    }
    let delay = sockets.refusals.delay(address);
    if delay.is_zero() {
        return;
    }
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = sockets.requests.stopping() => {}
        () = wire.discard() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn delays(refusals: &RefusalDelays, times: usize) -> Vec<u64> {
        (0..times).map(|_| refusals.delay(ONE).as_secs()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_closed_later_and_later() {
        let refusals = RefusalDelays::new(Duration::from_secs(8));
        assert_eq!(delays(&refusals, 9), [0, 0, 0, 1, 2, 4, 8, 8, 8]);
        assert_eq!(refusals.delay(Ipv4Addr::LOCALHOST.into()), Duration::ZERO, "of another address");
        tokio::time::advance(RESET_AFTER - Duration::from_secs(1)).await;
        assert_eq!(delays(&refusals, 1), [8]);
        tokio::time::advance(RESET_AFTER).await;
        assert_eq!(delays(&refusals, 5), [0, 0, 0, 1, 2], "after a minute without one");
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_is_a_setting() {
        assert_eq!(delays(&RefusalDelays::new(Duration::ZERO), 100), [0; 100]);
        assert_eq!(delays(&RefusalDelays::new(Duration::from_secs(3)), 100)[3..7], [1, 2, 3, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_addresses_are_remembered() {
        let refusals = RefusalDelays::new(Duration::from_secs(8));
        for number in 0..2 * MAX_ADDRESSES as u32 {
            refusals.delay(Ipv4Addr::from_bits(number).into());
        }
        assert_eq!(refusals.recent.lock().len(), MAX_ADDRESSES);
        tokio::time::advance(RESET_AFTER).await;
        refusals.delay(ONE);
        assert_eq!(refusals.recent.lock().len(), 1);
    }
}
