-- What a session that was begun with a token ends with: the token's expiry, and its family if it is one of ours.
ALTER TABLE sessions
    ADD COLUMN token_expires_at timestamptz,
    ADD COLUMN token_family uuid,
    -- No session of a cookie: how far a client that comes with a token has been told.
    ADD COLUMN is_cursor boolean NOT NULL DEFAULT false;
