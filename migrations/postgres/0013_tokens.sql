-- The key is the SHA-256 of what the client holds: who reads this table can renew nobody's tokens. A used one stays
-- until it expires, so that it is known when somebody uses it again.
CREATE TABLE refresh_tokens (
    key bytea PRIMARY KEY,
    -- All that descend from one login. Access tokens of a family count as long as it has a row here.
    family uuid NOT NULL,
    user_id bigint NOT NULL REFERENCES users,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);

CREATE INDEX refresh_tokens_of_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_of_user ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);
