//! Causes of failures for operators: the server, the error and a remedy, in one line.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::error::code;
use crate::Error;

/// Server name for log lines: address, database and user, without the password.
#[derive(Clone, Debug)]
pub(super) struct ServerName(Arc<str>);

impl ServerName {
    pub(super) fn of(server: &PgConnectOptions) -> Self {
        let database = server.get_database().unwrap_or(server.get_username());
        let user = server.get_username();
        let host = match server.get_socket() {
            Some(socket) => socket.display().to_string(),
            None if server.get_host().contains(':') => format!("[{}]", server.get_host()),
            None => server.get_host().to_owned(),
        };
        let tls = match server.get_ssl_mode() {
            PgSslMode::Disable => ", without TLS",
            _ => "",
        };
        Self(format!("{host}:{}/{database} as {user}{tls}", server.get_port()).into())
    }

    /// Adds the server and a remedy to an error; an unknown error stays as it is.
    pub(super) fn explain(&self, error: sqlx::Error) -> Error {
        let Some((what, remedy)) = describe(&error) else { return error.into() };
        let cause = Cause { server: self.clone(), what, remedy };
        match Error::from(error) {
            Error::Unavailable(_) => Error::Unavailable(cause.into()),
            Error::Contention(_) => Error::Contention(cause.into()),
            Error::Internal(_) => Error::Internal(cause.into()),
            other => other,
        }
    }

    /// Builds a cause that is no error of a statement.
    pub(super) fn cause(&self, what: impl Into<String>, remedy: &'static str) -> Cause {
        Cause { server: self.clone(), what: what.into(), remedy }
    }
}

/// Cause of a failure: server, description and remedy.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    server: ServerName,
    what: String,
    remedy: &'static str,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL at {}: {}; {}", self.server.0, self.what, self.remedy)
    }
}

impl std::error::Error for Cause {}

/// Description and remedy of an error.
fn describe(error: &sqlx::Error) -> Option<(String, &'static str)> {
    match error {
        sqlx::Error::Io(error) => Some(of_network(error)),
        sqlx::Error::PoolTimedOut => Some((
            "no connection in time".into(),
            "all are in use, or the server does not answer: check its load, pg_stat_activity, and postgres.max_connections",
        )),
        sqlx::Error::Tls(error) => {
            Some((format!("TLS failed: {error}"), "check sslmode and sslrootcert in the address, and ssl in postgresql.conf"))
        }
        sqlx::Error::Protocol(what) => Some((format!("protocol error: {what}"), "check that PostgreSQL listens there")),
        sqlx::Error::Database(refusal) => {
            let code = code(error)?;
            remedy(&code).map(|remedy| (format!("{} (SQLSTATE {code})", refusal.message().replace('\n', " ")), remedy))
        }
        _ => None,
    }
}

fn of_network(error: &std::io::Error) -> (String, &'static str) {
    let what = error.to_string();
    let remedy = match error.kind() {
        ErrorKind::ConnectionRefused => "check that PostgreSQL runs there and listens on that address (listen_addresses, port)",
        ErrorKind::NotFound => "check that PostgreSQL runs and has its socket there (unix_socket_directories)",
        ErrorKind::PermissionDenied => "this user may not use the socket",
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            "check the network and firewalls to the server"
        }
        // The standard library has no error kind for DNS failures.
        _ if what.contains("lookup address") || what.contains("resolve") => "check the host name in the address, and DNS",
        _ => "connection broken: check the server's own log, and proxies and firewalls to it",
    };
    let what = if what.contains("lookup address") { format!("host name unknown: {what}") } else { what };
    (what, remedy)
}

/// Remedy of a PostgreSQL error, by its SQLSTATE code.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" => "check the user and the password in the address",
        code if code.starts_with("28") => {
            "check pg_hba.conf there: it may lack this user, database or address, or demand TLS (sslmode=require in the address)"
        }
        "3D000" => "create the database (createdb), or check its name in the address",
        "53300" => "lower postgres.max_connections or raise PostgreSQL's own max_connections",
        "53100" => "its disk is full: free space",
        "53200" => "it is out of memory: check its settings and load",
        "57P03" | "57P01" | "57P02" => "it is starting or stopping: wait, or check its own log",
        "42501" => "grant this user the right, or make it the owner of database and schema (GRANT ... ON SCHEMA ... TO ...)",
        "3F000" => "no schema in search_path exists: create one, or ALTER ROLE ... SET search_path",
        "42P01" | "42703" | "42883" => {
            "the schema is of another version: run `dragoman migrate`, or check whether search_path leads to another schema"
        }
        "57014" => "it took longer than postgres.statement_milliseconds: check the server's load",
        "55P03" => "lock time-out: find the transaction that holds the lock in pg_stat_activity and pg_locks",
        "25006" => "it is a standby or a reader, or default_transaction_read_only is on: name the primary in the address",
        "25P03" | "57P05" => "it closed an idle connection: check its time-outs",
        "40001" | "40P01" => "deadlock or serialization failure: try again",
        "08P01" => "check the log of the server there, PostgreSQL or a pooler",
        "42P05" | "26000" => "a pooler shares connections between clients: set pool_mode = session",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn place(address: &str) -> ServerName {
        ServerName::of(&PgConnectOptions::from_str(address).unwrap())
    }

    #[test]
    fn a_place_names_the_server_and_not_the_password() {
        let place = place("postgres://ann:secret@db.example:6432/chat?sslmode=disable");
        let cause = place.explain(sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into()));
        let text = std::error::Error::source(&cause).unwrap().to_string();
        assert!(text.starts_with("PostgreSQL at db.example:6432/chat as ann, without TLS: connection refused; "), "{text}");
        assert!(!text.contains("secret") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn what_is_unknown_stays_as_it_is() {
        assert!(
            matches!(place("postgres://ann@db/chat").explain(sqlx::Error::RowNotFound), Error::Internal(cause) if cause.is::<sqlx::Error>())
        );
    }
}
