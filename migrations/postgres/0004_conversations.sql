CREATE SEQUENCE conversations_id AS bigint;

-- Every message updates its conversation's row. What changes then is in no index, and pages keep room for the new
-- version, so that the update touches no index either.
CREATE TABLE conversations (
    id bigint PRIMARY KEY,
    uuid uuid NOT NULL CONSTRAINT conversations_uuid UNIQUE,
    kind text NOT NULL CHECK (kind IN ('direct', 'group', 'support')),
    thread_type text NOT NULL CHECK (thread_type IN ('chat', 'group', 'sms')),
    name text NOT NULL,
    created_at timestamptz NOT NULL,
    group_id bigint REFERENCES groups,
    last_seq bigint NOT NULL DEFAULT 0,
    last_message_id bigint,
    last_message_at timestamptz,
    -- How far anybody who has left had read: what was read stays read.
    left_seen_seq bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

-- Records of other systems that a conversation is about. Models sort by their bytes, on every server alike.
CREATE TABLE conversation_documents (
    conversation_id bigint NOT NULL REFERENCES conversations,
    model text COLLATE "C" NOT NULL,
    record_id bigint NOT NULL,
    PRIMARY KEY (conversation_id, model, record_id)
);

-- Unread is conversations.last_seq - read_seq - own_after, so counting it reads no messages.
CREATE TABLE participants (
    conversation_id bigint NOT NULL REFERENCES conversations,
    partner_id bigint NOT NULL REFERENCES partners,
    joined_at timestamptz NOT NULL,
    window_state text NOT NULL DEFAULT 'open' CHECK (window_state IN ('open', 'folded', 'closed')),
    shelf text NOT NULL DEFAULT 'active' CHECK (shelf IN ('active', 'favorite', 'archive')),
    read_seq bigint NOT NULL,
    -- The same, but 0 until it has read something itself: whoever joins has not read what was there before.
    seen_seq bigint NOT NULL DEFAULT 0,
    -- How many messages with a seq above read_seq the partner wrote itself.
    own_after bigint NOT NULL DEFAULT 0 CHECK (own_after >= 0),
    PRIMARY KEY (conversation_id, partner_id)
) WITH (fillfactor = 80);

CREATE INDEX participants_of_partner ON participants (partner_id, conversation_id);
-- How far anybody but one has read: at most two entries of this.
CREATE INDEX participants_by_seen ON participants (conversation_id, seen_seq DESC, partner_id);
