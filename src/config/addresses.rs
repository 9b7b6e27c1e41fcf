//! Addresses of the services that the server needs: the store and the bus. They may hold passwords.

use std::path::Path;

use serde::Deserialize;
use url::Url;

/// Kind of store, with its address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Store<'a> {
    Memory,
    /// The database file.
    Sqlite(&'a Path),
    /// URL of the database, which may hold a password.
    Postgres(&'a str),
}

impl<'a> Store<'a> {
    /// Begin of an address that names a database file.
    pub(super) const SQLITE: &'static str = "sqlite:";

    /// The store at an address.
    pub fn at(address: &'a str) -> Self {
        match address {
            "memory:" => Self::Memory,
            address => match address.strip_prefix(Self::SQLITE) {
                Some(file) => Self::Sqlite(Path::new(file)),
                None => Self::Postgres(address),
            },
        }
    }

    /// Checks that the address is one of a store.
    pub fn check(self) -> Result<(), &'static str> {
        match self {
            Self::Sqlite(file) if file.as_os_str().is_empty() => Err("must name a file after sqlite:"),
            Self::Postgres(address) if !address.starts_with("postgres://") && !address.starts_with("postgresql://") => {
                Err("must be sqlite:<file>, postgres://... or memory:")
            }
            Self::Memory | Self::Sqlite(_) | Self::Postgres(_) => Ok(()),
        }
    }

    /// Address for operators of another store: an absolute path, and neither user nor password.
    pub fn public_address(self) -> String {
        match self {
            Self::Memory => "memory:".into(),
            Self::Sqlite(file) => {
                let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
                format!("{}{}", Self::SQLITE, path.display())
            }
            Self::Postgres(address) => {
                let Ok(url) = Url::parse(address) else { return "postgres".into() };
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                format!("postgres://{}{port}{}", url.host_str().unwrap_or_default(), url.path())
            }
        }
    }

    /// Object store of the store's files where the setting `files` is empty; `None` for a store in memory.
    pub fn default_files(self) -> Option<String> {
        match self {
            Self::Memory => None,
            Self::Sqlite(file) => Some(format!("file:{}", file.with_file_name("dragoman-files").display())),
            Self::Postgres(_) => Some("file:dragoman-files".into()),
        }
    }

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
