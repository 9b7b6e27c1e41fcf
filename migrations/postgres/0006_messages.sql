-- Ids are drawn while the conversation is locked; a cache per connection would hand them out in another order.
CREATE SEQUENCE messages_id AS bigint CACHE 1;

CREATE TABLE messages (
    id bigint PRIMARY KEY,
    conversation_id bigint NOT NULL REFERENCES conversations,
    seq bigint NOT NULL,
    author_id bigint NOT NULL REFERENCES partners,
    message_type text NOT NULL CHECK (message_type IN ('text', 'file', 'image', 'video', 'notice', 'profile')),
    body text NOT NULL,
    metadata json,
    -- Whether message_attachments is worth a look. Stays true when its attachments are deleted.
    has_attachments boolean NOT NULL,
    client_key text,
    created_at timestamptz NOT NULL,
    edited_at timestamptz,
    deleted_at timestamptz,
    -- Pages by offset are found by arithmetic.
    CONSTRAINT messages_seq UNIQUE (conversation_id, seq)
);

-- Pages before and after an id, which may be the id of another conversation's message.
CREATE INDEX messages_in_order ON messages (conversation_id, id);
-- What is new since a time.
CREATE INDEX messages_by_time ON messages (conversation_id, created_at);
-- A retry stores nothing twice.
CREATE UNIQUE INDEX messages_client_key ON messages (conversation_id, author_id, client_key) WHERE client_key IS NOT NULL;

-- Deleting an attachment takes it out of its messages, also out of those that are being sent meanwhile.
CREATE TABLE message_attachments (
    message_id bigint NOT NULL REFERENCES messages,
    place int NOT NULL,
    attachment_id bigint NOT NULL REFERENCES attachments ON DELETE CASCADE,
    PRIMARY KEY (message_id, place)
);

CREATE INDEX message_attachments_of ON message_attachments (attachment_id);
