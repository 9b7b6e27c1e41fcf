//! Several servers as nodes on one store, with a bus between them.

use std::net::SocketAddr;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Backend, PASSWORD, Server, server::ServerBuilder, until};

/// Bus between the nodes of a test.
#[derive(Clone, Debug)]
pub struct Bus {
    address: String,
    subject: String,
}

impl Bus {
    pub fn postgres() -> Self {
        Self::at("postgres".into())
    }

    /// The throwaway NATS server, with a subject for this bus alone.
    pub fn nats() -> Self {
        Self::at(std::env::var("DRAGOMAN_TEST_NATS").expect("run the tests with .ci/test, which starts a NATS"))
    }

    pub fn at(address: String) -> Self {
        let subject = format!("test.{}", uuid::Uuid::new_v4().simple());
        Self { address, subject }
    }

    /// The same bus through a proxy.
    pub fn by_way_of(&self, proxy: SocketAddr) -> Self {
        let address = self.address.replace(&self.server().to_string(), &proxy.to_string());
        Self { address, subject: self.subject.clone() }
    }

    /// Address of the NATS server.
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

/// Settings of a server that is one of several nodes.
pub trait Node {
    fn node(self, bus: &Bus) -> Self;
}

impl Node for ServerBuilder {
    fn node(self, bus: &Bus) -> Self {
        self.with_tokens().set("BUS", &bus.address).set("NATS__SUBJECT", &bus.subject)
    }
}

/// Starts two servers on one database, connected by a bus.
pub async fn two_nodes(backend: &Backend, bus: &Bus) -> [Server; 2] {
    let start = || Server::builder(backend.clone()).node(bus).start();
    let nodes = [start().await, start().await];
    for node in &nodes {
        node.ready().await;
    }
    nodes
}

impl Server {
    /// Readiness, or the reason against it.
    pub async fn readiness(&self) -> Result<(), String> {
        let answer = self.get("/readyz").await;
        let status = answer.status();
        let health: Value = answer.json().await.expect("it is JSON");
        match status {
            StatusCode::OK => Ok(()),
            _ => Err(health["reason"].as_str().expect("it gives a reason").to_owned()),
        }
    }

    /// Waits until the server is ready.
    pub async fn ready(&self) {
        until("a ready server", async || self.readiness().await.ok()).await;
    }

    /// Waits until the server is not ready, for this reason.
    pub async fn not_ready(&self, reason: &str) {
        until(reason, async || (self.readiness().await.as_ref().err().map(String::as_str) == Some(reason)).then_some(())).await;
    }

    /// Logs in, and returns an access token and a refresh token.
    pub async fn tokens(&self, login: &str) -> [String; 2] {
        let answer = self.client().post("/auth/token", &json!({"login": login, "password": PASSWORD})).await.json();
        ["access", "refresh"].map(|kind| answer[kind].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned())
    }
}
