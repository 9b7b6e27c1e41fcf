-- Who is online now, the nodes tell each other; here is what has to outlive them.
CREATE TABLE presences (
    partner_id bigint PRIMARY KEY REFERENCES partners,
    -- What the partner has set itself to; null: as its activity says.
    set_status text CHECK (set_status IN ('away', 'offline')),
    last_seen timestamptz NOT NULL
) WITH (fillfactor = 80);
