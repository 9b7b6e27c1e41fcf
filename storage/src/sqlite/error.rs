//! Mapping of SQLite's result codes to storage errors.

use super::cause::StoreName;
use super::result_code::{code, result_code};
use crate::Error;

/// Uniqueness constraints of the schema, by the columns that SQLite names in their place.
const RULES: &[(&str, &str)] = &[
    ("attachments.object", "attachments_object"),
    ("conversations.external_id", "conversations_external_id"),
    ("conversations.key", "conversations_key"),
    ("conversations.uuid", "conversations_uuid"),
    ("groups.name", "groups_name"),
    ("messages.conversation_id, messages.author_id, messages.client_key, messages.client_hash", "messages_client_key"),
    ("messages.external_id", "messages_external_id"),
    ("refresh_tokens.key", "refresh_tokens_pkey"),
    ("sessions.key", "sessions_pkey"),
    ("support_sessions.conversation_id", "support_sessions_pkey"),
    ("users.external_id", "users_external_id"),
    ("users.login", "users_login"),
    ("users.partner_id", "users_partner"),
    ("users.uuid", "users_uuid"),
];

/// True if the error leaves the connection in doubt, or its thread has ended.
pub(super) fn breaks_connection(error: &sqlx::Error) -> bool {
    match result_code(error) {
        Some(code) => {
            matches!(code, code::NOMEM | code::IOERR | code::CORRUPT | code::CANTOPEN | code::PROTOCOL | code::NOTADB)
        }
        None => matches!(error, sqlx::Error::WorkerCrashed | sqlx::Error::Io(_)),
    }
}

/// True if another connection has the lock that a statement needs.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    result_code(error) == Some(code::BUSY)
}

/// True if a `ROLLBACK` has found no transaction.
pub(super) fn is_without_transaction(error: &sqlx::Error) -> bool {
    result_code(error) == Some(code::ERROR)
}

/// True if the error says that the store takes no writes: no room, no right, or no answer of the disk.
pub(super) fn is_refusal_of_writes(error: &sqlx::Error) -> bool {
    matches!(result_code(error), Some(code::FULL | code::READONLY | code::IOERR))
}

/// Maps an error, with the file and a remedy where there is one.
pub(super) fn explain(store: &StoreName, error: sqlx::Error) -> Error {
    if let Some(rule) = violated_rule(&error) {
        return Error::Conflict(rule);
    }
    let code = result_code(&error);
    let is_transient = match code {
        Some(code) => matches!(
            code,
            code::PERM
                | code::BUSY
                | code::LOCKED
                | code::NOMEM
                | code::READONLY
                | code::INTERRUPT
                | code::IOERR
                | code::FULL
                | code::CANTOPEN
                | code::PROTOCOL
        ),
        None => matches!(error, sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) | sqlx::Error::PoolClosed),
    };
    let is_corrupt = matches!(code, Some(code::CORRUPT | code::NOTADB))
        || matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_));
    match store.describe(&error) {
        Some(cause) if is_corrupt => Error::Corrupt(cause.to_string()),
        Some(cause) if is_transient => Error::Unavailable(cause.into()),
        Some(cause) => Error::Internal(cause.into()),
        None if is_corrupt => Error::Corrupt(error.to_string()),
        None if is_transient => Error::Unavailable(error.into()),
        None => Error::Internal(error.into()),
    }
}

fn violated_rule(error: &sqlx::Error) -> Option<&'static str> {
    let refusal = error.as_database_error().filter(|refusal| refusal.is_unique_violation())?;
    let (_, columns) = refusal.message().split_once("failed: ")?;
    RULES.iter().find(|(of, _)| *of == columns).map(|(_, rule)| *rule)
}
