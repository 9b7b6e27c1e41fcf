//! Client address behind reverse proxies (`X-Forwarded-For`).

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicBool, Ordering},
};

use hyper::HeaderMap;

use crate::networks::Networks;

const HEADER: &str = "x-forwarded-for";
/// Length of an unreadable hop in the log.
const LOGGED_CHARACTERS: usize = 64;

/// Trusted proxies, and the client addresses that they report.
pub struct Forwarded {
    proxies: Networks,
    /// Keyed, so that clients cannot find two texts with the same stand-in.
    hasher: RandomState,
    has_warned: AtomicBool,
}

impl Forwarded {
    pub fn new(proxies: Networks) -> Self {
        Self { proxies, hasher: RandomState::new(), has_warned: AtomicBool::new(false) }
    }

    /// True if this peer is a trusted proxy.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.contains(peer)
    }

    /// Address of the client: the last hop that is not a trusted proxy, or the first one if all are. Hops to the left of it are
    /// the client's own claim. Empty elements are no hops.
    ///
    /// An unreadable hop (`unknown`, a host name) is a client as well. It gets a stand-in address derived from its text, which no
    /// host has: with the proxy's address, all such clients would share one, and failed log-ins of one would lock out the others.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all(HEADER).iter().rev().map(|line| line.as_bytes());
        let mut hops = lines.flat_map(|line| line.rsplit(|byte| *byte == b',')).map(plain).filter(|hop| !hop.is_empty());
        let mut client = peer.to_canonical();
        while self.is_proxy(client)
            && let Some(hop) = hops.next()
        {
            client = match address(hop) {
                Some(address) => address,
                None => {
                    self.warn_once(client, hop);
                    return self.stand_in(hop);
                }
            };
        }
        client
    }

    /// Stand-in address from `100::/8`, which is reserved and not routed. Stand-ins differ within the first 48 bits, which shares
    /// and networks go by.
    fn stand_in(&self, hop: &[u8]) -> IpAddr {
        const RESERVED: u128 = 0x01 << 120;
        /// 40 of the first 48 bits.
        const FREE_BITS: u32 = 40;

        let hash = self.hasher.hash_one(without_port(hop)) >> (u64::BITS - FREE_BITS);
        Ipv6Addr::from_bits(RESERVED | u128::from(hash) << 80).into()
    }

    /// Warns of an unreadable hop once per process, since a client could flood the log.
    fn warn_once(&self, proxy: IpAddr, hop: &[u8]) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            let hop: String = String::from_utf8_lossy(hop).chars().take(LOGGED_CHARACTERS).collect();
            tracing::warn!(
                hop = ?hop,
                %proxy,
                "X-Forwarded-For holds what is no address: clients are told apart by this text; said once"
            );
        }
    }
}

/// Trims white space and quotes.
fn plain(hop: &[u8]) -> &[u8] {
    let hop = hop.trim_ascii();
    let unquoted = hop.strip_prefix(b"\"").and_then(|hop| hop.strip_suffix(b"\""));
    unquoted.map_or(hop, <[u8]>::trim_ascii)
}

/// Parses `ip`, `ip:port`, `[v6]`, `[v6]:port` and, if it is unambiguous, `v6:port`. Ignores a zone.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = str::from_utf8(hop).ok()?;
    if let Some(rest) = hop.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        return if port.is_empty() || port.starts_with(':') { unzoned(inner) } else { None };
    }
    unzoned(hop).or_else(|| unzoned(hop.rsplit_once(':')?.0))
}

/// Parses an address, and ignores a zone such as `%eth0`, which only IPv6 has.
fn unzoned(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        Some((address, _)) => address.parse::<Ipv6Addr>().ok()?.into(),
        None => text.parse::<IpAddr>().ok()?,
    };
    Some(address.to_canonical())
}

