//! Columns that the statements of both databases read under the same names.

/// Columns of a person, of `partners AS person` and `users AS account`.
macro_rules! person_columns {
    () => {
        "person.id AS partner_id, person.name AS partner_name, person.email, person.phone, person.mobile, \
         account.id AS user_id"
    };
}

/// Columns of a user with its partner, of `partners AS person` and `users AS account`.
macro_rules! user_columns {
    () => {
        "person.id AS partner_id, person.name AS partner_name, person.email, person.phone, person.mobile, \
         account.id AS user_id, account.uuid AS user_uuid, account.login, account.password_hash, account.role, \
         account.active, account.language, account.time_zone, account.profile, account.created_at AS user_created_at, \
         account.external_id AS user_external_id, account.can_moderate, account.picture_url, account.claims_as_of, \
         account.tokens_not_before, account.banned_until, account.muted_until AS user_muted_until, account.erased_at"
    };
}

/// Columns of a participant besides a person's, of `participants AS p` and `conversations AS c`.
macro_rules! participant_columns {
    () => {
        "p.window_state, p.shelf, p.read_seq, p.joined_at, c.last_seq - p.read_seq - p.own_after AS unread, \
         p.role AS participant_role, p.visible_from_seq, p.muted_until"
    };
}

/// Columns of a support session, of `support_sessions AS s` and `conversations AS c`.
macro_rules! session_columns {
    () => {
        "c.id AS conversation_id, c.uuid, c.closed_at, s.initiator_id, s.initiator_pinged_at, s.joiner_id, s.joiner_pinged_at, \
         (SELECT u.id FROM users u WHERE u.partner_id = s.initiator_id) AS initiator_user_id, \
         (SELECT u.id FROM users u WHERE u.partner_id = s.joiner_id) AS joiner_user_id"
    };
}

pub(crate) use {participant_columns, person_columns, session_columns, user_columns};
