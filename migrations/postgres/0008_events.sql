-- The newest position. Whoever writes events locks this row until its commit is visible: positions become visible in
-- their order and without a gap, which a sequence promises neither of.
CREATE TABLE log_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO log_head (position) VALUES (0);

-- Refers to nothing: what happened stays true.
CREATE TABLE events (
    position bigint PRIMARY KEY,
    -- What the event is about: a conversation, or else a partner.
    conversation_id bigint,
    partner_id bigint,
    fact json NOT NULL,
    at timestamptz NOT NULL,
    CHECK (num_nonnulls(conversation_id, partner_id) = 1)
);

CREATE INDEX events_of_conversation ON events (conversation_id, position) WHERE conversation_id IS NOT NULL;
CREATE INDEX events_of_partner ON events (partner_id, position) WHERE partner_id IS NOT NULL;
