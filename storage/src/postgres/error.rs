use crate::Error;

/// The uniqueness rules of the schema, by their names in `migrations/`.
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
            // What a connection says that breaks off, or a proxy in the database's place.
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error.into()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Corrupt(error.to_string()),
            _ => Self::Internal(error.into()),
        }
    }
}

/// PostgreSQL's code of an error, if it comes from there.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Whether PostgreSQL's error code means that the same may succeed later: the connection broke, the server has no
/// room, is stopping or starting or lets nobody in, does not know the password or the database, takes no writes, a statement
/// or a lock took too long, or a transaction was idle for too long.
fn means_unavailable(code: &str) -> bool {
    matches!(&code[..2.min(code.len())], "08" | "28" | "53")
        || matches!(code, "3D000" | "57P01" | "57P02" | "57P03" | "57P05" | "57014" | "55000" | "55P03" | "25006" | "25P03")
}
