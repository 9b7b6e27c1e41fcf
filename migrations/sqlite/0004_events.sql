-- The newest position.
CREATE TABLE log_head (
    singleton INTEGER PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    position INTEGER NOT NULL
) STRICT;

INSERT INTO log_head (position) VALUES (0);

-- Refers to nothing: what happened stays true.
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    -- The topic: a conversation, or else a partner.
    conversation_id INTEGER,
    partner_id INTEGER,
    at INTEGER NOT NULL,
    -- The message that a fact holds a copy of, so that the copies can be redacted with it, and the seq of the message that a
    -- fact is about, so that it stays hidden from those to whom the message is.
    message_id INTEGER,
    seq INTEGER,
    fact TEXT NOT NULL,
    CHECK ((conversation_id IS NULL) <> (partner_id IS NULL))
) STRICT;

CREATE INDEX events_of_conversation ON events (conversation_id) WHERE conversation_id IS NOT NULL;
CREATE INDEX events_of_partner ON events (partner_id) WHERE partner_id IS NOT NULL;
CREATE INDEX events_of_message ON events (message_id) WHERE message_id IS NOT NULL;

-- Who was in which conversation, as the event log counts: a partner is told what happened there from its joining on and before
-- its leaving, whoever is in it by now. Refers to nothing, like the event log. Who is in still has no until_position.
CREATE TABLE memberships (
    conversation_id INTEGER NOT NULL,
    partner_id INTEGER NOT NULL,
    from_position INTEGER NOT NULL,
    until_position INTEGER,
    -- Facts about messages up to this seq are hidden from the partner.
    visible_from_seq INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (conversation_id, partner_id, from_position)
) STRICT, WITHOUT ROWID;

CREATE INDEX memberships_of_partner ON memberships (partner_id);
CREATE INDEX memberships_ended ON memberships (until_position) WHERE until_position IS NOT NULL;
