-- Leave to put one file at an address that was signed for it, and what was put there.
CREATE TABLE uploads (
    name text PRIMARY KEY,
    owner_id bigint NOT NULL REFERENCES users,
    mimetype text NOT NULL,
    limit_bytes bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    -- Whether a message names it.
    kept boolean NOT NULL DEFAULT false,
    -- All four, or none yet.
    object text,
    content_type text,
    size_bytes bigint,
    put_at timestamptz,
    CHECK (num_nonnulls(object, content_type, size_bytes, put_at) IN (0, 4))
);

CREATE INDEX uploads_to_expire ON uploads (expires_at) WHERE NOT kept;
