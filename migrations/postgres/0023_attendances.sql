-- Who can show what it holds back, and at which node. A node says until when it counts; what one has said that dies runs out.
CREATE TABLE nodes (
    id uuid PRIMARY KEY,
    until timestamptz NOT NULL
);

CREATE TABLE attendances (
    partner_id bigint NOT NULL REFERENCES partners,
    node_id uuid NOT NULL REFERENCES nodes ON DELETE CASCADE,
    PRIMARY KEY (partner_id, node_id)
);

-- Those at a node that is forgotten.
CREATE INDEX attendances_of_node ON attendances (node_id);
-- What is held back, which is never much.
CREATE INDEX messages_held ON messages (author_id, id) WHERE held AND deleted_at IS NULL;
