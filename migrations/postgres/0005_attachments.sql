CREATE SEQUENCE attachments_id AS bigint;

-- The bytes are in the object store.
CREATE TABLE attachments (
    id bigint PRIMARY KEY,
    object text NOT NULL CONSTRAINT attachments_object UNIQUE,
    name text NOT NULL,
    mimetype text NOT NULL,
    size_bytes bigint NOT NULL,
    access_token text NOT NULL,
    owner_id bigint NOT NULL REFERENCES partners,
    created_at timestamptz NOT NULL
);
