-- Times are microseconds since 1970, uuids and hashes are blobs, JSON is text as it was sent. Names are those of PostgreSQL's
-- schema. A table's large texts are its last columns: what stands before them is read without them. Each index ends with the
-- id of its table, without naming it.
PRAGMA application_id = 1146241351; -- "DRAG"

-- The last id of each kind that was given out.
CREATE TABLE sequences (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One sequence for users and partners: no number is both a uid and the id of somebody else's partner.
INSERT INTO sequences (name, value)
VALUES ('people_id', 0), ('groups_id', 0), ('conversations_id', 0), ('attachments_id', 0), ('messages_id', 0), ('devices_id', 0),
    ('audit_id_seq', 0);

-- Properties of the whole store, for example that it holds the demo data.
CREATE TABLE workspace (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE partners (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT,
    phone TEXT,
    mobile TEXT,
    -- Name, email and phone as searches compare them. NULL until a server has folded them.
    folded TEXT
) STRICT;

CREATE INDEX partners_unfolded ON partners (id) WHERE folded IS NULL;
-- The order in which people are listed.
CREATE INDEX partners_by_name ON partners (name);

-- Searches of three characters and more.
CREATE VIRTUAL TABLE partners_folded
USING fts5 (folded, content = 'partners', content_rowid = 'id', columnsize = 0, tokenize = 'trigram case_sensitive 1');

CREATE TRIGGER partners_folded_insert AFTER INSERT ON partners WHEN NEW.folded IS NOT NULL
BEGIN
    INSERT INTO partners_folded (rowid, folded) VALUES (NEW.id, NEW.folded);
END;
CREATE TRIGGER partners_folded_update AFTER UPDATE OF folded ON partners WHEN NEW.folded IS NOT OLD.folded
BEGIN
    INSERT INTO partners_folded (partners_folded, rowid, folded) SELECT 'delete', OLD.id, OLD.folded WHERE OLD.folded IS NOT NULL;
    INSERT INTO partners_folded (rowid, folded) SELECT NEW.id, NEW.folded WHERE NEW.folded IS NOT NULL;
END;
CREATE TRIGGER partners_folded_delete AFTER DELETE ON partners WHEN OLD.folded IS NOT NULL
BEGIN
    INSERT INTO partners_folded (partners_folded, rowid, folded) VALUES ('delete', OLD.id, OLD.folded);
END;
-- What a script changes is folded anew.
CREATE TRIGGER partners_folded AFTER UPDATE OF name, email, phone ON partners
WHEN NEW.folded IS OLD.folded AND (NEW.name, NEW.email, NEW.phone) IS NOT (OLD.name, OLD.email, OLD.phone)
BEGIN
    UPDATE partners SET folded = NULL WHERE id = NEW.id;
END;

CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    uuid BLOB NOT NULL CONSTRAINT users_uuid UNIQUE,
    -- Accounts that sign in with tokens of another system have neither a login nor a password here.
    login TEXT CONSTRAINT users_login UNIQUE,
    password_hash TEXT,
    partner_id INTEGER NOT NULL CONSTRAINT users_partner UNIQUE REFERENCES partners,
    role TEXT NOT NULL CHECK (role IN ('user', 'agent', 'admin')),
    active INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    language TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    -- The id in the host application, compared byte by byte.
    external_id TEXT CONSTRAINT users_external_id UNIQUE,
    can_moderate INTEGER NOT NULL DEFAULT 0 CHECK (can_moderate IN (0, 1)),
    -- A text for clients; never fetched.
    picture_url TEXT,
    -- Claims of tokens that were issued earlier change nothing.
    claims_as_of INTEGER,
    -- Tokens that were issued earlier are revoked.
    tokens_not_before INTEGER,
    banned_until INTEGER,
    muted_until INTEGER,
    erased_at INTEGER,
    profile TEXT NOT NULL
) STRICT;

CREATE INDEX users_by_role ON users (role) WHERE active;

CREATE TABLE pictures (
    user_id INTEGER PRIMARY KEY REFERENCES users,
    set_at INTEGER NOT NULL,
    png BLOB NOT NULL
) STRICT;

CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT groups_name UNIQUE
) STRICT;

CREATE TABLE group_members (
    group_id INTEGER NOT NULL REFERENCES groups,
    user_id INTEGER NOT NULL REFERENCES users,
    PRIMARY KEY (group_id, user_id)
) STRICT, WITHOUT ROWID;

-- Address books.
CREATE TABLE book_entries (
    owner_id INTEGER NOT NULL REFERENCES users,
    user_id INTEGER NOT NULL REFERENCES users,
    PRIMARY KEY (owner_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX book_entries_of_user ON book_entries (user_id);

-- The key is the SHA-256 of what the client holds: who reads this table can log in as nobody.
CREATE TABLE sessions (
    key BLOB PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    -- The position of the event log up to which this session has been told; NULL before its first poll.
    told INTEGER,
    -- A session that was begun with a token ends with it, and with its family if it is one of ours.
    token_expires_at INTEGER,
    token_family BLOB,
    -- No session of a cookie: the position of a client that comes with a token.
    is_cursor INTEGER NOT NULL DEFAULT 0 CHECK (is_cursor IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_by_use ON sessions (last_used_at);

-- The key is the SHA-256 of what the client holds. A used one stays until it expires, so that a second use is noticed.
CREATE TABLE refresh_tokens (
    key BLOB PRIMARY KEY,
    -- All that descend from one login. Access tokens of a family count as long as it has a row here.
    family BLOB NOT NULL,
    user_id INTEGER NOT NULL REFERENCES users,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    -- The beginning of the grace window in which the token was given for a used one; NULL if it was not.
    grace_from INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX refresh_tokens_of_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_of_user ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users,
    name TEXT NOT NULL,
    connection TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CONSTRAINT devices_of_user UNIQUE (user_id, name)
) STRICT;

-- Heartbeats last until there_until; from idle_from on the partner is away.
CREATE TABLE presences (
    partner_id INTEGER PRIMARY KEY REFERENCES partners,
    -- The partner's own choice; NULL: its activity decides.
    set_status TEXT CHECK (set_status IN ('away', 'offline')),
    last_seen INTEGER NOT NULL,
    there_until INTEGER,
    idle_from INTEGER
) STRICT;

CREATE INDEX presences_by_end ON presences (there_until, partner_id) WHERE set_status IS NULL;

-- The lease of a node: it counts until its end.
CREATE TABLE nodes (
    id BLOB PRIMARY KEY,
    version TEXT,
    bus TEXT,
    started_at INTEGER,
    -- The position up to which the node has followed the event log.
    position INTEGER,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The authors that can show what they hold back, each with the node it is connected to.
CREATE TABLE attendances (
    partner_id INTEGER NOT NULL REFERENCES partners,
    node_id BLOB NOT NULL REFERENCES nodes ON DELETE CASCADE,
    PRIMARY KEY (partner_id, node_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX attendances_of_node ON attendances (node_id);

-- Refers to nothing: who did what outlives those whom it names.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT,
    address TEXT,
    action TEXT NOT NULL,
    object TEXT,
    outcome TEXT NOT NULL,
    correlation TEXT
) STRICT;

CREATE INDEX audit_of_actor ON audit (actor_kind, actor_id) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_by_time ON audit (at);
