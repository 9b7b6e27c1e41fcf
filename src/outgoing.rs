//! Outgoing HTTP client with protection against server-side request forgery (SSRF): checks each address before it connects.
//! Limits time and size, uses no proxy of the environment, and follows no redirects.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::Response;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::{
    Client, Request,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use url::{Host, Url};

/// Policy for target addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// For targets that the operator has set: internal addresses too, except those that no service has, and the metadata service
    /// of a cloud.
    Internal,
    /// For targets that others have named: public addresses only.
    Public,
}

/// Limits of one request.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingLimits {
    /// Deadline, from the DNS look-up to the last byte of the response.
    pub time: Duration,
    /// Size limit of a response's body.
    pub answer_bytes: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    #[error("must be an http or https address with a host")]
    NoTarget,
    #[error(transparent)]
    Forbidden(#[from] ForbiddenHost),
    #[error("response larger than {0} bytes")]
    TooLarge(usize),
    /// Without the URL, which may hold a password.
    #[error(transparent)]
    Failed(reqwest::Error),
}

/// A host without an allowed address.
#[derive(Debug, thiserror::Error)]
#[error("{host} has no allowed address")]
pub struct ForbiddenHost {
    host: String,
}

/// An HTTP client with one policy. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Outgoing {
    http: Client,
    reach: Reach,
    answer_bytes: usize,
}

impl Outgoing {
    /// Builds the client.
    ///
    /// # Errors
    /// If TLS cannot be set up, for instance without certificates of authorities on the machine.
    pub fn new(reach: Reach, limits: OutgoingLimits) -> Result<Self, OutgoingError> {
        // The provider is process-wide; an error means that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .user_agent(concat!("dragoman/", env!("CARGO_PKG_VERSION")))
            .timeout(limits.time)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .dns_resolver(FilteringResolver(reach))
            .build()
            .map_err(OutgoingError::Failed)?;
        Ok(Self { http, reach, answer_bytes: limits.answer_bytes })
    }

    /// Checks a URL without a DNS look-up.
    ///
    /// # Errors
    /// [`OutgoingError::NoTarget`], [`OutgoingError::Forbidden`].
    pub fn check(&self, url: &Url) -> Result<(), OutgoingError> {
        let literal = match url.host().filter(|_| ["http", "https"].contains(&url.scheme())) {
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(address)) => IpAddr::from(address),
            Some(Host::Ipv6(address)) => IpAddr::from(address),
            None => return Err(OutgoingError::NoTarget),
        };
        if self.reach.allows(literal) { Ok(()) } else { Err(ForbiddenHost { host: literal.to_string() }.into()) }
    }

    /// Sends a request and reads the whole response, whatever its status; a redirect is a response.
    ///
    /// # Errors
    /// [`OutgoingError`]; the server may have processed the request.
    ///
    /// # Cancel safety
    /// Cancelling closes the connection; the server may have processed the request.
    pub async fn send(&self, request: Request) -> Result<Response<Bytes>, OutgoingError> {
        self.check(request.url())?;
        let failed = |error: reqwest::Error| OutgoingError::Failed(error.without_url());
        let mut answer = self.http.execute(request).await.map_err(failed)?;
        let mut body = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > self.answer_bytes {
                return Err(OutgoingError::TooLarge(self.answer_bytes));
            }
            body.extend_from_slice(&piece);
        }
        let mut whole = Response::new(body.freeze());
        *whole.status_mut() = answer.status();
        *whole.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(whole)
    }
}

/// DNS resolver that returns only allowed addresses. The client connects to one of these without another look-up, so that DNS
/// rebinding is useless. Literal addresses bypass it: see [`Outgoing::check`].
struct FilteringResolver(Reach);

impl Resolve for FilteringResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|found| reach.allows(found.ip())).collect();
            if allowed.is_empty() {
                return Err(ForbiddenHost { host: name.as_str().to_owned() }.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Addresses that no service has, and those of cloud metadata services, which hand out a machine's secrets.
const NEVER: [IpNet; 8] = [
    v4([0, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
    v6([0, 0], 128),
    v6([0xfe80, 0], 10),
    v6([0xff00, 0], 8),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128)),
];

/// Special-purpose networks of IPv4, and of `2000::/3`, the public part of IPv6, by IANA's registries.
const SPECIAL: [IpNet; 15] = [
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v6([0x2001, 0], 23),
    v6([0x2001, 0xdb8], 32),
    v6([0x2002, 0], 16),
    v6([0x3fff, 0], 20),
];

const PUBLIC_V6: IpNet = v6([0x2000, 0], 3);

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits))
}

const fn v6([a, b]: [u16; 2], bits: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), bits))
}

