-- What a conversation of the kind 'support' has beside what all have. Pings touch no index.
CREATE TABLE support_sessions (
    conversation_id bigint PRIMARY KEY REFERENCES conversations,
    initiator_id bigint NOT NULL REFERENCES partners,
    initiator_pinged_at timestamptz NOT NULL,
    joiner_id bigint REFERENCES partners,
    joiner_pinged_at timestamptz,
    CHECK ((joiner_id IS NULL) = (joiner_pinged_at IS NULL))
) WITH (fillfactor = 80);

CREATE INDEX support_sessions_of_initiator ON support_sessions (initiator_id);
-- Of open sessions there are few, however many there ever were.
CREATE INDEX conversations_open_support ON conversations (id) WHERE kind = 'support' AND closed_at IS NULL;
CREATE INDEX conversations_closed_support ON conversations (id) WHERE kind = 'support' AND closed_at IS NOT NULL;

-- Everything up to seq was seen by that side at that time. A mark that is not beyond the one before is none.
CREATE TABLE support_seen (
    conversation_id bigint NOT NULL REFERENCES support_sessions,
    by_initiator boolean NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (conversation_id, by_initiator, seq)
);

-- Who answers is asked whenever somebody wants an answer.
CREATE INDEX users_by_role ON users (role) WHERE active;

CREATE SEQUENCE devices_id AS bigint;

CREATE TABLE devices (
    id bigint PRIMARY KEY DEFAULT nextval('devices_id'),
    user_id bigint NOT NULL REFERENCES users,
    name text NOT NULL,
    connection text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT devices_of_user UNIQUE (user_id, name)
) WITH (fillfactor = 80);
