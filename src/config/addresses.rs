//! Addresses of the services that the server needs: the store and the bus. They may hold passwords.

use std::path::Path;

use serde::Deserialize;

/// Kind of store, with its address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Store<'a> {
    Memory,
    /// The database file.
    Sqlite(&'a Path),
    /// URL of the database, which may hold a password.
    Postgres(&'a str),
}

impl Store<'_> {
    /// Kind of store, for the readiness check and the metrics.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }
}

/// Name of the store for the log: without user and password.
impl std::fmt::Display for Store<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
            Self::Memory | Self::Postgres(_) => f.write_str(self.kind()),
        }
    }
}

/// A setting that may hold a password. Its `Debug` shows nothing.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Bus between nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum BusSettings {
    Local,
    Postgres,
    /// Addresses of servers, which may hold passwords.
    Nats(Secret),
}

impl TryFrom<String> for BusSettings {
    type Error = &'static str;

    fn try_from(bus: String) -> Result<Self, Self::Error> {
        match bus.as_str() {
            "local" => Ok(Self::Local),
            "postgres" => Ok(Self::Postgres),
            nats if nats.starts_with("nats://") || nats.starts_with("tls://") => Ok(Self::Nats(Secret(bus))),
            _ => Err("bus must be local, postgres, nats://... or tls://..."),
        }
    }
}
