-- One sequence for users and partners: no number is both a uid and the id of somebody else's partner.
CREATE SEQUENCE people_id AS bigint;

CREATE TABLE partners (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    email text,
    phone text,
    mobile text
);

CREATE TABLE users (
    id bigint PRIMARY KEY,
    uuid uuid NOT NULL CONSTRAINT users_uuid UNIQUE,
    login text NOT NULL CONSTRAINT users_login UNIQUE,
    password_hash text NOT NULL,
    partner_id bigint NOT NULL CONSTRAINT users_partner UNIQUE REFERENCES partners,
    role text NOT NULL CHECK (role IN ('user', 'agent', 'admin')),
    active boolean NOT NULL DEFAULT true,
    language text NOT NULL,
    time_zone text NOT NULL,
    -- json, here and elsewhere, and not jsonb: nothing searches in it, and it comes back as it was sent.
    profile json NOT NULL,
    created_at timestamptz NOT NULL
);

-- What is true of the whole store, for example that it holds the demo data.
CREATE TABLE workspace (
    key text PRIMARY KEY,
    value text NOT NULL
);
