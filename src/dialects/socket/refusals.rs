//! Delays of refused sockets. A client that comes back at once is closed later and later, and so asks less often.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Close, Sockets, wire::Wire};

/// Without a refusal for so long, an address begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Refusals of one address that are closed at once.
const AT_ONCE: u32 = 3;
/// Delay of the next one, which doubles with each that follows.
const FIRST: Duration = Duration::from_secs(1);
/// The most addresses that are remembered. While there are more, others are closed at once.
const REMEMBERED: usize = 10_000;

/// The refusals of each address.
pub(super) struct RefusalDelays {
    longest: Duration,
    recent: Mutex<HashMap<IpAddr, Recent>>,
}

struct Recent {
    count: u32,
    last: Instant,
}

impl RefusalDelays {
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, recent: Mutex::default() }
    }

    /// Counts a refusal, and gives how long its socket is kept open.
    fn delay(&self, address: IpAddr) -> Duration {
        let (mut recent, now) = (self.recent.lock(), Instant::now());
        let is_recent = |of: &Recent| now - of.last < FORGOTTEN_AFTER;
        if recent.len() >= REMEMBERED && !recent.contains_key(&address) {
            recent.retain(|_, of| is_recent(of));
            if recent.len() >= REMEMBERED {
                return Duration::ZERO;
            }
        }
        let of = recent.entry(address).or_insert(Recent { count: 0, last: now });
        of.count = if is_recent(of) { of.count.saturating_add(1) } else { 1 };
        of.last = now;
        match of.count.checked_sub(AT_ONCE + 1) {
            None => Duration::ZERO,
            Some(doubled) => FIRST.saturating_mul(2_u32.saturating_pow(doubled)).min(self.longest),
        }
    }
}

/// Keeps a socket open that is to be closed, unless its client or the server goes before.
pub(super) async fn hold(sockets: &Sockets, wire: &mut Wire, address: IpAddr, close: &Close) {
    if !close.is_refusal() {
        return;
    }
    let delay = sockets.refusals.delay(address);
    if delay.is_zero() {
        return;
    }
    let gone = async { while wire.turn(true).await.is_ok() {} };
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = sockets.requests.stopping() => {}
        () = gone => {}
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
        tokio::time::advance(FORGOTTEN_AFTER - Duration::from_secs(1)).await;
        assert_eq!(delays(&refusals, 1), [8]);
        tokio::time::advance(FORGOTTEN_AFTER).await;
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
        for number in 0..2 * REMEMBERED as u32 {
            refusals.delay(Ipv4Addr::from_bits(number).into());
        }
        assert_eq!(refusals.recent.lock().len(), REMEMBERED);
        tokio::time::advance(FORGOTTEN_AFTER).await;
        refusals.delay(ONE);
        assert_eq!(refusals.recent.lock().len(), 1);
    }
}
