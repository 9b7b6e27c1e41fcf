//! Mapping of sqlx errors and SQLSTATE codes to storage errors.

use crate::Error;

/// Names of the schema's uniqueness constraints in `migrations/postgres/`.
const RULES: &[&str] = &[
    "attachments_object",
    "conversations_external_id",
    "conversations_key",
    "conversations_uuid",
    "groups_name",
    "messages_client_key",
    "messages_external_id",
    "refresh_tokens_pkey",
    "sessions_pkey",
    "support_sessions_pkey",
    "users_external_id",
    "users_login",
    "users_partner",
    "users_uuid",
];

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(ref refusal) => {
                let code = refusal.code().unwrap_or_default();
                let rule = RULES.iter().find(|rule| Some(**rule) == refusal.constraint());
                match rule {
                    Some(rule) if refusal.is_unique_violation() => Self::Conflict(rule),
                    _ if matches!(&*code, "40001" | "40P01") => Self::Contention(error.into()),
                    _ if means_unavailable(&code) => Self::Unavailable(error.into()),
                    _ => Self::Internal(error.into()),
                }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            // A broken connection, or a proxy in the database's place.
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error.into()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Corrupt(error.to_string()),
            _ => Self::Internal(error.into()),
        }
    }
}

/// SQLSTATE code of an error that comes from the server.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// True if the SQLSTATE code means that a retry may succeed later: broken connection, no room, start or stop, refused log-in,
/// unknown database, read-only server, statement or lock time-out, or idle time-out.
fn means_unavailable(code: &str) -> bool {
    matches!(&code[..2.min(code.len())], "08" | "28" | "53")
        || matches!(code, "3D000" | "57P01" | "57P02" | "57P03" | "57P05" | "57014" | "55000" | "55P03" | "25006" | "25P03")
}
