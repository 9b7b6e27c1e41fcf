CREATE TABLE reactions (
    message_id bigint NOT NULL REFERENCES messages ON DELETE CASCADE,
    partner_id bigint NOT NULL REFERENCES partners ON DELETE CASCADE,
    content text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (message_id, content, partner_id)
);

CREATE INDEX reactions_of_partner ON reactions (partner_id);
