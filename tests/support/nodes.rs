use std::net::SocketAddr;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Backend, PASSWORD, Server, server::ServerBuilder, until};

/// How the nodes of a test tell each other that there is news.
#[derive(Clone, Debug)]
pub struct Bus {
    address: String,
    subject: String,
}

impl Bus {
    pub fn postgres() -> Self {
        Self::at("postgres".into())
    }

    /// The throwaway NATS, on a subject of its own.
    pub fn nats() -> Self {
        Self::at(std::env::var("DRAGOMAN_TEST_NATS").expect("run the tests with .ci/test, which starts a NATS"))
    }

    pub fn at(address: String) -> Self {
        let subject = format!("test.{}", uuid::Uuid::new_v4().simple());
        Self { address, subject }
    }

    /// The same by way of another address.
    pub fn by_way_of(&self, proxy: SocketAddr) -> Self {
        let address = self.address.replace(&self.server().to_string(), &proxy.to_string());
        Self { address, subject: self.subject.clone() }
    }

    /// Where NATS listens.
    pub fn server(&self) -> SocketAddr {
        let (_, address) = self.address.rsplit_once('@').expect("the address names a user");
        address.parse().expect("the address has a host and a port")
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub fn is_postgres(&self) -> bool {
        self.address == "postgres"
    }
}

/// A server that is one of several.
pub trait Node {
    fn node(self, bus: &Bus) -> Self;
}

impl Node for ServerBuilder {
    fn node(self, bus: &Bus) -> Self {
        self.with_tokens().set("BUS", &bus.address).set("NATS__SUBJECT", &bus.subject)
    }
}

/// Two servers on one database that hear each other.
pub async fn two_nodes(backend: &Backend, bus: &Bus) -> [Server; 2] {
    let start = || Server::builder(backend.clone()).node(bus).start();
    let nodes = [start().await, start().await];
    for node in &nodes {
        node.ready().await;
    }
    nodes
}

impl Server {
    /// Whether it says that it can do its work, and if not, why.
    pub async fn readiness(&self) -> Result<(), String> {
        let answer = self.get("/readyz").await;
        let status = answer.status();
        let health: Value = answer.json().await.expect("it is JSON");
        match status {
            StatusCode::OK => Ok(()),
            _ => Err(health["reason"].as_str().expect("it gives a reason").to_owned()),
        }
    }

    /// Waits until it can do its work.
    pub async fn ready(&self) {
        until("a ready server", async || self.readiness().await.ok()).await;
    }

    /// Waits until it says that it cannot do its work, for this reason.
    pub async fn not_ready(&self, reason: &str) {
        until(reason, async || (self.readiness().await.as_ref().err().map(String::as_str) == Some(reason)).then_some(())).await;
    }

    /// An access token and a refresh token of a demo user.
    pub async fn tokens(&self, login: &str) -> [String; 2] {
        let answer = self.client().post("/auth/token", &json!({"login": login, "password": PASSWORD})).await.json();
        ["access", "refresh"].map(|kind| answer[kind].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned())
    }
}
