-- The lease of a node: it counts until its end. The first release names no more than its id and that end.
ALTER TABLE nodes
    ADD COLUMN version text,
    ADD COLUMN bus text,
    ADD COLUMN started_at timestamptz,
    -- The position up to which the node has followed the event log.
    ADD COLUMN position bigint;

-- Refers to nothing: who did what outlives those whom it names.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    actor_kind text NOT NULL,
    actor_id text,
    address text,
    action text NOT NULL,
    object text,
    outcome text NOT NULL,
    correlation text
);

CREATE INDEX audit_of_actor ON audit (actor_kind, actor_id, id) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_by_time ON audit (at);
