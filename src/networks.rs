//! IP addresses and networks in settings.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

/// A set of networks. An IPv4 address mapped into IPv6 (`::ffff:192.0.2.1`) equals the IPv4 address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Networks(Box<[IpNet]>);

impl Networks {
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl TryFrom<Vec<String>> for Networks {
    type Error = String;

    /// Parses addresses and networks. Skips empty texts: an empty environment variable is a list of one.
    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let texts = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
        texts.map(network).collect::<Result<_, _>>().map(Self)
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| format!("must hold addresses and networks such as 10.0.0.0/8, not {text:?}"))?;
    Ok(unmapped(network).unwrap_or(network))
}

/// IPv4 network of an IPv4-mapped IPv6 network.
fn unmapped(network: IpNet) -> Option<IpNet> {
    /// Bits of `::ffff:0:0/96`.
    const MAPPED: u8 = 96;

    let IpAddr::V6(address) = network.addr() else { return None };
    let bits = network.prefix_len().checked_sub(MAPPED)?;
    Some(Ipv4Net::new(address.to_ipv4_mapped()?, bits).expect("at most 32 bits are left").into())
}

#[cfg(test)]
mod tests {
    use super::Networks;

    fn networks(texts: &[&str]) -> Result<Networks, String> {
        texts.iter().map(ToString::to_string).collect::<Vec<_>>().try_into()
    }

    #[test]
    fn addresses_are_found_in_networks_of_either_kind() {
        let set = networks(&["10.1.2.3/8", " 127.0.0.1", "", "2001:db8::/32", "::ffff:192.0.2.0/120", "::ffff:198.51.100.7"]);
        let set = set.expect("they are networks");
        let contains = |address: &str| set.contains(address.parse().expect("it is an address"));
        for inside in
            ["10.255.0.1", "::ffff:10.0.0.1", "127.0.0.1", "::ffff:7f00:1", "2001:db8:ffff::1", "192.0.2.255", "198.51.100.7"]
        {
            assert!(contains(inside), "{inside}");
        }
        for outside in ["11.0.0.1", "127.0.0.2", "2001:db9::1", "::1", "::10.0.0.1", "192.0.3.0", "198.51.100.8"] {
            assert!(!contains(outside), "{outside}");
        }
        assert!(!networks(&[""]).expect("it is empty").contains([127, 0, 0, 1].into()));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for text in ["nginx", "10.0.0.0/33", "10.0.0/8", "10.0.0.1:80", "*", "::/129"] {
            let refused = networks(&["10.0.0.1", text]).map(|_| ()).expect_err(text);
            assert!(refused.contains(text), "{refused}");
        }
    }
}
