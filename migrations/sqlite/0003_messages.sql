-- Refers neither to conversations nor to partners: whoever stores a message has found both, and neither are ever deleted.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    conversation_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    author_id INTEGER NOT NULL,
    message_type TEXT NOT NULL CHECK (message_type IN ('text', 'file', 'image', 'video', 'notice', 'profile')),
    -- Whether message_attachments is worth a look. Stays true when its attachments are deleted.
    has_attachments INTEGER NOT NULL CHECK (has_attachments IN (0, 1)),
    client_key TEXT,
    -- SHA-256 of the content as first sent: a retry has the same client key and the same hash. NULL without a client key.
    client_hash BLOB,
    external_id TEXT,
    -- A message of the same conversation.
    reply_to_id INTEGER,
    -- The author's side in a support session when it wrote.
    support_side TEXT,
    -- A message may be in the history before its sender shows it to those who are there.
    held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
    created_at INTEGER NOT NULL,
    edited_at INTEGER,
    edited_by INTEGER,
    deleted_at INTEGER,
    deleted_by INTEGER,
    -- Whether the table reactions is worth a look.
    has_reactions INTEGER NOT NULL DEFAULT 0 CHECK (has_reactions IN (0, 1)),
    -- The newest message of the conversation when a message was last edited or deleted: for clients that come back and ask what
    -- has changed of what they know.
    changed_after INTEGER,
    changed_at INTEGER GENERATED ALWAYS AS (coalesce(max(edited_at, deleted_at), edited_at, deleted_at)) VIRTUAL,
    body TEXT NOT NULL,
    metadata TEXT,
    -- Pages by offset are found by arithmetic.
    CONSTRAINT messages_seq UNIQUE (conversation_id, seq)
) STRICT;

-- Pages before and after an id, which may be the id of another conversation's message.
CREATE INDEX messages_in_order ON messages (conversation_id);
CREATE INDEX messages_by_time ON messages (conversation_id, created_at);
-- A retry stores nothing twice.
CREATE UNIQUE INDEX messages_client_key ON messages (conversation_id, author_id, client_key, client_hash)
WHERE client_key IS NOT NULL;
CREATE UNIQUE INDEX messages_external_id ON messages (external_id) WHERE external_id IS NOT NULL;
-- The files of a conversation, newest first.
CREATE INDEX messages_with_files ON messages (conversation_id) WHERE has_attachments;
-- What is held back, which is never much.
CREATE INDEX messages_held ON messages (author_id) WHERE held AND deleted_at IS NULL;
CREATE INDEX messages_changed ON messages (conversation_id, changed_after, changed_at) WHERE changed_after IS NOT NULL;

CREATE TRIGGER messages_changed AFTER UPDATE OF edited_at, deleted_at ON messages
WHEN NEW.edited_at IS NOT OLD.edited_at OR NEW.deleted_at IS NOT OLD.deleted_at
BEGIN
    UPDATE messages SET changed_after = (SELECT last_message_id FROM conversations WHERE id = NEW.conversation_id)
    WHERE id = NEW.id;
END;

-- The bytes are in the object store.
CREATE TABLE attachments (
    id INTEGER PRIMARY KEY,
    object TEXT NOT NULL CONSTRAINT attachments_object UNIQUE,
    mimetype TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    access_token TEXT NOT NULL,
    owner_id INTEGER NOT NULL REFERENCES partners,
    created_at INTEGER NOT NULL,
    -- Set by whatever sends it, so that sending and clearing away agree on one row.
    sent INTEGER NOT NULL DEFAULT 0 CHECK (sent IN (0, 1)),
    sha256 BLOB,
    -- Of pictures and films, in pixels.
    width INTEGER,
    height INTEGER,
    -- Of sounds and films.
    duration_milliseconds INTEGER,
    name TEXT NOT NULL
) STRICT;

CREATE INDEX attachments_unsent ON attachments (created_at) WHERE NOT sent;

-- Deleting an attachment takes it out of its messages.
CREATE TABLE message_attachments (
    message_id INTEGER NOT NULL REFERENCES messages,
    place INTEGER NOT NULL,
    attachment_id INTEGER NOT NULL REFERENCES attachments ON DELETE CASCADE,
    PRIMARY KEY (message_id, place)
) STRICT, WITHOUT ROWID;

CREATE INDEX message_attachments_of ON message_attachments (attachment_id);

-- A file goes with the last message that holds it.
CREATE TRIGGER unheld_attachments AFTER DELETE ON message_attachments
BEGIN
    DELETE FROM attachments
    WHERE id = OLD.attachment_id AND NOT EXISTS (SELECT 1 FROM message_attachments WHERE attachment_id = OLD.attachment_id);
END;

CREATE TABLE reactions (
    message_id INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE,
    partner_id INTEGER NOT NULL REFERENCES partners ON DELETE CASCADE,
    content TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (message_id, content, partner_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX reactions_of_partner ON reactions (partner_id);

-- Leave to put one file at an address that was signed for it, and what was put there.
CREATE TABLE uploads (
    name TEXT PRIMARY KEY,
    partner_id INTEGER NOT NULL REFERENCES partners,
    -- The account of the same owner.
    owner_id INTEGER NOT NULL REFERENCES users,
    mimetype TEXT NOT NULL,
    limit_bytes INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- Whether a message names it.
    kept INTEGER NOT NULL DEFAULT 0 CHECK (kept IN (0, 1)),
    -- All four, or none yet.
    object TEXT,
    content_type TEXT,
    size_bytes INTEGER,
    put_at INTEGER,
    -- Of a picture, in pixels.
    width INTEGER,
    height INTEGER,
    CHECK ((object IS NULL) + (content_type IS NULL) + (size_bytes IS NULL) + (put_at IS NULL) IN (0, 4))
) STRICT, WITHOUT ROWID;

CREATE INDEX uploads_to_expire ON uploads (expires_at) WHERE NOT kept;
CREATE INDEX uploads_object ON uploads (object) WHERE object IS NOT NULL;

-- The messages that name an upload. It is kept as long as there is one.
CREATE TABLE upload_mentions (
    name TEXT NOT NULL REFERENCES uploads ON DELETE CASCADE,
    message_id INTEGER NOT NULL REFERENCES messages,
    PRIMARY KEY (name, message_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX upload_mentions_of ON upload_mentions (message_id);