impl Reach {
    /// True if the policy allows this address. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn allows(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        let is_public = || !is_in(&SPECIAL) && (address.is_ipv4() || PUBLIC_V6.contains(&address));
        !is_in(&NEVER) && (self == Self::Internal || is_public())
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::error::chain;

    const LIMITS: OutgoingLimits = OutgoingLimits { time: Duration::from_secs(20), answer_bytes: 1_000 };

    fn outgoing(reach: Reach, limits: OutgoingLimits) -> Outgoing {
        Outgoing::new(reach, limits).expect("TLS can be set up")
    }

    fn url(text: &str) -> Url {
        text.parse().expect("it is an address")
    }

    async fn get(outgoing: &Outgoing, address: &str) -> Result<Response<Bytes>, OutgoingError> {
        outgoing.send(Request::new(Method::GET, url(address))).await
    }

    /// Answers one request, or, with an empty text, none.
    async fn answering(answer: String) -> (String, impl Future<Output = String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
        let address = format!("http://localhost:{}/path", listener.local_addr().expect("it is bound").port());
        let serve = async move {
            let (mut connection, _) = listener.accept().await.expect("somebody comes");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && connection.read_buf(&mut request).await.expect("it is sent") > 0 {}
            connection.write_all(answer.as_bytes()).await.expect("it is read");
            // The connection stays open, so that the client waits for more.
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            String::from_utf8(request).expect("it is text")
        };
        (address, serve)
    }

    #[test]
    fn only_public_addresses_are_in_the_reach_of_others() {
        for (address, internal, public) in [
            ("93.184.215.14", true, true),
            ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", true, true),
            ("::ffff:93.184.215.14", true, true),
            ("127.0.0.1", true, false),
            ("::1", true, false),
            ("::ffff:127.0.0.1", true, false),
            ("10.1.2.3", true, false),
            ("172.31.255.255", true, false),
            ("192.168.0.1", true, false),
            ("100.64.0.1", true, false),
            ("fd12:3456::1", true, false),
            ("64:ff9b::7f00:1", true, false),
            ("2002:7f00:1::", true, false),
            ("2001:0:7f00:1::", true, false),
            ("2001:db8::1", true, false),
            ("198.19.0.1", true, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fd00:ec2::254", false, false),
            ("fe80::1", false, false),
            ("224.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("ff02::1", false, false),
        ] {
            let ip = address.parse().expect("it is an address");
            assert_eq!((Reach::Internal.allows(ip), Reach::Public.allows(ip)), (internal, public), "{address}");
        }
    }

    #[tokio::test]
    async fn literal_addresses_and_those_behind_names_are_judged() {
        let public = outgoing(Reach::Public, LIMITS);
        for address in ["http://127.0.0.1:1/", "http://2130706433:1/", "http://0x7f.1:1/", "http://[::ffff:7f00:1]:1/"] {
            assert!(matches!(get(&public, address).await, Err(OutgoingError::Forbidden(_))), "{address}");
        }
        let error = get(&public, "http://user:secret@localhost:1/").await.expect_err("it is this machine");
        let said = chain(&error).to_string();
        assert!(said.contains("localhost has no allowed address") && !said.contains("secret"), "{said}");
        for address in ["file:///etc/passwd", "ftp://example.com/", "data:,x"] {
            assert!(matches!(get(&public, address).await, Err(OutgoingError::NoTarget)), "{address}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_read_whole_and_a_redirect_is_one() {
        let internal = outgoing(Reach::Internal, LIMITS);
        let redirect = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 5\r\n\r\nthere";
        let (address, serve) = answering(redirect.into()).await;
        let (answer, request) = tokio::join!(get(&internal, &address), serve);
        let answer = answer.expect("it is answered");
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (302, &b"there"[..]));
        assert_eq!(answer.headers()["location"], "http://127.0.0.1:1/");
        assert!(request.contains("user-agent: dragoman/"), "{request}");
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_not_read_on() {
        let internal = outgoing(Reach::Internal, LIMITS);
        for (bytes, is_taken) in [(1_000, true), (1_001, false)] {
            let chunked =
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes));
            let (address, serve) = answering(chunked).await;
            let (answer, _) = tokio::join!(get(&internal, &address), serve);
            assert_eq!(answer.is_ok(), is_taken, "{bytes}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_not_waited_for() {
        let internal = outgoing(Reach::Internal, OutgoingLimits { time: Duration::from_millis(100), ..LIMITS });
        let (address, serve) = answering(String::new()).await;
        let outcome = tokio::select! {
            outcome = get(&internal, &address) => outcome,
            _ = serve => panic!("it never ends"),
        };
        assert!(matches!(outcome, Err(OutgoingError::Failed(error)) if error.is_timeout()));
    }
}
