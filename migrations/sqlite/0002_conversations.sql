CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    uuid BLOB NOT NULL CONSTRAINT conversations_uuid UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('direct', 'group', 'support')),
    thread_type TEXT NOT NULL CHECK (thread_type IN ('chat', 'group', 'sms')),
    created_at INTEGER NOT NULL,
    group_id INTEGER REFERENCES groups,
    last_seq INTEGER NOT NULL DEFAULT 0,
    last_message_id INTEGER,
    last_message_at INTEGER,
    -- The greatest seq that anybody has read who has left: what was read stays read.
    left_seen_seq INTEGER NOT NULL DEFAULT 0,
    -- A key makes a conversation the only one of its sort, for example the one between two people. Most have none.
    key TEXT CONSTRAINT conversations_key UNIQUE,
    -- Nothing more is said in a closed conversation.
    closed_at INTEGER,
    external_id TEXT CONSTRAINT conversations_external_id UNIQUE,
    -- Newcomers to a conversation that began as direct see only what was said since they joined.
    began_direct INTEGER NOT NULL DEFAULT 0 CHECK (began_direct IN (0, 1)),
    -- Rises with whatever a send is judged by, so that a judgement made without a lock can be checked under the lock.
    version INTEGER NOT NULL DEFAULT 0,
    name TEXT NOT NULL
) STRICT;

CREATE INDEX conversations_of_group ON conversations (group_id) WHERE group_id IS NOT NULL;
-- Of open sessions there are few, however many there ever were.
CREATE INDEX conversations_open_support ON conversations (id) WHERE kind = 'support' AND closed_at IS NULL;
CREATE INDEX conversations_closed_support ON conversations (id) WHERE kind = 'support' AND closed_at IS NOT NULL;

-- Records of other systems that a conversation is about.
CREATE TABLE conversation_documents (
    conversation_id INTEGER NOT NULL REFERENCES conversations,
    model TEXT NOT NULL,
    record_id INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, model, record_id)
) STRICT, WITHOUT ROWID;

-- Unread is conversations.last_seq - read_seq - own_after, so counting it reads no messages.
CREATE TABLE participants (
    conversation_id INTEGER NOT NULL REFERENCES conversations,
    partner_id INTEGER NOT NULL REFERENCES partners,
    joined_at INTEGER NOT NULL,
    window_state TEXT NOT NULL DEFAULT 'open' CHECK (window_state IN ('open', 'folded', 'closed')),
    shelf TEXT NOT NULL DEFAULT 'active' CHECK (shelf IN ('active', 'favorite', 'archive')),
    read_seq INTEGER NOT NULL,
    -- The same, but 0 until it has read something itself: whoever joins has not read what was there before.
    seen_seq INTEGER NOT NULL DEFAULT 0,
    -- The number of messages with a seq above read_seq that the partner wrote itself, or that were deleted.
    own_after INTEGER NOT NULL DEFAULT 0 CHECK (own_after >= 0),
    -- The newest message that the participant wrote since it joined.
    last_own_id INTEGER,
    -- Messages up to this seq are hidden from the participant.
    visible_from_seq INTEGER NOT NULL DEFAULT 0,
    role TEXT NOT NULL DEFAULT 'member',
    muted_until INTEGER,
    PRIMARY KEY (conversation_id, partner_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX participants_of_partner ON participants (partner_id, conversation_id);
-- The greatest seq that anybody but one has read: at most two entries of this.
-- The first to join a conversation, for lists: their cost does not depend on the number of participants.
CREATE INDEX participants_by_joining ON participants (conversation_id, joined_at, partner_id);
CREATE INDEX participants_by_seen ON participants (conversation_id, seen_seq DESC, partner_id);

CREATE TRIGGER conversations_version AFTER UPDATE OF kind, closed_at ON conversations
BEGIN
    UPDATE conversations SET version = version + 1, began_direct = began_direct OR OLD.kind = 'direct' WHERE id = NEW.id;
END;
CREATE TRIGGER participants_join_version AFTER INSERT ON participants
BEGIN
    UPDATE conversations SET version = version + 1 WHERE id = NEW.conversation_id;
END;
CREATE TRIGGER participants_leave_version AFTER DELETE ON participants
BEGIN
    UPDATE conversations SET version = version + 1 WHERE id = OLD.conversation_id;
END;
CREATE TRIGGER participants_mute_version AFTER UPDATE OF muted_until ON participants WHEN OLD.muted_until IS NOT NEW.muted_until
BEGIN
    UPDATE conversations SET version = version + 1 WHERE id = NEW.conversation_id;
END;

-- How far newcomers have read who have left again. What was hidden from them was not read by them, so it does not count in
-- conversations.left_seen_seq.
CREATE TABLE left_reads (
    conversation_id INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
    visible_from_seq INTEGER NOT NULL,
    seen_seq INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, visible_from_seq)
) STRICT, WITHOUT ROWID;

-- What a conversation of the kind 'support' has beside what all have.
CREATE TABLE support_sessions (
    conversation_id INTEGER PRIMARY KEY REFERENCES conversations,
    initiator_id INTEGER NOT NULL REFERENCES partners,
    initiator_pinged_at INTEGER NOT NULL,
    joiner_id INTEGER REFERENCES partners,
    joiner_pinged_at INTEGER,
    CHECK ((joiner_id IS NULL) = (joiner_pinged_at IS NULL))
) STRICT;

CREATE INDEX support_sessions_of_initiator ON support_sessions (initiator_id);

-- Everything up to seq was seen by that side at that time. A mark that is not beyond the one before is none.
CREATE TABLE support_seen (
    conversation_id INTEGER NOT NULL REFERENCES support_sessions,
    by_initiator INTEGER NOT NULL CHECK (by_initiator IN (0, 1)),
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, by_initiator, seq)
) STRICT, WITHOUT ROWID;