/// Strips the port of an unreadable hop: the connections of one client share a stand-in.
fn without_port(hop: &[u8]) -> &[u8] {
    match hop.iter().rposition(|byte| *byte == b':') {
        Some(colon) if hop[colon + 1..].iter().all(u8::is_ascii_digit) => &hop[..colon],
        _ => hop,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::shares::share_of;

    const PROXY: &str = "10.0.0.1";

    fn forwarded() -> Forwarded {
        let proxies = ["10.0.0.0/24", "2001:db8:ffff::/48"].map(str::to_owned);
        Forwarded::new(proxies.to_vec().try_into().expect("they are networks"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("it is an address")
    }

    /// Client behind a peer with these header lines.
    fn client(forwarded: &Forwarded, peer: &str, lines: &[&[u8]]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HEADER, HeaderValue::from_bytes(line).expect("it is a value"));
        }
        forwarded.client(ip(peer), &headers)
    }

    #[test]
    fn every_form_of_an_address_is_read() {
        for (hop, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:51000", "192.0.2.1"),
            ("192.0.2.1:", "192.0.2.1"),
            ("192.0.2.1:_port", "192.0.2.1"),
            ("\"192.0.2.1:51000\"", "192.0.2.1"),
            ("\t 192.0.2.1 \t", "192.0.2.1"),
            ("\" 192.0.2.1 \"", "192.0.2.1"),
            ("[192.0.2.1]:80", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::FFFF:c000:201", "192.0.2.1"),
            ("::ffff:192.0.2.1:80", "192.0.2.1"),
            ("[::ffff:192.0.2.1]", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("2001:db8:0:0:0:0:0:1:4711", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
        ] {
            assert_eq!(client(&forwarded(), PROXY, &[hop.as_bytes()]), ip(expected), "{hop}");
        }
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_is_the_client() {
        let lines: [(&[&[u8]], &str); 12] = [
            (&[], PROXY),
            (&[b""], PROXY),
            (&[b" , ,\"\""], PROXY),
            (&[b"203.0.113.9, 192.0.2.1"], "192.0.2.1"),
            (&[b"203.0.113.9", b"192.0.2.1"], "192.0.2.1"),
            (&[b"192.0.2.1,", b" , "], "192.0.2.1"),
            (&[b"192.0.2.1, 10.0.0.7:80, [2001:db8:ffff::1]:80", b"::ffff:10.0.0.9"], "192.0.2.1"),
            (&[b"10.0.0.7, 10.0.0.8"], "10.0.0.7"),
            (&[b"10.0.0.7, 10.0.1.1, 10.0.0.8"], "10.0.1.1"),
            (&[b"unknown, 192.0.2.1"], "192.0.2.1"),
            (&[b"\xff\xfe, 192.0.2.1"], "192.0.2.1"),
            (&[b"caf\xc3\xa9", b"192.0.2.1, 10.0.0.8"], "192.0.2.1"),
        ];
        for (lines, expected) in lines {
            assert_eq!(client(&forwarded(), PROXY, lines), ip(expected), "{lines:?}");
            assert_eq!(client(&forwarded(), "::ffff:10.0.0.1", lines), ip(expected), "{lines:?}, mapped");
        }
        assert_eq!(client(&forwarded(), "::ffff:198.51.100.1", &[b"192.0.2.1"]), ip("198.51.100.1"), "a stranger");
    }

    #[test]
    fn an_unreadable_hop_is_a_client_of_its_own() {
        let forwarded = forwarded();
        let texts: [&[u8]; 9] = [
            b"unknown",
            b"_hidden",
            b"phone-7.example",
            b"192.0.2.1%eth0",
            b"192.0.2.300",
            b"[192.0.2.1",
            b"[2001:db8::1]4711",
            b"\xff",
            &[b'x'; 8_000],
        ];
        let shares: Vec<_> = texts.iter().map(|text| share_of(client(&forwarded, PROXY, &[text]))).collect();
        for (at, share) in shares.iter().enumerate() {
            assert!(!shares[..at].contains(share), "{at}");
            assert!(matches!(share, IpAddr::V6(address) if address.octets()[0] == 1), "{share}");
        }
        for same in [&b"phone-7.example:51000"[..], b"phone-7.example:4711", b"203.0.113.9, \"phone-7.example\", 10.0.0.7"] {
            assert_eq!(share_of(client(&forwarded, PROXY, &[same])), shares[2]);
        }
        assert!(forwarded.has_warned.load(Ordering::Relaxed));
    }
}
