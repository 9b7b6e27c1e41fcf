-- The key is the SHA-256 of what the client holds: who reads this table can log in as nobody.
CREATE TABLE sessions (
    key bytea PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    -- How far in the log this session has been told; null before its first poll.
    told bigint
);

CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_by_use ON sessions (last_used_at);
