-- Accounts that sign in with tokens of another system have neither a login nor a password here.
ALTER TABLE users
    ALTER COLUMN login DROP NOT NULL,
    ALTER COLUMN password_hash DROP NOT NULL,
    -- The id in the host application, compared byte by byte.
    ADD COLUMN external_id text COLLATE "C" CONSTRAINT users_external_id UNIQUE,
    ADD COLUMN can_moderate boolean NOT NULL DEFAULT false,
    -- A text for clients; never fetched.
    ADD COLUMN picture_url text,
    -- Claims of tokens that were issued earlier change nothing.
    ADD COLUMN claims_as_of timestamptz,
    -- Tokens that were issued earlier are revoked.
    ADD COLUMN tokens_not_before timestamptz,
    ADD COLUMN banned_until timestamptz,
    ADD COLUMN muted_until timestamptz,
    ADD COLUMN erased_at timestamptz;
